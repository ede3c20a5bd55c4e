/*
 * Evictor: pages out.
 *
 * One thread, with a connection of its own to each sub-host. It keeps the
 * pages held here under the pager's limit, ahead of need.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_EVICTOR_H
#define SMEMV_EVICTOR_H

#include "pager.h"

typedef struct SmemvEvictor SmemvEvictor;

/* An evictor that is attached to each sub-host; NULL on an error. */
SmemvEvictor *smemv_evictor_new(SmemvPager *p, Error **errp);

/* Claim the session: false where another process has. */
bool smemv_evictor_claim(SmemvEvictor *e, Error **errp);

/* Start the thread; the session must be claimed. */
void smemv_evictor_start(SmemvEvictor *e);

/*
 * Whether drops of pages of a run are under way to peer @i, or waiting to be
 * sent; and have all such sent soon. Both want the pager's lock.
 */
bool smemv_evictor_drops(SmemvEvictor *e, unsigned i, uint64_t page,
                         unsigned n);
void smemv_evictor_flush(SmemvEvictor *e);

/* Whether any drops are under way to peer @i. Wants the pager's lock. */
bool smemv_evictor_drops_any(SmemvEvictor *e, unsigned i);

/* Wait until the thread has seen that the pager stops. */
void smemv_evictor_join(SmemvEvictor *e);
void smemv_evictor_free(SmemvEvictor *e);

#endif
