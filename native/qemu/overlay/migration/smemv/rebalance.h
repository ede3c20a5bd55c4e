/*
 * Rebalance: where the pages of a running split VM are to be.
 *
 * The aim is what each peer of the session is wanted to hold. A thread brings
 * the memservers there: it opens sessions on new sub-hosts, empties others
 * straight into those that stay, changes reservations and closes what is
 * empty; where no sub-host stays, it pulls every page in. The guest runs on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_REBALANCE_H
#define SMEMV_REBALANCE_H

#include "qapi/qapi-types-smemv.h"
#include "pager.h"

typedef struct SmemvRebalance SmemvRebalance;

SmemvRebalance *smemv_rebalance_new(SmemvPager *p);
void smemv_rebalance_free(SmemvRebalance *r);

/*
 * A new aim: @limit pages here, and the sub-hosts with their shares; those
 * not among them are left. The caller has seen that it all fits.
 */
bool smemv_rebalance_aim(SmemvRebalance *r, uint64_t limit,
                         SmemvSubHostList *sub_hosts, Error **errp);

/* Work towards the aim that the peers have, if they are not there yet. */
void smemv_rebalance_start(SmemvRebalance *r);

/*
 * The limit has risen: have pages come in until it is reached, the lowest
 * addresses first. Wants the pager's lock.
 */
void smemv_rebalance_fill(SmemvRebalance *r);

/* Bytes a second that pages may move at; 0: as fast as they can. */
void smemv_rebalance_set_bandwidth(SmemvRebalance *r, uint64_t bandwidth);

/* Wake the thread to see that the pager stops. Wants the pager's lock. */
void smemv_rebalance_wake(SmemvRebalance *r);

/* Wait for the thread's end. Whether it has dissolved the pager. */
bool smemv_rebalance_join(SmemvRebalance *r);

/* These want the pager's lock. */
bool smemv_rebalance_active(const SmemvRebalance *r);
bool smemv_rebalance_fills(const SmemvRebalance *r);
uint64_t smemv_rebalance_remaining(const SmemvRebalance *r);  /* pages */
/* Why it cannot get on, or NULL. */
const char *smemv_rebalance_error(const SmemvRebalance *r);

#endif
