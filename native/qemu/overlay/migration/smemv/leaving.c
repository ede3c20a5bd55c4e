/*
 * Leaving: the source's side of a migration of a VM that is split already.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "leaving.h"
#include "pages.h"
#include "rebalance.h"
#include "smemv.h"
#include "twins.h"

struct SmemvLeaving {
    SmemvPager *p;
    uint64_t limit;              /* of the destination */

    /* Of each peer that is told of, in the destination's order. */
    SmemvPeer *peers[SMEMV_MAX_PEERS];
    uint64_t aims[SMEMV_MAX_PEERS];
    unsigned n_peers;
    uint8_t number[SMEMV_MAX_PEERS]; /* by the session's order */

    /* To go back to. */
    uint64_t limit_before;
    uint64_t wanted_before[SMEMV_MAX_PEERS];
};

bool smemv_leaving_possible(SmemvPager *p, Error **errp)
{
    QEMU_LOCK_GUARD(&p->lock);
    if (p->left) {
        error_setg(errp, "the VM runs on another host");
        return false;
    }
    if (smemv_rebalance_active(p->rebalance)) {
        error_setg(errp, "pages of this VM are being moved between its "
                   "sub-hosts: it can migrate when that is done");
        return false;
    }
    return true;
}

static void tell_of(SmemvLeaving *l, unsigned i, uint64_t aim)
{
    l->number[i] = l->n_peers;
    l->aims[l->n_peers] = aim;
    l->peers[l->n_peers] = &l->p->session->peers[i];
    l->n_peers++;
}

SmemvLeaving *smemv_leaving_new(SmemvPager *p, bool same, uint64_t limit,
                                SmemvSubHostList *sub_hosts)
{
    SmemvLeaving *l = g_new0(SmemvLeaving, 1);
    SmemvSession *s = p->session;

    QEMU_LOCK_GUARD(&p->lock);
    l->p = p;
    l->limit = same ? p->limit : limit;
    l->limit_before = p->limit;
    for (unsigned i = 0; i < s->n_peers; i++) {
        l->wanted_before[i] = s->peers[i].wanted;
    }
    if (!same) {
        /* Only to learn the aims: until the switch-over nothing changes. */
        smemv_session_aim(s, sub_hosts);
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (!s->peers[i].gone && !s->peers[i].failed) {
            tell_of(l, i, s->peers[i].wanted);
        }
        s->peers[i].wanted = l->wanted_before[i];
    }
    return l;
}

/* One peer reserves @more pages more. */
static bool reserve(SmemvLeaving *l, SmemvPeer *peer, uint64_t more,
                    Error **errp)
{
    uint64_t pages;

    QEMU_LOCK_GUARD(&l->p->reserving);
    pages = peer->share + more;
    if (smemv_peer_reserve(l->p->session, peer, pages, errp)) {
        return false;
    }
    QEMU_LOCK_GUARD(&l->p->lock);
    peer->share = peer->wanted = pages;
    return true;
}

/*
 * What the guest has come in stays on its sub-host as well, and what goes out
 * for it needs room beside: in the end there may be all of the VM, as often
 * as it has copies.
 */
static bool reserve_whole(SmemvLeaving *l, Error **errp)
{
    uint64_t missing = l->p->map->pages * l->p->session->replicas;
    unsigned n_present = 0;
    Error *err = NULL;

    for (unsigned i = 0; i < l->n_peers; i++) {
        missing -= MIN(missing, l->peers[i]->wanted);
        n_present += l->peers[i]->wanted != 0;
    }
    /* In equal parts; then, where one refused, what is missing from any. */
    for (unsigned left = 2 * n_present, i = 0; missing && left; i++) {
        SmemvPeer *peer = l->peers[i % l->n_peers];
        uint64_t part = left > n_present ?
            DIV_ROUND_UP(missing, left - n_present) : missing;

        if (!peer->wanted) {
            continue;
        }
        left--;
        g_clear_pointer(&err, error_free);
        if (reserve(l, peer, part, &err)) {
            missing -= part;
        }
    }
    if (missing) {
        error_propagate_prepend(errp, err, "while a split VM moves, its "
                                "sub-hosts must have room for all of it: ");
        return false;
    }
    error_free(err);
    return true;
}

/* Open the session on the sub-hosts that the VM does not have yet. */
static bool open_new(SmemvLeaving *l, Error **errp)
{
    for (unsigned i = 0; i < l->n_peers; i++) {
        SmemvPeer *peer = l->peers[i];

        if (!peer->share) {
            if (smemv_peer_open(l->p->session, peer, l->aims[i], errp)) {
                return false;
            }
            peer->share = l->aims[i];
        }
    }
    return true;
}

bool smemv_leaving_begin(SmemvLeaving *l, Error **errp)
{
    return reserve_whole(l, errp) && open_new(l, errp) &&
           smemv_pager_begin_migration(l->p, l->limit, errp);
}

void smemv_leaving_end(SmemvLeaving *l, bool left)
{
    SmemvPager *p = l->p;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        for (unsigned i = 0; i < p->session->n_peers; i++) {
            SmemvPeer *peer = &p->session->peers[i];

            /* One that has failed meanwhile is to hold nothing any more. */
            peer->wanted = peer->failed ? 0 : l->wanted_before[i];
        }
    }
    smemv_pager_end_migration(p, l->limit_before, left);
    if (!left) {
        /* It closes what was opened, and gives back what was reserved. */
        smemv_rebalance_start(p->rebalance);
    }
    g_free(l);
}

uint64_t smemv_leaving_limit(const SmemvLeaving *l)
{
    return l->limit;
}

unsigned smemv_leaving_peers(const SmemvLeaving *l)
{
    return l->n_peers;
}

SmemvPeer *smemv_leaving_peer(const SmemvLeaving *l, unsigned i)
{
    return l->peers[i];
}

uint64_t smemv_leaving_aim(const SmemvLeaving *l, unsigned i)
{
    return l->aims[i];
}

static uint8_t numbered(const SmemvLeaving *l, uint8_t place)
{
    switch (place) {
    case SMEMV_ZERO:
        return SMEMV_ZERO;
    case SMEMV_MAIN:
    case SMEMV_STAGED:
    case SMEMV_FETCHING:
        return SMEMV_MAIN;
    default:
        return SMEMV_REMOTE + l->number[place - SMEMV_REMOTE];
    }
}

/* What counts of @pair, by the destination's numbers; 0 stays 0. */
static SmemvPair numbered_pair(const SmemvLeaving *l, SmemvPair pair)
{
    pair = smemv_twins_alive(l->p->session, pair);
    return (SmemvPair) { numbered(l, pair.place), numbered(l, pair.twin) };
}

SmemvPair smemv_leaving_pair(const SmemvLeaving *l, uint64_t page)
{
    SmemvPager *p = l->p;
    SmemvPair pair = { qatomic_read(&p->map->place[page]), 0 };

    if (p->map->twin) {
        QEMU_LOCK_GUARD(&p->lock);
        pair = smemv_page_map_get(p->map, page);
    }
    return numbered_pair(l, pair);
}

void smemv_leaving_changes(SmemvLeaving *l,
                           void (*tell)(uint64_t page, SmemvPair pair,
                                        SmemvPair home))
{
    SmemvPager *p = l->p;
    g_autoptr(GArray) changes = g_array_new(false, false, sizeof(uint64_t));

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        GArray *empty = changes;

        changes = p->changes;
        p->changes = empty;
    }
    for (unsigned i = 0; i < changes->len; i++) {
        uint64_t page = g_array_index(changes, uint64_t, i);
        SmemvPair home = { qatomic_read(&p->home[page]), 0 };

        if (p->home_twin) {
            QEMU_LOCK_GUARD(&p->lock);
            home = smemv_pages_home(p, page);
        }
        tell(page, smemv_leaving_pair(l, page), numbered_pair(l, home));
    }
}
