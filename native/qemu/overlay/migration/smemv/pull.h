/*
 * Pull: a run of pages comes in, in one request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PULL_H
#define SMEMV_PULL_H

#include "client.h"
#include "pager.h"

/* Pages that come in at once: a fault on one of them waits for all. */
#define SMEMV_PULL_PAGES 64

/*
 * Have the run of @n pages that begins at @page, all on the same sub-hosts and
 * not on their way, come in through @data, which has room for them. @conns
 * are connections to each peer. Wants the pager's lock, and gives it up
 * meanwhile. It takes however long it takes.
 */
void smemv_pull_run(SmemvPager *p, SmemvConn *conns, uint64_t page, unsigned n,
                    uint8_t *data);

#endif
