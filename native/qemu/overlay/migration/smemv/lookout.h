/*
 * Lookout: whether the sub-hosts of a VM with two copies of its pages answer.
 *
 * A thread asks each of them again and again, on connections of its own. One
 * that does not answer for a while is found to have failed, if each page that
 * it holds is on another one too: from then on what it holds does not count,
 * and is never read again. One that has the only copy of a page is waited
 * for, and so is any between the pause and the claim of a migration, when
 * source and destination must not differ on who decides.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_LOOKOUT_H
#define SMEMV_LOOKOUT_H

#include "pager.h"

typedef struct SmemvLookout SmemvLookout;

SmemvLookout *smemv_lookout_new(SmemvPager *p);
void smemv_lookout_start(SmemvLookout *w);

/* Have the thread see that the pager stops. Wants the pager's lock. */
void smemv_lookout_wake(SmemvLookout *w);

/* Without the lock: wait until it has, if it was started. */
void smemv_lookout_join(SmemvLookout *w);
void smemv_lookout_free(SmemvLookout *w);

#endif
