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

    pthread_rwlock_t lock; /* of what follows, and of what changes in record */
    struct record *record;
    int record_fd; /* -1: closed, as it is not needed any more */
    uint64_t used; /* pages */
    bool closed;
    struct radix index;

    struct pool pool;

    pthread_mutex_t resize; /* one RESERVE or CLOSE at a time */
    pthread_mutex_t work_lock;
    pthread_cond_t work_done;
    unsigned working; /* PUTs that have slots in hand */

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
 * Makes a session as @open says, without its memory yet. @workers: PUTs that
 * may be worked on at once. NULL: no memory.
 */
struct session *session_new(const struct smemv_wire_open *open,
                            uint64_t max_pages, unsigned workers);
void session_free(struct session *session);

/*
 * Commits the memory that was reserved, and has the session kept beyond the
 * end of the process; takes long.
 */
struct verdict session_commit(struct session *session);

/*
 * The session of a process before this one, from the memfd of its record and
 * two more, in any order, of which it takes over all three. NULL: @wrong says
 * what is wrong with them.
 */
struct session *session_restore(int record_fd, const int fds[2],
                                uint64_t max_pages, unsigned workers,
                                const char **wrong);

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

/* Changes the reservation within what the registry granted; takes long. */
struct verdict session_grow(const struct attachment *a, uint64_t reserve);
struct verdict session_shrink(const struct attachment *a, uint64_t reserve);

/*
 * Ends the session and frees its memory; takes long. @a: the attachment
 * that is to be fenced, or NULL. The session itself stays until it is freed.
 */
struct verdict session_close(struct session *session,
                             const struct attachment *a);

/* Lets go of the session's memory, which waits for the next process. */
void session_leave(struct session *session);

#endif
