/*
 * Twins: the two sub-hosts of a page that has two copies.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "client.h"
#include "twins.h"

static uint64_t domain_room(const SmemvSession *s, const char *domain)
{
    uint64_t room = 0;

    for (unsigned i = 0; i < s->n_peers; i++) {
        if (s->peers[i].domain == domain) {
            room += smemv_peer_room(&s->peers[i]);
        }
    }
    return room;
}

int smemv_twins_best(const SmemvSession *s, int other, int barred)
{
    uint64_t most = 0, most_of_domain = 0;
    int best = SMEMV_NO_PEER;

    for (int i = 0; i < s->n_peers; i++) {
        const SmemvPeer *peer = &s->peers[i];
        uint64_t room = smemv_peer_room(peer), of_domain;

        if (!room || i == barred ||
            (other != SMEMV_NO_PEER &&
             s->peers[other].domain == peer->domain)) {
            continue;
        }
        of_domain = domain_room(s, peer->domain);
        if (of_domain > most_of_domain ||
            (of_domain == most_of_domain && room > most)) {
            most_of_domain = of_domain;
            most = room;
            best = i;
        }
    }
    return best;
}

static bool has_room(const SmemvSession *s, uint8_t place)
{
    return place >= SMEMV_REMOTE &&
           smemv_peer_room(&s->peers[place - SMEMV_REMOTE]);
}

SmemvPair smemv_twins_choose(const SmemvSession *s, SmemvPair beside)
{
    int first, second;

    if (has_room(s, beside.place) && has_room(s, beside.twin)) {
        return beside;
    }
    first = smemv_twins_best(s, SMEMV_NO_PEER, SMEMV_NO_PEER);
    if (first == SMEMV_NO_PEER) {
        return (SmemvPair) { 0, 0 };
    }
    second = smemv_twins_best(s, first, SMEMV_NO_PEER);
    if (second == SMEMV_NO_PEER) {
        return (SmemvPair) { SMEMV_REMOTE + first, 0 };
    }
    /* The place is what is read from, so each has as many as the other. */
    if (s->peers[first].remote > s->peers[second].remote) {
        return (SmemvPair) { SMEMV_REMOTE + second, SMEMV_REMOTE + first };
    }
    return (SmemvPair) { SMEMV_REMOTE + first, SMEMV_REMOTE + second };
}

static bool has_failed(const SmemvSession *s, uint8_t place)
{
    return place >= SMEMV_REMOTE && place < SMEMV_REMOTE + SMEMV_MAX_PEERS &&
           qatomic_read(&s->peers[place - SMEMV_REMOTE].failed);
}

SmemvPair smemv_twins_alive(const SmemvSession *s, SmemvPair pair)
{
    if (has_failed(s, pair.twin)) {
        pair = smemv_pair_without(pair, pair.twin);
    }
    if (has_failed(s, pair.place)) {
        pair = smemv_pair_without(pair, pair.place);
    }
    return pair;
}

static unsigned other_of(const SmemvSource *source)
{
    uint8_t place = SMEMV_REMOTE + source->peer;

    return smemv_pair_without(source->left, place).place - SMEMV_REMOTE;
}

void smemv_source_init(SmemvSource *source, const SmemvSession *s,
                       SmemvPair pair)
{
    *source = (SmemvSource) {
        .session = s,
        .left = smemv_twins_alive(s, pair),
    };
    source->peer = source->left.place - SMEMV_REMOTE;
    smemv_source_choose(source);
}

void smemv_source_choose(SmemvSource *source)
{
    const SmemvPeer *peers = source->session->peers;
    unsigned other;

    source->left = smemv_twins_alive(source->session, source->left);
    if (!source->left.twin) {
        source->peer = source->left.place - SMEMV_REMOTE;
        return;
    }
    other = other_of(source);
    if (qatomic_read(&peers[source->peer].lost) &&
        !qatomic_read(&peers[other].lost)) {
        source->peer = other;
    }
}

bool smemv_source_next(SmemvSource *source, int ret, const Error *why)
{
    const SmemvSession *s = source->session;
    SmemvPeer *peer = &s->peers[source->peer];

    if (ret > 0) {
        /* Another main host may run the VM, whatever others say. */
        if (ret == SMEMV_WIRE_STALE || !source->left.twin) {
            return false;
        }
        smemv_peer_lost_memory(s, peer, ret);
        warn_report("smemv: the other copy is used: %s", error_get_pretty(why));
        source->left = smemv_pair_without(source->left,
                                          SMEMV_REMOTE + source->peer);
        source->peer = source->left.place - SMEMV_REMOTE;
        return true;
    }
    source->failures++;
    source->left = smemv_twins_alive(s, source->left);
    source->peer = source->left.twin ? other_of(source) :
                   source->left.place - SMEMV_REMOTE;
    return true;
}

void smemv_source_rest(const SmemvSource *source)
{
    if (!source->left.twin || source->failures % 2 == 0) {
        g_usleep(SMEMV_RECONNECT_US);
    }
}

bool smemv_peer_lost_memory(const SmemvSession *s, SmemvPeer *peer, int ret)
{
    if (s->replicas == 1 || ret != SMEMV_WIRE_NO_SESSION) {
        return false;
    }
    qatomic_set(&peer->emptied, true);
    return true;
}
