/*
 * One peer's connection: a state machine over a non-blocking socket.
 *
 * Requests are worked on as they lie in the buffer, and their responses
 * gathered and sent together. While a response waits for a slow reader, or a
 * job is at work, nothing is read: the peer's own sends will stop. A buffer
 * is held only while there is something in it, so that an idle connection,
 * or one that sent half a header, costs a few hundred bytes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "connection.h"

#include "buffer.h"
#include "copy.h"
#include "request.h"
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Seconds. */
#define HELLO_TIME 10
#define LINGER_TIME 2

/* Requests that are worked on before others have their turn. */
#define REQUESTS_IN_TURN 256

/* Bytes that a connection which lingers may throw away in its turn. */
#define WASTE_IN_TURN ((size_t)64 * 1024)

/* Above this, a request's rest is read without what follows it. */
#define LARGE_REQUEST ((size_t)64 * 1024)

static time_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return time.tv_sec;
}

static void close_transport(struct tls_session *tls, int fd)
{
    if (tls) {
        tls_free(tls);
    }
    close(fd);
}

struct connection *connection_new(int fd, struct tls_session *tls, bool local,
                                  const char *peer)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (!c) {
        close_transport(tls, fd);
        return NULL;
    }
    c->fd = fd;
    c->tls = tls;
    c->local = local;
    c->state = tls ? CONNECTION_HANDSHAKE : CONNECTION_HELLO;
    c->handshake = TLS_WANTS_READ;
    c->deadline = now() + HELLO_TIME;
    strcpy(c->peer, peer);
    return c;
}

void connection_free(struct connection *c)
{
    if (c->in) {
        buffer_give(&c->worker->buffers, c->in);
    }
    if (c->out) {
        buffer_give(&c->worker->buffers, c->out);
    }
    copy_end_link(c);
    registry_detach(&c->worker->server->registry, &c->attachment);
    close_transport(c->tls, c->fd);
    free(c);
}

uint8_t *connection_payload(struct connection *c)
{
    return c->out + c->out_end + SMEMV_WIRE_HEADER_SIZE;
}

static void queue(struct connection *c, const struct smemv_wire_request *r,
                  enum smemv_wire_status status, size_t length, unsigned count)
{
    const struct smemv_wire_response response = {
        .opcode = r->opcode,
        .status = (uint16_t)status,
        .tag = r->tag,
        .length = (uint32_t)length,
        .count = count,
    };

    count_answer(&c->worker->counters, r->opcode, status);
    smemv_wire_put_response(c->out + c->out_end, &response);
    c->out_end += SMEMV_WIRE_HEADER_SIZE + length;
}

void connection_answer(struct connection *c, const struct smemv_wire_request *r,
                       size_t length, unsigned count)
{
    queue(c, r, SMEMV_WIRE_OK, length, count);
}

static bool ends_connection(enum smemv_wire_status status)
{
    return status == SMEMV_WIRE_BAD_REQUEST ||
           status == SMEMV_WIRE_NO_VERSION || status == SMEMV_WIRE_INTERNAL;
}

static void log_refusal(struct connection *c,
                        const struct smemv_wire_request *r,
                        enum smemv_wire_status status, const char *text)
{
    const struct session *session = c->attachment.session;
    char others[64] = "";
    unsigned unlogged;

    if (!log_allows(&c->log_limit, &unlogged)) {
        return;
    }
    if (unlogged) {
        snprintf(others, sizeof(others), "; and %u before it", unlogged);
    }
    log_line(status == SMEMV_WIRE_INTERNAL ? LOG_ERR : LOG_WARNING,
             "%s: %s tag %u refused: %s: %s%s%s%s", c->peer,
             smemv_wire_opcode_name(r->opcode), r->tag,
             smemv_wire_status_name(status), text,
             session ? "; session " : "", session ? session->record->name : "",
             others);
}

void connection_refuse(struct connection *c, const struct smemv_wire_request *r,
                       enum smemv_wire_status status, const char *text)
{
    size_t length = strlen(text);

    log_refusal(c, r, status, text);
    memcpy(connection_payload(c), text, length);
    queue(c, r, status, length, 0);
    if (ends_connection(status)) {
        c->state = CONNECTION_ENDING;
    }
}

static size_t pending_in(const struct connection *c)
{
    return c->in_end - c->in_start;
}

static size_t pending_out(const struct connection *c)
{
    return c->out_end - c->out_start;
}

/* Counts it, and tells the journal why. */
static void tls_failed(struct connection *c, const char *why)
{
    /* All connections', or a peer could fill the journal by coming again. */
    struct log_limit *limit = &c->worker->tls_log_limit;
    char others[64] = "";
    unsigned unlogged;

    count(&c->worker->counters.tls_failures, 1);
    if (!log_allows(limit, &unlogged)) {
        return;
    }
    if (unlogged) {
        snprintf(others, sizeof(others), "; and %u before it", unlogged);
    }
    log_line(LOG_WARNING, "%s: TLS failed: %s%s", c->peer, why, others);
}

/* The connection broke, or there is only nothing to be done just now. */
static bool is_broken(struct connection *c)
{
    if (errno == EAGAIN || errno == EINTR) {
        return false;
    }
    if (c->tls && tls_error(c->tls)) {
        tls_failed(c, tls_error(c->tls));
    }
    return true;
}

/* Sends what is queued. Returns false if the connection is broken. */
static bool flush(struct connection *c)
{
    while (pending_out(c)) {
        const uint8_t *from = c->out + c->out_start;
        ssize_t n = c->tls ? tls_send(c->tls, from, pending_out(c))
                           : send(c->fd, from, pending_out(c), MSG_NOSIGNAL);

        if (n < 0) {
            return !is_broken(c);
        }
        count(&c->worker->counters.sent, (uint64_t)n);
        c->out_start += (size_t)n;
    }
    c->out_start = 0;
    c->out_end = 0;
    return true;
}

/* Is there room for a response of @size bytes? If not, it is time to send. */
static bool has_room(struct connection *c, size_t size)
{
    c->yields = c->out_end + size > BUFFER_SIZE;
    return !c->yields;
}

/* Works on one request if it is there as a whole. Returns whether it was. */
static bool next_request(struct connection *c)
{
    const uint8_t *frame = c->in + c->in_start;
    struct smemv_wire_request r;
    const char *wrong;
    size_t size;

    c->wanted = 0;
    if (pending_in(c) < SMEMV_WIRE_HEADER_SIZE) {
        return false;
    }
    wrong = smemv_wire_get_request(frame, &r);
    if (!has_room(c, wrong ? REQUEST_LEAST_ROOM : request_room(&r))) {
        return false;
    }
    if (wrong) {
        connection_refuse(c, &r, SMEMV_WIRE_BAD_REQUEST, wrong);
        return true;
    }
    size = SMEMV_WIRE_HEADER_SIZE + smemv_wire_payload_size(&r);
    if (!request_begin(c, &r)) {
        c->in_start += SMEMV_WIRE_HEADER_SIZE;
        c->skip = size - SMEMV_WIRE_HEADER_SIZE;
        return true;
    }
    if (pending_in(c) < size) {
        c->wanted = size;
        return false;
    }
    c->started = counters_clock();
    request_handle(c, &r, frame + SMEMV_WIRE_HEADER_SIZE);
    /* A job still needs the request where it is. */
    if (!c->busy) {
        count_time(&c->worker->counters, r.opcode, c->started);
        c->in_start += size;
    }
    return true;
}

static void skip(struct connection *c)
{
    size_t n = c->skip < pending_in(c) ? c->skip : pending_in(c);

    c->in_start += n;
    c->skip -= n;
}

/* Works on what is there, until it must wait or others have their turn. */
static void work(struct connection *c)
{
    unsigned requests = 0;

    c->yields = false;
    /* While a job is at work, what came in is the job's to read. */
    while (!c->busy && c->state < CONNECTION_ENDING) {
        if (requests++ == REQUESTS_IN_TURN) {
            c->yields = true;
            return;
        }
        skip(c);
        if (!next_request(c)) {
            return;
        }
    }
}

/* Reads once. At the end, or if the connection broke, @c->ended is set. */
static void receive(struct connection *c)
{
    size_t space;
    ssize_t n;

    if (c->in_start) {
        memmove(c->in, c->in + c->in_start, pending_in(c));
        c->in_end -= c->in_start;
        c->in_start = 0;
    }
    space = BUFFER_SIZE - c->in_end;
    if (c->wanted > LARGE_REQUEST) {
        /* Or the beginning of the next one would have to be moved. */
        space = c->wanted - c->in_end;
    }
    n = c->tls ? tls_receive(c->tls, c->in + c->in_end, space)
               : recv(c->fd, c->in + c->in_end, space, 0);
    if (n > 0) {
        c->in_end += (size_t)n;
        count(&c->worker->counters.received, (uint64_t)n);
    } else {
        c->ended = n == 0 || is_broken(c);
    }
}

/* Gets the buffers, and into one what was kept of them. */
static bool take_buffers(struct connection *c)
{
    struct buffers *buffers = &c->worker->buffers;

    if (!c->in) {
        c->in = buffer_take(buffers);
        if (!c->in) {
            return false;
        }
        memcpy(c->in, c->few, c->few_size);
        c->in_start = 0;
        c->in_end = c->few_size;
    }
    if (!c->out) {
        c->out = buffer_take(buffers);
    }
    return c->out;
}

static void give_buffers(struct connection *c)
{
    struct buffers *buffers = &c->worker->buffers;

    if (c->in && !c->busy && pending_in(c) <= sizeof(c->few)) {
        c->few_size = pending_in(c);
        memcpy(c->few, c->in + c->in_start, c->few_size);
        buffer_give(buffers, c->in);
        c->in = NULL;
    }
    if (c->out && !pending_out(c)) {
        buffer_give(buffers, c->out);
        c->out = NULL;
    }
}

static void run_handshake(struct job *job)
{
    struct connection *c =
        (struct connection *)(void *)((uint8_t *)job -
                                      offsetof(struct connection, job));

    c->handshake = tls_handshake(c->tls);
    worker_post(c->worker, c);
}

/*
 * A step of the handshake, on another thread: its arithmetic takes as long as
 * hundreds of GETs, which would wait for it here.
 */
static uint32_t begin_handshake(struct connection *c)
{
    c->busy = true;
    c->job.run = run_handshake;
    jobs_submit(&c->worker->server->handshakes, &c->job);
    return 0;
}

static void handshake_done(struct connection *c)
{
    if (c->handshake == TLS_DONE) {
        count(&c->worker->counters.handshakes, 1);
        c->state = CONNECTION_HELLO;
    } else if (c->handshake == TLS_FAILED) {
        tls_failed(c, tls_error(c->tls));
        c->state = CONNECTION_ENDING;
    }
}

bool connection_job_done(struct connection *c)
{
    c->busy = false;
    if (c->state == CONNECTION_HANDSHAKE) {
        handshake_done(c);
        return true;
    }
    if (!take_buffers(c)) {
        return false;
    }
    request_finish(c);
    count_time(&c->worker->counters, c->request.opcode, c->started);
    c->in_start += SMEMV_WIRE_HEADER_SIZE + smemv_wire_payload_size(&c->request);
    return true;
}

/* Throws away what comes, so that the peer gets to read the last response. */
static uint32_t linger(struct connection *c)
{
    uint8_t waste[WASTE_IN_TURN];
    ssize_t n = recv(c->fd, waste, sizeof(waste), 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        return 0;
    }
    return EPOLLIN;
}

/*
 * Works on what is there, reads once, and works on that; as connection_run().
 * Not more, as others wait for their turn, and epoll will be back if there is
 * more to read.
 */
static uint32_t run(struct connection *c)
{
    for (bool has_read = false;; has_read = true) {
        work(c);
        if (!flush(c)) {
            return 0;
        }
        if (pending_out(c) || c->yields) {
            return EPOLLOUT;
        }
        if (c->busy) {
            return 0;
        }
        if (c->state == CONNECTION_ENDING) {
            if (c->tls) {
                tls_finish(c->tls);
            }
            shutdown(c->fd, SHUT_WR);
            c->state = CONNECTION_LINGERS;
            c->deadline = now() + LINGER_TIME;
            c->in_start = c->in_end;
            return linger(c);
        }
        if (c->ended) {
            return 0;
        }
        if (has_read) {
            return c->tls && tls_has_more(c->tls) ? EPOLLOUT : EPOLLIN;
        }
        receive(c);
    }
}

uint32_t connection_run(struct connection *c)
{
    uint32_t events;

    if (c->state == CONNECTION_HANDSHAKE) {
        /* What it waited for is there; or it is yet to be waited for. */
        return c->events ? begin_handshake(c)
                         : c->handshake == TLS_WANTS_WRITE ? EPOLLOUT : EPOLLIN;
    }
    if (c->state == CONNECTION_LINGERS) {
        return linger(c);
    }
    if (!take_buffers(c)) {
        log_line(LOG_ERR, "%s: no memory for a buffer, connection closed",
                 c->peer);
        return 0;
    }
    events = run(c);
    give_buffers(c);
    return events;
}

bool connection_expired(struct connection *c)
{
    if (!c->deadline || now() < c->deadline) {
        return false;
    }
    if (c->state == CONNECTION_HANDSHAKE) {
        tls_failed(c, "the handshake takes too long");
    } else if (c->state == CONNECTION_HELLO) {
        log_line(LOG_WARNING, "%s: no HELLO for %d seconds, connection closed",
                 c->peer, HELLO_TIME);
    }
    return true;
}
