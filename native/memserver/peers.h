/*
 * How many connections there are, in all and from each peer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_PEERS_H
#define SMEMV_PEERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define PEER_NAME_SIZE 64

struct peers {
    unsigned max_total;
    unsigned max_each;

    pthread_mutex_t lock; /* of what follows */
    unsigned total;
    struct peer *list;
};

void peers_init(struct peers *peers, unsigned max_total, unsigned max_each);
void peers_destroy(struct peers *peers);

/* Counts a connection of @name's; NULL, or why there may not be one more. */
const char *peers_enter(struct peers *peers, const char *name);
void peers_leave(struct peers *peers, const char *name);

/* The peer's address without its port; "local" for a UNIX socket. */
void peer_name(const struct sockaddr_storage *address,
               char name[PEER_NAME_SIZE]);

#endif
