/*
 * Read-ahead: pages that a fault is likely to want soon.
 *
 * Page faults that follow each other at the same distance are a stream. What
 * lies ahead of it is fetched by a thread of its own, with connections of its
 * own, as long as there is room. One page in the middle of what is fetched is
 * left out: the fault on it tells that the guest has come so far, and has the
 * next pages fetched while the guest works on the rest. A stream that gets
 * there has more fetched the next time; when pages leave that no stream has
 * passed, less is fetched for new streams.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_READAHEAD_H
#define SMEMV_READAHEAD_H

#include "pager.h"

typedef struct SmemvReadahead SmemvReadahead;

SmemvReadahead *smemv_readahead_new(SmemvPager *p);
void smemv_readahead_start(SmemvReadahead *r);

/* These want the pager's lock. */

/* A fault on @page, which is not here. */
void smemv_readahead_fault(SmemvReadahead *r, uint64_t page);

/* @page leaves. */
void smemv_readahead_forget(SmemvReadahead *r, uint64_t page);

/* Whether pages are being fetched. */
bool smemv_readahead_busy(const SmemvReadahead *r);

/* Have the thread see that the pager stops. */
void smemv_readahead_wake(SmemvReadahead *r);

/* Without the lock: wait until it has. */
void smemv_readahead_join(SmemvReadahead *r);
void smemv_readahead_free(SmemvReadahead *r);

#endif
