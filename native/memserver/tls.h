/*
 * TLS 1.3 over a socket, either end of it, both ends with certificates.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_TLS_H
#define SMEMV_TLS_H

#include "identity.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The identity that new sessions have; those that are there keep theirs. */
struct tls {
    const char *folder; /* NULL: there is no TLS */
    const char *peers;

    pthread_mutex_t lock; /* of what follows */
    struct identity *identity;
};

/* Loads the identity, as identity_load(). False: it has said why not. */
bool tls_init(struct tls *tls, const char *folder, const char *peers);

/* Loads it anew; if that fails the one that is there stays, and false. */
bool tls_reload(struct tls *tls);

/* When the first of its certificates expires. */
time_t tls_expires(struct tls *tls);

/* Nothing of it may be in use but sessions. */
void tls_destroy(struct tls *tls);

struct tls_session;

/*
 * A session over the non-blocking socket @fd, which stays the caller's: its
 * server's end, open to any known host, or its client's end, to the host of
 * that name or address and to no other (@host must last as long). NULL: no
 * memory.
 */
struct tls_session *tls_accept(struct tls *tls, int fd);
struct tls_session *tls_connect(struct tls *tls, int fd, const char *host);
void tls_free(struct tls_session *session);

enum tls_progress {
    TLS_DONE,
    TLS_WANTS_READ,  /* call again when there is something to read, */
    TLS_WANTS_WRITE, /* or room to write */
    TLS_FAILED,      /* tls_error() says why; the other end is told */
};

/* Goes on with the handshake as far as it can without waiting. */
enum tls_progress tls_handshake(struct tls_session *session);

/* Why the session failed, or NULL if it did not. */
const char *tls_error(const struct tls_session *session);

/*
 * As recv() and send() with a non-blocking socket: bytes, 0 at the end, or -1
 * and errno: EAGAIN, or EPROTO where the session failed. A send that was
 * refused with EAGAIN must be repeated with the same data, at least.
 */
ssize_t tls_receive(struct tls_session *session, void *data, size_t size);
ssize_t tls_send(struct tls_session *session, const void *data, size_t size);

/* Is there something to receive that the socket does not show any more? */
bool tls_has_more(const struct tls_session *session);

/* Tells the other end, if it can at once, that nothing more is sent. */
void tls_finish(struct tls_session *session);

#endif
