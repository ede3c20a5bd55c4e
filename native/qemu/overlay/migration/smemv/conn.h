/*
 * Connection to a memserver: its requests and responses, as they are on the
 * wire. What may be asked for is in client.h.
 *
 * A connection belongs to one thread at a time. All calls block, and none may
 * be made with a lock held that a page fault needs.
 *
 * Calls that return int return a status of the protocol (SMEMV_WIRE_OK is 0),
 * or -1 when the connection failed; @errp is set whenever it is not 0. After
 * a -1 the connection is closed, and the next smemv_conn_attach() makes a new
 * one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_CONN_H
#define SMEMV_CONN_H

#include "io/channel.h"
#include "session.h"

/* After how long a silence a host counts as lost. */
#define SMEMV_LOST_MS 10000

/*
 * How often a wait for a memserver looks up, in ms: a migration can have been
 * cancelled meanwhile, and a sub-host have failed.
 */
#define SMEMV_LOOK_MS 100

/* Pages that are sealed at once. */
#define SMEMV_BATCH 64

/* GETs of one page that are sent at once. */
#define SMEMV_GETS 8

typedef struct SmemvConn {
    SmemvSession *session;
    SmemvPeer *peer;
    QIOChannel *ioc;             /* NULL while not connected */
    int fd;                      /* its socket */
    unsigned gets;               /* sent on it, and not answered yet */
    bool impatient;              /* a silence of 10 s ends it */
    bool interrupted;            /* (atomic) this process ends it */
    SmemvSealer *sealer;         /* while connected, of a sealed session */
    uint64_t epoch;              /* with which it attached last */
    /*
     * Where pages have two copies: how long to wait for an answer; 0: until
     * the peer is found to have failed.
     */
    unsigned patience_ms;
    SmemvPeer *target;           /* of a copying that is waited for, as well */
    uint8_t *buf;                /* received, and not yet taken */
    size_t start, end;           /* of what is in @buf */
} SmemvConn;

void smemv_conn_init(SmemvConn *c, SmemvSession *s, SmemvPeer *peer);
void smemv_conn_close(SmemvConn *c);

/* Wake a thread that is blocked in a call on @c; its call returns -1. */
void smemv_conn_interrupt(SmemvConn *c);

/* Connect anew, as far as HELLO. */
int smemv_conn_connect(SmemvConn *c, Error **errp);

/*
 * The connection failed, as @errp says: names the memserver there, and closes
 * the connection. Returns -1.
 */
int smemv_conn_failed(SmemvConn *c, Error **errp);

int smemv_conn_send(SmemvConn *c, const struct iovec *iov, size_t niov,
                    Error **errp);
int smemv_conn_send_request(SmemvConn *c, struct smemv_wire_request q,
                            const void *body, size_t body_size, Error **errp);

/* Whether an answer comes, or cannot come any more, within @ms. */
bool smemv_conn_answers(const SmemvConn *c, int ms);

/* Have at least @need bytes, at most 64 KiB, in @c->buf. */
int smemv_conn_fill(SmemvConn *c, size_t need, Error **errp);

/* Take @size bytes into @to, from @c->buf as far as they are there. */
int smemv_conn_read(SmemvConn *c, uint8_t *to, size_t size, Error **errp);

/* Await a response, of any length. @payload is there until the next read. */
int smemv_conn_receive(SmemvConn *c, struct smemv_wire_response *r,
                       const uint8_t **payload, Error **errp);

/*
 * The same in two steps: the header of a response that has at most @longest
 * bytes behind it, and these. The second returns the response's status.
 */
int smemv_conn_receive_header(SmemvConn *c, struct smemv_wire_response *r,
                              size_t longest, Error **errp);
int smemv_conn_receive_payload(SmemvConn *c,
                               const struct smemv_wire_response *r,
                               const uint8_t **payload, Error **errp);

/* Await the response to @opcode, which has @length bytes of payload. */
int smemv_conn_receive_response(SmemvConn *c, unsigned opcode,
                                const uint8_t **payload, uint32_t length,
                                Error **errp);

/* Send a request and await its response. */
int smemv_conn_call(SmemvConn *c, struct smemv_wire_request q,
                    const void *body, size_t body_size,
                    const uint8_t **payload, uint32_t length, Error **errp);

/*
 * Which of @n connections has the next answer to a GET: waits for it where
 * several await some, and ends one where all are silent. -1 where none does.
 */
int smemv_conns_answering(SmemvConn *conns, unsigned n);

#endif
