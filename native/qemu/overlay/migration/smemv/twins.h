/*
 * Twins: the two sub-hosts of a page that has two copies.
 *
 * They are in different failure domains, and either will do to read from:
 * a page has gone out when both have acknowledged it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_TWINS_H
#define SMEMV_TWINS_H

#include "page-map.h"
#include "session.h"

/* No peer. */
#define SMEMV_NO_PEER (-1)

/*
 * The peer with the most room in the failure domain with the most room, or
 * SMEMV_NO_PEER: not @barred, and not in the domain of @other. Wants what
 * guards the peers' counts, as does the next one.
 */
int smemv_twins_best(const SmemvSession *s, int other, int barred);

/*
 * Where a page is to go: to @beside, where there is room for it; else to two
 * peers, or to one, or (place 0) to none.
 */
SmemvPair smemv_twins_choose(const SmemvSession *s, SmemvPair beside);

/* What counts of @pair: not what a peer that has failed holds. */
SmemvPair smemv_twins_alive(const SmemvSession *s, SmemvPair pair);

/* A page, or a run of pages, that is to be fetched from where it can be had. */
typedef struct SmemvSource {
    const SmemvSession *session;
    SmemvPair left;              /* copies that may be right */
    unsigned peer;               /* to be asked */
    unsigned failures;           /* connections, in a row */
} SmemvSource;

void smemv_source_init(SmemvSource *source, const SmemvSession *s,
                       SmemvPair pair);

/* Of two peers prefer one that is not known to be away. */
void smemv_source_choose(SmemvSource *source);

/*
 * The peer returned @ret for the reason @why: go on with the other copy, or
 * after a while with the same. False where there is no right copy.
 */
bool smemv_source_next(SmemvSource *source, int ret, const Error *why);

/* That while, where all were asked. */
void smemv_source_rest(const SmemvSource *source);

/*
 * Whether @ret says that the peer has lost what it held, and the VM need not
 * end for that.
 */
bool smemv_peer_lost_memory(const SmemvSession *s, SmemvPeer *peer, int ret);

#endif
