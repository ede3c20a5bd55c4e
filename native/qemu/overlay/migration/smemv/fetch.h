/*
 * Fetch: a page comes in for a fault.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_FETCH_H
#define SMEMV_FETCH_H

#include "pager.h"

/* A page that comes in for a fault. */
typedef struct SmemvFetch {
    uint64_t page;
    int64_t began;               /* when the fault was read, in ns */
    SmemvPair pair;              /* where it was */
    SmemvSource source;          /* where it is fetched from */
    int asked;                   /* the peer whose answer is awaited */
    bool here;
    bool keep;                   /* its copy there may be of use again */
    SmemvDigest digest;          /* of what came in, if @keep */
} SmemvFetch;

/*
 * Begin to fetch @page for a fault that was read at @now, in ns. Wants the
 * lock, and there must be room.
 */
SmemvFetch smemv_fetch_begin(SmemvPager *p, uint64_t page, int64_t now);

/*
 * One try to fetch the page of @f on @c: then it is here. False where its
 * sub-host cannot be reached.
 */
bool smemv_fetch_try(SmemvPager *p, SmemvConn *c, SmemvFetch *f);

/* What was fetched is @data, or zeros: have it where it belongs. */
void smemv_fetch_place(SmemvPager *p, SmemvFetch *f, const void *data);

/* @f is here. Wants the lock. */
void smemv_fetch_end(SmemvPager *p, const SmemvFetch *f);

/* Connections to fetch on, to each peer that there can be; not yet attached. */
SmemvConn *smemv_fetch_conns(SmemvPager *p);

#endif
