/*
 * A session: the pages of one VM, who holds them, and how many there may be.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_SESSION_H
#define SMEMV_SESSION_H

#include "../wire/smemv-wire.h"
#include "pool.h"
#include "radix.h"
#include "record.h"
#include "verdict.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct session {
    /* Never change. */
    uint64_t spare; /* slots beyond the reservation, for PUTs being worked on */

    /*
     * Of what follows, and of what changes in record; to write, session_lock()
     * and session_unlock().
     */
    pthread_rwlock_t lock;
    pthread_mutex_t writer;
    struct record *record;
    int record_fd; /* -1: closed, as it is not needed any more */
    uint64_t used; /* pages */
    atomic_bool closed;
    struct radix index;

    struct pool pool;
    pthread_mutex_t commit; /* one step of committing what lacks at a time */
    atomic_uint lacking;    /* slots that an early OPEN left to be committed */

    pthread_mutex_t resize; /* one RESERVE or CLOSE at a time */
    atomic_uint working;    /* PUTs that have slots in hand */
    pthread_mutex_t work_lock; /* of the wait for these to end */
    pthread_cond_t work_done;

    atomic_uint connections; /* that are attached */

    /* The registry's. */
    unsigned references;
    bool changing; /* being opened or closed */
    struct session *next;
};

/* What binds a connection to a session. */
struct attachment {
    struct session *session; /* NULL: not attached */
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];
    uint64_t epoch;
};

/*
 * Takes and gives back the lock for writing. Writers that meet at an rwlock
 * of glibc hand it to one another, each by a sleep and a wake-up, for as long
 * as there are several: of single pages on four connections there were 0.1 to
 * 0.4 million PUTs a second, and are 1.2 million now that they meet at a mutex
 * that spins (kv_bench).
 */
void session_lock(struct session *session);
void session_unlock(struct session *session);

/* Is it the session's token? Takes as long whatever it is. */
bool session_token_is(const struct session *session,
                      const uint8_t token[SMEMV_WIRE_TOKEN_SIZE]);

/* Refuses if another main host holds the session; as for a PUT. */
struct verdict session_check_writer(const struct attachment *a);

/*
 * The requests of protocol.md. Pages are checked by the decoder already.
 * @entries and @data are a PUT's payload; nothing is stored unless OK.
 */
struct verdict session_put(const struct attachment *a, uint64_t page,
                           unsigned count, const uint8_t *entries,
                           const uint8_t *data);

/*
 * Writes @count entries at @entries and each page that is stored, one behind
 * the other, at @data. The verdict's value is the number of those pages.
 */
struct verdict session_get(const struct attachment *a, uint64_t page,
                           unsigned count, uint8_t *entries, uint8_t *data);

struct verdict session_drop(const struct attachment *a, uint64_t page,
                            unsigned count);
struct verdict session_claim(const struct attachment *a, uint64_t expected);

/*
 * Commits what an early OPEN left; takes long. Where the host has not as much
 * memory, the reservation becomes what there is.
 */
struct verdict session_commit_rest(struct session *session);

/* Changes the reservation within what the registry granted; takes long. */
struct verdict session_grow(const struct attachment *a, uint64_t reserve);
struct verdict session_shrink(const struct attachment *a, uint64_t reserve);

/*
 * Ends the session and frees its memory; takes long. @a: the attachment
 * that is to be fenced, or NULL. The session itself stays until it is freed.
 */
struct verdict session_close(struct session *session,
                             const struct attachment *a);

#endif
