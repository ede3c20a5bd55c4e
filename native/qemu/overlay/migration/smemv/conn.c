/*
 * Connection to a memserver.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/iov.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "qemu/timer.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "qapi/qapi-events-smemv.h"
#include "conn.h"
#include "loss.h"
#include "trace.h"

/*
 * Room for the responses to SMEMV_GETS GETs of one page; and behind a part of
 * one for a whole record of TLS, or GnuTLS would keep some of that.
 */
#define BUFFER_SIZE (64 * KiB)

void smemv_conn_init(SmemvConn *c, SmemvSession *s, SmemvPeer *peer)
{
    *c = (SmemvConn) { .session = s, .peer = peer };
}

void smemv_conn_close(SmemvConn *c)
{
    if (c->ioc) {
        qio_channel_close(c->ioc, NULL);
        object_unref(OBJECT(c->ioc));
        c->ioc = NULL;
    }
    g_clear_pointer(&c->buf, g_free);
    g_clear_pointer(&c->sealer, smemv_sealer_free);
    c->start = c->end = 0;
    c->gets = 0;
    qatomic_set(&c->interrupted, false);
}

void smemv_conn_interrupt(SmemvConn *c)
{
    if (c->ioc) {
        qatomic_set(&c->interrupted, true);
        qio_channel_shutdown(c->ioc, QIO_CHANNEL_SHUTDOWN_BOTH, NULL);
    }
}

/* Take note of whether the peer's memserver answers, and tell of a change. */
static void set_lost(SmemvPeer *peer, bool lost)
{
    if (qatomic_xchg(&peer->lost, lost) == lost) {
        return;
    }
    if (lost) {
        qapi_event_send_smemv_sub_host_unreachable(peer->name, peer->host,
                                                   peer->port);
    } else {
        qapi_event_send_smemv_sub_host_reachable(peer->name, peer->host,
                                                 peer->port);
    }
}

int smemv_conn_failed(SmemvConn *c, Error **errp)
{
    error_prepend(errp, "memserver on %s (%s:%u): ", c->peer->name,
                  c->peer->host, c->peer->port);
    trace_smemv_conn_failed(c->peer->name);
    if (!qatomic_read(&c->interrupted)) {
        set_lost(c->peer, true);
    }
    smemv_conn_close(c);
    return -1;
}

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

/*
 * Nothing has come or gone since @since for as long as a wait lasts: whether
 * to go on waiting.
 */
static bool conn_waits(SmemvConn *c, int64_t since, Error **errp)
{
    bool failed = qatomic_read(&c->peer->failed) ||
                  (c->target && qatomic_read(&c->target->failed));
    bool ends = c->session->replicas == 1 ||
                (c->patience_ms ? now_ms() - since >= c->patience_ms : failed);

    if (ends) {
        error_setg(errp, "does not answer");
        return false;
    }
    return true;
}

static bool conn_write(SmemvConn *c, const struct iovec *iov, size_t niov,
                       Error **errp)
{
    g_autofree struct iovec *copy = g_memdup2(iov, niov * sizeof(*iov));
    struct iovec *rest = copy;
    unsigned left = niov;
    int64_t since = 0;

    while (left) {
        ssize_t n = qio_channel_writev(c->ioc, rest, left, errp);

        if (n == QIO_CHANNEL_ERR_BLOCK) {
            since = since ?: now_ms();
            if (!conn_waits(c, since, errp)) {
                return false;
            }
        } else if (n < 0) {
            return false;
        } else {
            since = 0;
            iov_discard_front(&rest, &left, n);
        }
    }
    return true;
}

/* Read at least a byte; 0 or less on an error. */
static ssize_t conn_read_some(SmemvConn *c, void *to, size_t size,
                              Error **errp)
{
    int64_t since = 0;

    while (true) {
        ssize_t n = qio_channel_read(c->ioc, to, size, errp);

        if (n == 0) {
            error_setg(errp, "closed the connection");
        }
        if (n != QIO_CHANNEL_ERR_BLOCK) {
            return n;
        }
        since = since ?: now_ms();
        if (!conn_waits(c, since, errp)) {
            return n;
        }
    }
}

int smemv_conn_send(SmemvConn *c, const struct iovec *iov, size_t niov,
                    Error **errp)
{
    ERRP_GUARD();
    g_autofree uint8_t *whole = NULL;
    struct iovec one;

    if (!c->ioc) {
        error_setg(errp, "not connected");
        return smemv_conn_failed(c, errp);
    }
    if (c->session->tls_dir && niov > 1) {
        /* Of each part TLS would make a record of its own. */
        one.iov_len = iov_size(iov, niov);
        one.iov_base = whole = g_malloc(one.iov_len);
        iov_to_buf(iov, niov, 0, whole, one.iov_len);
        iov = &one;
        niov = 1;
    }
    return conn_write(c, iov, niov, errp) ? 0 : smemv_conn_failed(c, errp);
}

bool smemv_conn_answers(const SmemvConn *c, int ms)
{
    GPollFD fd = { .fd = c->fd, .events = G_IO_IN };

    return !c->ioc || c->end > c->start || g_poll(&fd, 1, ms);
}

int smemv_conn_fill(SmemvConn *c, size_t need, Error **errp)
{
    ERRP_GUARD();

    if (c->end - c->start >= need) {
        return 0;
    }
    if (!c->ioc) {
        error_setg(errp, "not connected");
        return smemv_conn_failed(c, errp);
    }
    memmove(c->buf, c->buf + c->start, c->end - c->start);
    c->end -= c->start;
    c->start = 0;
    while (c->end < need) {
        ssize_t n = conn_read_some(c, c->buf + c->end, BUFFER_SIZE - c->end,
                                   errp);

        if (n <= 0) {
            return smemv_conn_failed(c, errp);
        }
        c->end += n;
    }
    return 0;
}

int smemv_conn_read(SmemvConn *c, uint8_t *to, size_t size, Error **errp)
{
    size_t have = MIN(size, c->end - c->start);

    memcpy(to, c->buf + c->start, have);
    c->start += have;
    while (have < size) {
        ssize_t n = conn_read_some(c, to + have, size - have, errp);

        if (n <= 0) {
            return smemv_conn_failed(c, errp);
        }
        have += n;
    }
    return 0;
}

int smemv_conn_receive_header(SmemvConn *c, struct smemv_wire_response *r,
                              size_t longest, Error **errp)
{
    ERRP_GUARD();
    const char *wrong;

    if (smemv_conn_fill(c, SMEMV_WIRE_HEADER_SIZE, errp)) {
        return -1;
    }
    wrong = smemv_wire_get_response(c->buf + c->start, r);
    if (!wrong && r->length > longest) {
        wrong = "a longer response than was asked for";
    }
    if (wrong) {
        error_setg(errp, "%s", wrong);
        return smemv_conn_failed(c, errp);
    }
    c->start += SMEMV_WIRE_HEADER_SIZE;
    return 0;
}

int smemv_conn_receive_payload(SmemvConn *c,
                               const struct smemv_wire_response *r,
                               const uint8_t **payload, Error **errp)
{
    if (smemv_conn_fill(c, r->length, errp)) {
        return -1;
    }
    *payload = c->buf + c->start;
    c->start += r->length;

    if (r->status != SMEMV_WIRE_OK) {
        error_setg(errp, "memserver on %s (%s:%u) refuses %s: %s: %.*s",
                   c->peer->name, c->peer->host, c->peer->port,
                   smemv_wire_opcode_name(r->opcode),
                   smemv_wire_status_name(r->status),
                   (int)MIN(r->length, SMEMV_WIRE_TEXT_SIZE), *payload);
    }
    return r->status;
}

int smemv_conn_receive(SmemvConn *c, struct smemv_wire_response *r,
                       const uint8_t **payload, Error **errp)
{
    int ret = smemv_conn_receive_header(c, r, BUFFER_SIZE, errp);

    if (!ret) {
        ret = smemv_conn_receive_payload(c, r, payload, errp);
    }
    if (!ret && qatomic_read(&c->peer->lost)) {
        /* Another connection may have failed since this one was made. */
        set_lost(c->peer, false);
    }
    return ret;
}

int smemv_conn_send_request(SmemvConn *c, struct smemv_wire_request q,
                            const void *body, size_t body_size, Error **errp)
{
    uint8_t header[SMEMV_WIRE_HEADER_SIZE];
    struct iovec iov[2] = {
        { header, sizeof(header) },
        { (void *)body, body_size },
    };

    smemv_wire_put_request(header, &q);
    return smemv_conn_send(c, iov, body_size ? 2 : 1, errp);
}

int smemv_conn_receive_response(SmemvConn *c, unsigned opcode,
                                const uint8_t **payload, uint32_t length,
                                Error **errp)
{
    ERRP_GUARD();
    struct smemv_wire_response r;
    int status = smemv_conn_receive(c, &r, payload, errp);

    if (status == SMEMV_WIRE_OK && (r.opcode != opcode || r.length != length)) {
        error_setg(errp, "answers %s with something else",
                   smemv_wire_opcode_name(opcode));
        return smemv_conn_failed(c, errp);
    }
    return status;
}

int smemv_conn_call(SmemvConn *c, struct smemv_wire_request q,
                    const void *body, size_t body_size,
                    const uint8_t **payload, uint32_t length, Error **errp)
{
    int ret = smemv_conn_send_request(c, q, body, body_size, errp);

    return ret ? ret : smemv_conn_receive_response(c, q.opcode, payload, length,
                                                   errp);
}

/*
 * Have waits on @fd in one direction look up, where pages have two copies; or
 * end, where the connection is impatient.
 */
static void set_look_up(SmemvConn *c, int fd, int option)
{
    unsigned ms = c->session->replicas > 1 ? SMEMV_LOOK_MS :
                  c->impatient && option == SO_RCVTIMEO ? SMEMV_LOST_MS : 0;
    struct timeval look = { ms / 1000, ms % 1000 * 1000 };

    if (ms) {
        setsockopt(fd, SOL_SOCKET, option, &look, sizeof(look));
    }
}

/* Connect, and wait no longer than for an answer. 0, or -errno. */
static int connect_socket(SmemvConn *c, int fd, const struct addrinfo *ai)
{
    struct pollfd connected = { .fd = fd, .events = POLLOUT };
    int64_t since = now_ms();
    socklen_t size = sizeof(int);
    int failure;

    set_look_up(c, fd, SO_SNDTIMEO);
    if (!connect(fd, ai->ai_addr, ai->ai_addrlen)) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return -errno;
    }
    while (!poll(&connected, 1, SMEMV_LOOK_MS)) {
        if (!conn_waits(c, since, NULL)) {
            return -ETIMEDOUT;
        }
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) ? -errno :
                                                                   -failure;
}

/*
 * A socket that is connected to the peer, or -1. QEMU's own way to connect
 * waits minutes for a host that is down; this one no longer than for a
 * memserver that falls silent.
 */
static int peer_socket(SmemvConn *c, Error **errp)
{
    g_autofree char *port = g_strdup_printf("%u", c->peer->port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *all, *ai;
    int fd = -1, failure = 0, ret;

    ret = getaddrinfo(c->peer->host, port, &hints, &all);
    if (ret) {
        error_setg(errp, "no such address: %s", gai_strerror(ret));
        return -1;
    }
    for (ai = all; ai; ai = ai->ai_next) {
        fd = qemu_socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
        failure = fd >= 0 && smemv_loss_notice(fd, SMEMV_LOST_MS) ?
                  connect_socket(c, fd, ai) : -errno;
        if (!failure) {
            break;
        }
        if (fd >= 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    if (fd < 0) {
        error_setg_errno(errp, -failure, "cannot connect");
    }
    return fd;
}

/* Have TLS over @c's channel. */
static bool conn_start_tls(SmemvConn *c, Error **errp)
{
    QCryptoTLSCreds *creds = smemv_session_credentials(c->session, errp);
    QIOChannelTLS *tioc;
    int64_t since = now_ms();
    int ret;

    if (!creds) {
        return false;
    }
    tioc = qio_channel_tls_new_client(c->ioc, creds, c->peer->host, errp);
    object_unref(OBJECT(creds));
    if (!tioc) {
        return false;
    }
    object_unref(OBJECT(c->ioc));
    c->ioc = QIO_CHANNEL(tioc);
    qio_channel_set_name(c->ioc, "smemv-tls");
    /* Not by the channel: it would leave the rest to the main loop. */
    do {
        ret = qcrypto_tls_session_handshake(tioc->session, errp);
    } while (ret > QCRYPTO_TLS_HANDSHAKE_COMPLETE &&
             conn_waits(c, since, errp));
    return ret == QCRYPTO_TLS_HANDSHAKE_COMPLETE &&
           !qcrypto_tls_session_check_credentials(tioc->session, errp);
}

int smemv_conn_connect(SmemvConn *c, Error **errp)
{
    ERRP_GUARD();
    struct smemv_wire_hello hello = {
        .version_min = SMEMV_WIRE_VERSION,
        .version_max = SMEMV_WIRE_VERSION,
    };
    struct smemv_wire_request q = { .opcode = SMEMV_WIRE_HELLO };
    uint8_t body[SMEMV_WIRE_HELLO_SIZE];
    const uint8_t *payload;
    QIOChannelSocket *sioc = NULL;
    int fd;

    smemv_conn_close(c);
    fd = peer_socket(c, errp);
    if (fd >= 0) {
        set_look_up(c, fd, SO_RCVTIMEO);
        sioc = qio_channel_socket_new_fd(fd, errp);
        if (!sioc) {
            close(fd);
        }
    }
    if (!sioc) {
        return smemv_conn_failed(c, errp);
    }
    c->ioc = QIO_CHANNEL(sioc);
    c->fd = fd;
    c->buf = g_malloc(BUFFER_SIZE);
    qio_channel_set_name(c->ioc, "smemv");
    if (c->session->tls_dir && !conn_start_tls(c, errp)) {
        return smemv_conn_failed(c, errp);
    }
    if (c->session->seal) {
        c->sealer = smemv_sealer_new(c->session->seal, SMEMV_BATCH, errp);
        if (!c->sealer) {
            return smemv_conn_failed(c, errp);
        }
    }
    smemv_wire_put_hello(body, &hello);
    return smemv_conn_call(c, q, body, sizeof(body), &payload,
                           SMEMV_WIRE_HELLO_SIZE, errp);
}

int smemv_conns_answering(SmemvConn *conns, unsigned n)
{
    g_autofree GPollFD *fds = NULL;
    unsigned waiting = 0, last = 0, n_fds = 0;

    for (unsigned i = 0; i < n; i++) {
        if (conns[i].gets && conns[i].end > conns[i].start) {
            return i;
        }
        if (conns[i].gets) {
            waiting++;
            last = i;
        }
    }
    if (waiting < 2) {
        return waiting ? last : -1;
    }
    fds = g_new(GPollFD, waiting);
    for (unsigned i = 0; i < n; i++) {
        if (conns[i].gets) {
            fds[n_fds++] = (GPollFD) { .fd = conns[i].fd, .events = G_IO_IN };
        }
    }
    if (!g_poll(fds, n_fds, conns->patience_ms ?: SMEMV_LOST_MS)) {
        smemv_conn_interrupt(&conns[last]);
    }
    for (unsigned i = 0, fd = 0; i < n; i++) {
        if (conns[i].gets && fds[fd++].revents) {
            return i;
        }
    }
    return last;
}
