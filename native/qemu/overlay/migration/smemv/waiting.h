/*
 * Waiting: faults whose sub-host cannot be reached.
 *
 * One thread, with a connection of its own to each sub-host. It tries again
 * until the sub-host is back, so that the fault threads are free for the
 * pages of the others.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_WAITING_H
#define SMEMV_WAITING_H

#include "fetch.h"

typedef struct SmemvWaiting SmemvWaiting;

SmemvWaiting *smemv_waiting_new(SmemvPager *p);
void smemv_waiting_free(SmemvWaiting *w);

void smemv_waiting_start(SmemvWaiting *w);
void smemv_waiting_join(SmemvWaiting *w);

/* These want the pager's lock. */

/* @f, whose page is on a sub-host and marked as coming in, is to wait. */
void smemv_waiting_add(SmemvWaiting *w, const SmemvFetch *f);

/* How many wait. */
unsigned smemv_waiting_count(const SmemvWaiting *w);

/* Wake the thread to see that the pager stops. */
void smemv_waiting_wake(SmemvWaiting *w);

#endif
