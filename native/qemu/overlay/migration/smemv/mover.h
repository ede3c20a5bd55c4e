/*
 * Mover: pages of a running split VM on their way away from a sub-host.
 *
 * They go straight to another sub-host, by COPY between the memservers, or
 * come in to this process. Or they stay, and another sub-host has a second
 * copy then. A page that the guest touches meanwhile is served
 * first; what then arrives elsewhere of it is stale, and dropped.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_MOVER_H
#define SMEMV_MOVER_H

#include "qemu/ratelimit.h"
#include "pager.h"

typedef struct SmemvMover {
    SmemvPager *p;
    unsigned from;               /* the peer */
    bool pull;                   /* into this process, not to other peers */
    bool fill;                   /* so, as many as there is room for */
    bool second;                 /* second copies, of pages that have none */
    RateLimit *rate;
    const bool *halt;            /* (atomic) the aim has changed */

    /* The mover's own. */
    uint64_t cursor;             /* pages before it were looked at */
    QemuThread threads[2];
    Error *err;                  /* the first; guarded by the pager's lock */
} SmemvMover;

/*
 * Move until the peer has no more pages than it is wanted to hold, or none
 * without a second copy, or there is no room left for more here; or an error
 * is met. Any number of movers of different
 * peers work side by side.
 */
void smemv_mover_start(SmemvMover *m);

/* Wait for the end. True if all was moved. */
bool smemv_mover_join(SmemvMover *m, Error **errp);

#endif
