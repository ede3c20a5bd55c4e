/*
 * Leaving: the source's side of a migration of a VM that is split already.
 *
 * Pages on sub-hosts stay there, and the destination is told where. While the
 * migration is under way the guest pages on, but nothing that a memserver
 * holds is dropped, so what was told stays true until the page is written;
 * then it is dirty, and told or sent once more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_LEAVING_H
#define SMEMV_LEAVING_H

#include "qapi/qapi-types-smemv.h"
#include "pager.h"

typedef struct SmemvLeaving SmemvLeaving;

/* Whether the VM of @p can leave just now. */
bool smemv_leaving_possible(SmemvPager *p, Error **errp);

/*
 * A move to a main host that may hold @limit pages, with the rest to be on
 * @sub_hosts, which the session accepts; or with limit and sub-hosts the
 * @same.
 */
SmemvLeaving *smemv_leaving_new(SmemvPager *p, bool same, uint64_t limit,
                                SmemvSubHostList *sub_hosts);

/*
 * Have the memservers ready, and resident memory under the limit. Reserves
 * room for the whole VM on its present sub-hosts for as long as it lasts.
 */
bool smemv_leaving_begin(SmemvLeaving *l, Error **errp);

/* Over: the VM is elsewhere (@left), or runs on here as before. Frees @l. */
void smemv_leaving_end(SmemvLeaving *l, bool left);

/* What the destination is told: its peers have numbers of their own. */
uint64_t smemv_leaving_limit(const SmemvLeaving *l);
unsigned smemv_leaving_peers(const SmemvLeaving *l);
SmemvPeer *smemv_leaving_peer(const SmemvLeaving *l, unsigned i);
uint64_t smemv_leaving_aim(const SmemvLeaving *l, unsigned i);

/*
 * Where @page is, by the destination's numbers; SMEMV_MAIN where it is in
 * this process.
 */
SmemvPair smemv_leaving_pair(const SmemvLeaving *l, uint64_t page);

/*
 * Tell of each page that went out or came in since the last call: its places,
 * and where else it has copies, or 0.
 */
void smemv_leaving_changes(SmemvLeaving *l,
                           void (*tell)(uint64_t page, SmemvPair pair,
                                        SmemvPair home));

#endif
