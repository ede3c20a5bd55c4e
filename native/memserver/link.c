/*
 * A link to another memserver, of which this one is the client.
 *
 * All that goes over it goes through send_bytes() and receive_bytes(), which
 * wait for the socket until the deadline and not longer: whoever is silent,
 * or slow, costs the thread that waits a bounded time.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "link.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000) + time.tv_nsec / 1000000;
}

struct link *link_new(const struct smemv_wire_copy *target,
                      struct tls *identity)
{
    struct link *link = malloc(sizeof(*link));

    if (link) {
        *link = (struct link){ .target = *target, .identity = identity,
                               .fd = -1 };
    }
    return link;
}

static void disconnect(struct link *link)
{
    if (link->tls) {
        tls_free(link->tls);
        link->tls = NULL;
    }
    if (link->fd >= 0) {
        close(link->fd);
        link->fd = -1;
    }
}

void link_free(struct link *link)
{
    if (link) {
        disconnect(link);
    }
    free(link);
}

void link_begin(struct link *link)
{
    link->deadline = now() + LINK_TIME * 1000;
}

__attribute__((format(printf, 2, 3)))
static bool fail(struct link *link, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(link->reason, sizeof(link->reason), format, arguments);
    va_end(arguments);
    return false;
}

/* Waits until the socket has one of @events, or an error. */
static bool wait_for(struct link *link, short events)
{
    struct pollfd poll_fd = { .fd = link->fd, .events = events };
    int64_t left = link->deadline - now();
    int ready;

    do {
        ready = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;
        left = link->deadline - now();
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        return fail(link, "%s", strerror(errno));
    }
    if (ready == 0) {
        return fail(link, "not done within %d seconds", LINK_TIME);
    }
    return true;
}

/* Says why a send or a receive failed, by errno. */
static bool lost(struct link *link)
{
    const char *why = link->tls ? tls_error(link->tls) : NULL;

    return fail(link, "lost: %s", why ? why : strerror(errno));
}

/* @more: what follows at once may go into the same packet. */
static bool send_bytes(struct link *link, const uint8_t *bytes, size_t size,
                       bool more)
{
    while (size) {
        ssize_t n = link->tls ? tls_send(link->tls, bytes, size)
                              : send(link->fd, bytes, size, MSG_NOSIGNAL |
                                     (more ? MSG_MORE : 0));

        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (!wait_for(link, POLLOUT)) {
                return false;
            }
        } else if (errno != EINTR) {
            return lost(link);
        }
    }
    return true;
}

static bool receive_bytes(struct link *link, uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t n = link->tls ? tls_receive(link->tls, bytes, size)
                              : recv(link->fd, bytes, size, 0);

        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (n == 0) {
            return fail(link, "lost: closed by the other memserver");
        } else if (errno == EAGAIN) {
            if (!wait_for(link, POLLIN)) {
                return false;
            }
        } else if (errno != EINTR) {
            return lost(link);
        }
    }
    return true;
}

static bool send_request(struct link *link, enum smemv_wire_opcode opcode,
                         unsigned count, uint64_t page, const uint8_t *payload,
                         size_t size, bool more)
{
    const struct smemv_wire_request r = {
        .opcode = (uint8_t)opcode,
        .count = (uint16_t)count,
        .tag = ++link->tag,
        .address = page << SMEMV_WIRE_PAGE_BITS,
    };
    uint8_t header[SMEMV_WIRE_HEADER_SIZE];

    smemv_wire_put_request(header, &r);
    return send_bytes(link, header, sizeof(header), true) &&
           send_bytes(link, payload, size, more);
}

/* Passes on why the other memserver refused, if it says that in plain text. */
static bool refused(struct link *link, const struct smemv_wire_response *r)
{
    char text[SMEMV_WIRE_TEXT_SIZE];

    if (!receive_bytes(link, (uint8_t *)text, r->length)) {
        return false;
    }
    for (uint32_t i = 0; i < r->length; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            text[i] = '?';
        }
    }
    return fail(link, "%s: %.*s", smemv_wire_status_name(r->status),
                (int)r->length, text);
}

/* The answer to request @tag, with @size bytes of payload. */
static bool receive_answer(struct link *link, enum smemv_wire_opcode opcode,
                           uint32_t tag, uint8_t *payload, size_t size)
{
    uint8_t header[SMEMV_WIRE_HEADER_SIZE];
    struct smemv_wire_response r;
    const char *wrong;

    if (!receive_bytes(link, header, sizeof(header))) {
        return false;
    }
    wrong = smemv_wire_get_response(header, &r);
    if (!wrong && (r.opcode != opcode || r.tag != tag)) {
        wrong = "it is to another request";
    }
    if (wrong) {
        return fail(link, "a wrong answer: %s", wrong);
    }
    if (r.status != SMEMV_WIRE_OK) {
        return refused(link, &r);
    }
    return receive_bytes(link, payload, size);
}

/* Connects to one of the addresses that the host may have. */
static bool connect_to(struct link *link, const struct addrinfo *address)
{
    const int on = 1;
    socklen_t size = sizeof(int);
    int error = 0;

    link->fd = socket(address->ai_family,
                      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0) {
        return fail(link, "no socket: %s", strerror(errno));
    }
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(link->fd, address->ai_addr, address->ai_addrlen) == 0) {
        return true;
    }
    error = errno;
    if (error == EINPROGRESS) {
        if (!wait_for(link, POLLOUT)) {
            return false;
        }
        getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    return error ? fail(link, "cannot connect: %s", strerror(error)) : true;
}

static bool connect_any(struct link *link)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found;
    bool connected = false;
    char port[6];
    int error;

    snprintf(port, sizeof(port), "%" PRIu16, link->target.port);
    error = getaddrinfo(link->target.host, port, &hints, &found);
    if (error) {
        return fail(link, "no such host: %s", gai_strerror(error));
    }
    for (struct addrinfo *a = found; a && !connected; a = a->ai_next) {
        disconnect(link);
        connected = connect_to(link, a);
    }
    freeaddrinfo(found);
    return connected;
}

static bool shake_hands(struct link *link)
{
    enum tls_progress progress;

    if (!link->identity) {
        return true;
    }
    link->tls = tls_connect(link->identity, link->fd, link->target.host);
    if (!link->tls) {
        return fail(link, "no memory");
    }
    do {
        progress = tls_handshake(link->tls);
    } while ((progress == TLS_WANTS_READ && wait_for(link, POLLIN)) ||
             (progress == TLS_WANTS_WRITE && wait_for(link, POLLOUT)));
    if (progress == TLS_FAILED) {
        return lost(link);
    }
    return progress == TLS_DONE;
}

static bool say_hello(struct link *link)
{
    const struct smemv_wire_hello hello = {
        .version_min = SMEMV_WIRE_VERSION,
        .version_max = SMEMV_WIRE_VERSION,
    };
    struct smemv_wire_hello reply;
    uint8_t payload[SMEMV_WIRE_HELLO_SIZE];
    const char *wrong;

    smemv_wire_put_hello(payload, &hello);
    if (!send_request(link, SMEMV_WIRE_HELLO, 0, 0, payload, sizeof(payload),
                      false) ||
        !receive_answer(link, SMEMV_WIRE_HELLO, link->tag, payload,
                        sizeof(payload))) {
        return false;
    }
    wrong = smemv_wire_get_hello(payload, &reply);
    if (!wrong && reply.version_min != SMEMV_WIRE_VERSION) {
        wrong = "a version that was not offered";
    }
    return wrong ? fail(link, "a wrong answer: %s", wrong) : true;
}

bool link_attach(struct link *link, const uint8_t id[SMEMV_WIRE_ID_SIZE],
                 const uint8_t token[SMEMV_WIRE_TOKEN_SIZE])
{
    uint8_t payload[SMEMV_WIRE_ATTACH_SIZE];
    struct smemv_wire_attach attach = { .epoch = 0 };
    uint8_t epoch[8];
    bool sent;

    if (!connect_any(link) || !shake_hands(link) || !say_hello(link)) {
        return false;
    }
    memcpy(attach.id, id, sizeof(attach.id));
    memcpy(attach.token, token, sizeof(attach.token));
    memcpy(attach.holder, link->target.holder, sizeof(attach.holder));
    smemv_wire_put_attach(payload, &attach);
    sent = send_request(link, SMEMV_WIRE_ATTACH, 0, 0, payload,
                        sizeof(payload), false);
    explicit_bzero(payload, sizeof(payload));
    explicit_bzero(&attach, sizeof(attach));
    return sent && receive_answer(link, SMEMV_WIRE_ATTACH, link->tag, epoch,
                                  sizeof(epoch));
}

bool link_put(struct link *link, uint64_t page, unsigned count,
              const uint8_t *entries, const uint8_t *data)
{
    return send_request(link, SMEMV_WIRE_PUT, count, page, entries,
                        (size_t)count * SMEMV_WIRE_ENTRY_SIZE, true) &&
           send_bytes(link, data, (size_t)count * SMEMV_WIRE_PAGE_SIZE, false);
}

bool link_finish(struct link *link, unsigned puts)
{
    for (uint32_t tag = link->tag - puts; tag != link->tag;) {
        if (!receive_answer(link, SMEMV_WIRE_PUT, ++tag, NULL, 0)) {
            return false;
        }
    }
    return true;
}

bool link_is_broken(const struct link *link)
{
    uint8_t byte;
    ssize_t n = recv(link->fd, &byte, 1, MSG_PEEK);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}
