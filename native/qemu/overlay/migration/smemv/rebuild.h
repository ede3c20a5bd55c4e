/*
 * Rebuild: second copies of pages that have lost one, or never had one.
 *
 * A thread has them copied from memserver to memserver, into another failure
 * domain, beside the guest, and first reserves what was reserved on a sub-host
 * that failed. Where none is to be had, pages stay with one copy, and it looks
 * again later: what first copies may want is not given to second ones.
 * It also has sub-hosts that failed and are back forget what they held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_REBUILD_H
#define SMEMV_REBUILD_H

#include "pager.h"

typedef struct SmemvRebuild SmemvRebuild;

SmemvRebuild *smemv_rebuild_new(SmemvPager *p);
void smemv_rebuild_start(SmemvRebuild *r);

/* Have the thread look again. Wants the pager's lock, as the next one. */
void smemv_rebuild_wake(SmemvRebuild *r);

/* Pages on sub-hosts that have one copy only. */
uint64_t smemv_rebuild_single(const SmemvRebuild *r);

/* Wait until the thread has seen that the pager stops, if it was started. */
void smemv_rebuild_join(SmemvRebuild *r);
void smemv_rebuild_free(SmemvRebuild *r);

#endif
