/*
 * One peer's connection: a state machine over a non-blocking socket.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_CONNECTION_H
#define SMEMV_CONNECTION_H

#include "../wire/smemv-wire.h"
#include "jobs.h"
#include "log.h"
#include "peers.h"
#include "session.h"
#include "tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct worker;

enum connection_state {
    CONNECTION_HANDSHAKE, /* of TLS */
    CONNECTION_HELLO,   /* nothing but HELLO is answered */
    CONNECTION_OPEN,
    CONNECTION_ENDING,  /* the last response is being sent */
    CONNECTION_LINGERS, /* all is sent; what still comes is thrown away */
};

struct connection {
    struct worker *worker;
    int fd;
    bool local; /* over the control socket */
    struct tls_session *tls; /* NULL: plain */
    char peer[PEER_NAME_SIZE];
    enum connection_state state;
    time_t deadline; /* up to HELLO, and while it lingers; else 0 */
    struct attachment attachment;
    struct link *link; /* to the memserver that it copies to, or NULL */
    struct log_limit log_limit;

    /* What came in and was not worked on yet: in[in_start .. in_end). */
    uint8_t *in; /* a buffer, or NULL */
    size_t in_start, in_end;
    uint8_t few[256]; /* keeps a few bytes while there is no buffer */
    size_t few_size;
    size_t skip;   /* bytes to come that are thrown away */
    size_t wanted; /* bytes of the request that is not whole yet; or 0 */
    bool ended;    /* the peer sends no more */
    bool yields;   /* more could be done, but others have their turn */

    /* What is to be sent: out[out_start .. out_end). */
    uint8_t *out; /* a buffer, or NULL */
    size_t out_start, out_end;

    /* A handshake or a request is a job's; nothing else is done, meanwhile. */
    bool busy;
    struct job job;
    uint64_t started;            /* the request; of counters_clock() */
    enum tls_progress handshake; /* how far it is */
    struct smemv_wire_request request;
    struct verdict verdict;

    /* The worker's. */
    uint32_t events;
    struct connection *mail;
    struct connection *previous, *next;
};

/*
 * Takes over @fd and @tls, a session over it, or NULL for plain text. NULL: no
 * memory, and they are closed.
 */
struct connection *connection_new(int fd, struct tls_session *tls, bool local,
                                  const char *peer);

/* Closes it, wherever it stands. It must not be busy. */
void connection_free(struct connection *c);

/*
 * Goes on as far as it can without waiting. Returns the epoll events to wait
 * for; 0: the connection is at its end, and is to be freed unless it is busy.
 */
uint32_t connection_run(struct connection *c);

/*
 * The job is done: answers the request, or goes on behind the handshake.
 * connection_run() is to follow; but false: the connection is at its end.
 */
bool connection_job_done(struct connection *c);

/* The deadline has passed: returns whether the connection is at its end. */
bool connection_expired(struct connection *c);

/* Where a response's payload goes; there is room for any. */
uint8_t *connection_payload(struct connection *c);

/* Queues a response whose payload is in its place already. */
void connection_answer(struct connection *c, const struct smemv_wire_request *r,
                       size_t length, unsigned count);

/* Queues a refusal, and tells the journal. */
void connection_refuse(struct connection *c, const struct smemv_wire_request *r,
                       enum smemv_wire_status status, const char *text);

#endif
