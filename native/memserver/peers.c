/*
 * How many connections there are, in all and from each peer.
 *
 * A peer that opens all it can must leave room for the others.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "peers.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

struct peer {
    struct peer *next;
    unsigned connections;
    char name[PEER_NAME_SIZE];
};

void peers_init(struct peers *peers, unsigned max_total, unsigned max_each)
{
    *peers = (struct peers){ .max_total = max_total, .max_each = max_each };
    pthread_mutex_init(&peers->lock, NULL);
}

void peers_destroy(struct peers *peers)
{
    while (peers->list) {
        struct peer *peer = peers->list;

        peers->list = peer->next;
        free(peer);
    }
    pthread_mutex_destroy(&peers->lock);
}

/* Where the peer hangs in the list, or would. The lock is held. */
static struct peer **find(struct peers *peers, const char *name)
{
    struct peer **place = &peers->list;

    while (*place && strcmp((*place)->name, name) != 0) {
        place = &(*place)->next;
    }
    return place;
}

static const char *enter(struct peers *peers, const char *name)
{
    struct peer **place = find(peers, name);

    if (peers->total >= peers->max_total) {
        return "there are as many connections as there may be";
    }
    if (!*place) {
        struct peer *peer = calloc(1, sizeof(*peer));

        if (!peer) {
            return "no memory";
        }
        strcpy(peer->name, name);
        *place = peer;
    }
    if ((*place)->connections >= peers->max_each) {
        return "this peer has as many connections as one may have";
    }
    (*place)->connections++;
    peers->total++;
    return NULL;
}

const char *peers_enter(struct peers *peers, const char *name)
{
    const char *refused;

    pthread_mutex_lock(&peers->lock);
    refused = enter(peers, name);
    pthread_mutex_unlock(&peers->lock);
    return refused;
}

void peers_leave(struct peers *peers, const char *name)
{
    struct peer **place;

    pthread_mutex_lock(&peers->lock);
    place = find(peers, name);
    peers->total--;
    if (--(*place)->connections == 0) {
        struct peer *peer = *place;

        *place = peer->next;
        free(peer);
    }
    pthread_mutex_unlock(&peers->lock);
}

void peer_name(const struct sockaddr_storage *address,
               char name[PEER_NAME_SIZE])
{
    if (address->ss_family == AF_UNIX) {
        strcpy(name, "local");
    } else if (getnameinfo((const struct sockaddr *)address, sizeof(*address),
                           name, PEER_NAME_SIZE, NULL, 0, NI_NUMERICHOST)) {
        strcpy(name, "unknown");
    }
}
