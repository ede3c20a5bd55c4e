/*
 * All sessions of the memserver, and what of its capacity they reserve.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_REGISTRY_H
#define SMEMV_REGISTRY_H

#include "session.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct registry {
    uint64_t capacity; /* pages */
    unsigned max_sessions;
    unsigned workers;

    pthread_mutex_t lock; /* of what follows, and of sessions' references */
    pthread_cond_t changed;
    uint64_t reserved; /* pages */
    unsigned count;
    struct session *sessions;
};

void registry_init(struct registry *registry, uint64_t capacity,
                   unsigned max_sessions, unsigned workers);

/*
 * Lets go of all sessions, which wait for the next process. No connection may
 * be attached any more.
 */
void registry_destroy(struct registry *registry);

/* Takes a session of a process before this one. */
void registry_adopt(struct registry *registry, struct session *session);

/* The requests OPEN, CLOSE and RESERVE. They take long. */
struct verdict registry_open(struct registry *registry,
                             const struct smemv_wire_open *open);

/*
 * @any_token: the token is not asked for. @a: the connection's attachment,
 * which is fenced if it is to that session.
 */
struct verdict registry_close(struct registry *registry,
                              const struct smemv_wire_close *close,
                              bool any_token, const struct attachment *a);
struct verdict registry_reserve(struct registry *registry,
                                const struct attachment *a, uint64_t pages);

/* Binds @a, which may be bound already, to a session; or leaves it. */
struct verdict registry_attach(struct registry *registry,
                               const struct smemv_wire_attach *attach,
                               struct attachment *a);
void registry_detach(struct registry *registry, struct attachment *a);

#endif
