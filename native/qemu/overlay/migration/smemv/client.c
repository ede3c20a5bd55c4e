/*
 * Client: one connection to a memserver.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/cutils.h"
#include "qemu/guest-random.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "qemu/timer.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "qapi/qapi-events-smemv.h"
#include "client.h"
#include "loss.h"
#include "page-map.h"
#include "trace.h"

/* After how long a silence a host counts as lost. */
#define LOST_MS 10000

/*
 * Room for the responses to SMEMV_GETS GETs of one page; and behind a part of
 * one for a whole record of TLS, or GnuTLS would keep some of that.
 */
#define BUFFER_SIZE (64 * KiB)

/* How often a wait looks up, where pages have two copies. */
#define LOOK_MS 100

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

static int conn_failed(SmemvConn *c, Error **errp)
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

static int conn_send(SmemvConn *c, const struct iovec *iov, size_t niov,
                     Error **errp)
{
    ERRP_GUARD();
    g_autofree uint8_t *whole = NULL;
    struct iovec one;

    if (!c->ioc) {
        error_setg(errp, "not connected");
        return conn_failed(c, errp);
    }
    if (c->session->tls_dir && niov > 1) {
        /* Of each part TLS would make a record of its own. */
        one.iov_len = iov_size(iov, niov);
        one.iov_base = whole = g_malloc(one.iov_len);
        iov_to_buf(iov, niov, 0, whole, one.iov_len);
        iov = &one;
        niov = 1;
    }
    return conn_write(c, iov, niov, errp) ? 0 : conn_failed(c, errp);
}

/* Have at least @need bytes, at most BUFFER_SIZE, in @c->buf. */
static int conn_fill(SmemvConn *c, size_t need, Error **errp)
{
    ERRP_GUARD();

    if (c->end - c->start >= need) {
        return 0;
    }
    if (!c->ioc) {
        error_setg(errp, "not connected");
        return conn_failed(c, errp);
    }
    memmove(c->buf, c->buf + c->start, c->end - c->start);
    c->end -= c->start;
    c->start = 0;
    while (c->end < need) {
        ssize_t n = conn_read_some(c, c->buf + c->end, BUFFER_SIZE - c->end,
                                   errp);

        if (n <= 0) {
            return conn_failed(c, errp);
        }
        c->end += n;
    }
    return 0;
}

/* Take @size bytes into @to, from @c->buf as far as they are there. */
static int conn_read(SmemvConn *c, uint8_t *to, size_t size, Error **errp)
{
    size_t have = MIN(size, c->end - c->start);

    memcpy(to, c->buf + c->start, have);
    c->start += have;
    while (have < size) {
        ssize_t n = conn_read_some(c, to + have, size - have, errp);

        if (n <= 0) {
            return conn_failed(c, errp);
        }
        have += n;
    }
    return 0;
}

/* Read the header of a response that has at most @longest bytes behind it. */
static int conn_receive_header(SmemvConn *c, struct smemv_wire_response *r,
                               size_t longest, Error **errp)
{
    ERRP_GUARD();
    const char *wrong;

    if (conn_fill(c, SMEMV_WIRE_HEADER_SIZE, errp)) {
        return -1;
    }
    wrong = smemv_wire_get_response(c->buf + c->start, r);
    if (!wrong && r->length > longest) {
        wrong = "a longer response than was asked for";
    }
    if (wrong) {
        error_setg(errp, "%s", wrong);
        return conn_failed(c, errp);
    }
    c->start += SMEMV_WIRE_HEADER_SIZE;
    return 0;
}

/*
 * Read what is behind the header. @payload points to it until the next read.
 * Returns the response's status.
 */
static int conn_receive_payload(SmemvConn *c,
                                const struct smemv_wire_response *r,
                                const uint8_t **payload, Error **errp)
{
    if (conn_fill(c, r->length, errp)) {
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

static int conn_receive(SmemvConn *c, struct smemv_wire_response *r,
                        const uint8_t **payload, Error **errp)
{
    int ret = conn_receive_header(c, r, BUFFER_SIZE, errp);

    if (!ret) {
        ret = conn_receive_payload(c, r, payload, errp);
    }
    if (!ret && qatomic_read(&c->peer->lost)) {
        /* Another connection may have failed since this one was made. */
        set_lost(c->peer, false);
    }
    return ret;
}

static int conn_send_request(SmemvConn *c, struct smemv_wire_request q,
                             const void *body, size_t body_size, Error **errp)
{
    uint8_t header[SMEMV_WIRE_HEADER_SIZE];
    struct iovec iov[2] = {
        { header, sizeof(header) },
        { (void *)body, body_size },
    };

    smemv_wire_put_request(header, &q);
    return conn_send(c, iov, body_size ? 2 : 1, errp);
}

/* Await the response to @opcode, which has @length bytes of payload. */
static int conn_receive_response(SmemvConn *c, unsigned opcode,
                                 const uint8_t **payload, uint32_t length,
                                 Error **errp)
{
    ERRP_GUARD();
    struct smemv_wire_response r;
    int status = conn_receive(c, &r, payload, errp);

    if (status == SMEMV_WIRE_OK && (r.opcode != opcode || r.length != length)) {
        error_setg(errp, "answers %s with something else",
                   smemv_wire_opcode_name(opcode));
        return conn_failed(c, errp);
    }
    return status;
}

static int conn_call(SmemvConn *c, struct smemv_wire_request q,
                     const void *body, size_t body_size,
                     const uint8_t **payload, uint32_t length, Error **errp)
{
    int ret = conn_send_request(c, q, body, body_size, errp);

    return ret ? ret : conn_receive_response(c, q.opcode, payload, length,
                                             errp);
}

static struct smemv_wire_request request(unsigned opcode)
{
    return (struct smemv_wire_request) { .opcode = opcode };
}

/*
 * Have waits on @fd in one direction look up, where pages have two copies; or
 * end, where the connection is impatient.
 */
static void set_look_up(SmemvConn *c, int fd, int option)
{
    unsigned ms = c->session->replicas > 1 ? LOOK_MS :
                  c->impatient && option == SO_RCVTIMEO ? LOST_MS : 0;
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
    while (!poll(&connected, 1, LOOK_MS)) {
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
        failure = fd >= 0 && smemv_loss_notice(fd, LOST_MS) ?
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

static int conn_connect(SmemvConn *c, Error **errp)
{
    ERRP_GUARD();
    struct smemv_wire_hello hello = {
        .version_min = SMEMV_WIRE_VERSION,
        .version_max = SMEMV_WIRE_VERSION,
    };
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
        return conn_failed(c, errp);
    }
    c->ioc = QIO_CHANNEL(sioc);
    c->fd = fd;
    c->buf = g_malloc(BUFFER_SIZE);
    qio_channel_set_name(c->ioc, "smemv");
    if (c->session->tls_dir && !conn_start_tls(c, errp)) {
        return conn_failed(c, errp);
    }
    if (c->session->seal) {
        c->sealer = smemv_sealer_new(c->session->seal, SMEMV_BATCH, errp);
        if (!c->sealer) {
            return conn_failed(c, errp);
        }
    }
    smemv_wire_put_hello(body, &hello);
    return conn_call(c, request(SMEMV_WIRE_HELLO), body, sizeof(body), &payload,
                     SMEMV_WIRE_HELLO_SIZE, errp);
}

int smemv_conn_send_open(SmemvConn *c, uint64_t pages, Error **errp)
{
    struct smemv_wire_open o = { .reserve = pages };
    uint8_t body[SMEMV_WIRE_OPEN_SIZE];
    int ret = conn_connect(c, errp);

    if (ret) {
        return ret;
    }
    memcpy(o.id, c->session->id, sizeof(o.id));
    memcpy(o.token, c->session->token, sizeof(o.token));
    pstrcpy(o.name, sizeof(o.name), c->session->name);
    qemu_mutex_lock(&c->peer->lock);
    memcpy(o.holder, c->peer->holder, sizeof(o.holder));
    qemu_mutex_unlock(&c->peer->lock);
    smemv_wire_put_open(body, &o);
    return conn_send_request(c, request(SMEMV_WIRE_OPEN), body, sizeof(body),
                             errp);
}

int smemv_conn_await_open(SmemvConn *c, Error **errp)
{
    const uint8_t *payload;
    int ret = conn_receive_response(c, SMEMV_WIRE_OPEN, &payload,
                                    sizeof(uint64_t), errp);

    if (!ret) {
        QEMU_LOCK_GUARD(&c->peer->lock);
        c->peer->epoch = smemv_wire_get_u64(payload);
    }
    return ret;
}

int smemv_conn_send_attach(SmemvConn *c, Error **errp)
{
    struct smemv_wire_attach a;
    uint8_t body[SMEMV_WIRE_ATTACH_SIZE];
    int ret;

    if (!c->ioc) {
        ret = conn_connect(c, errp);
        if (ret) {
            return ret;
        }
    }
    memcpy(a.id, c->session->id, sizeof(a.id));
    memcpy(a.token, c->session->token, sizeof(a.token));
    qemu_mutex_lock(&c->peer->lock);
    memcpy(a.holder, c->peer->holder, sizeof(a.holder));
    a.epoch = c->epoch = c->peer->epoch;
    qemu_mutex_unlock(&c->peer->lock);
    smemv_wire_put_attach(body, &a);
    return conn_send_request(c, request(SMEMV_WIRE_ATTACH), body, sizeof(body),
                             errp);
}

int smemv_conn_await_attach(SmemvConn *c, Error **errp)
{
    const uint8_t *payload;
    int ret = conn_receive_response(c, SMEMV_WIRE_ATTACH, &payload,
                                    sizeof(uint64_t), errp);

    if (!ret) {
        trace_smemv_conn_attached(c->peer->name, c->epoch);
    }
    return ret;
}

int smemv_conn_attach(SmemvConn *c, Error **errp)
{
    int ret = smemv_conn_send_attach(c, errp);

    return ret ? ret : smemv_conn_await_attach(c, errp);
}

/* Seal @n pages: @sealed is to be put for @puts. */
static int conn_seal(SmemvConn *c, const SmemvPut *puts, size_t n,
                     SmemvPut *sealed, Error **errp)
{
    ERRP_GUARD();

    for (size_t i = 0; i < n; i++) {
        sealed[i].page = puts[i].page;
        sealed[i].data = smemv_sealer_seal(c->sealer, i, puts[i].page,
                                           puts[i].data, puts[i].version,
                                           errp);
        if (!sealed[i].data) {
            return conn_failed(c, errp);
        }
    }
    return 0;
}

/* What was fetched of @page is wrong: no second try makes it right. */
static int conn_wrong_page(SmemvConn *c, uint64_t page, const char *wrong,
                           Error **errp)
{
    g_autofree char *id = smemv_session_id(c->session);

    error_setg(errp, "what the memserver on %s (%s:%u) returns of page 0x%"
               PRIx64 " (session %s) %s", c->peer->name, c->peer->host,
               c->peer->port, page << SMEMV_PAGE_BITS, id, wrong);
    smemv_conn_close(c);
    return SMEMV_WIRE_CHECKSUM;
}

/* Open what was fetched of @page, where its session is sealed. */
static int conn_open(SmemvConn *c, uint64_t page, uint8_t *data, Error **errp)
{
    if (!c->sealer || smemv_sealer_open(c->sealer, page, data)) {
        return 0;
    }
    return conn_wrong_page(c, page, "does not open: it is not what was put "
                           "there last", errp);
}

int smemv_conn_send_puts(SmemvConn *c, const SmemvPut *puts, size_t n,
                         size_t *requests, Error **errp)
{
    SmemvPut sealed[SMEMV_BATCH];
    uint8_t heads[SMEMV_BATCH * SMEMV_WIRE_HEADER_SIZE];
    uint8_t entries[SMEMV_BATCH * SMEMV_WIRE_ENTRY_SIZE];
    struct iovec iov[3 * SMEMV_BATCH];
    size_t niov = 0, sent = 0;

    assert(n <= SMEMV_BATCH);
    if (c->sealer) {
        if (conn_seal(c, puts, n, sealed, errp)) {
            return -1;
        }
        puts = sealed;
    }
    for (size_t i = 0, end; i < n; i = end) {
        struct smemv_wire_request q = {
            .opcode = SMEMV_WIRE_PUT,
            .address = puts[i].page << SMEMV_PAGE_BITS,
        };
        uint8_t *head = heads + i * SMEMV_WIRE_HEADER_SIZE;

        end = i + 1;
        while (end < n && puts[end].page == puts[end - 1].page + 1) {
            end++;
        }
        q.count = end - i;
        smemv_wire_put_request(head, &q);
        iov[niov++] = (struct iovec) { head, SMEMV_WIRE_HEADER_SIZE };
        iov[niov++] = (struct iovec) { entries + i * SMEMV_WIRE_ENTRY_SIZE,
                                       q.count * SMEMV_WIRE_ENTRY_SIZE };
        for (size_t j = i; j < end; j++) {
            struct smemv_wire_entry e = {
                .flags = SMEMV_WIRE_ENTRY_PRESENT,
                .crc = smemv_wire_crc32c(puts[j].data, SMEMV_PAGE_SIZE),
            };

            smemv_wire_put_entry(entries + j * SMEMV_WIRE_ENTRY_SIZE, &e);
            iov[niov++] = (struct iovec) { (void *)puts[j].data,
                                           SMEMV_PAGE_SIZE };
        }
        sent++;
    }
    if (n && conn_send(c, iov, niov, errp)) {
        return -1;
    }
    *requests += sent;
    stat64_add(&c->peer->sent, n * SMEMV_PAGE_SIZE);
    return 0;
}

int smemv_conn_send_drops(SmemvConn *c, const uint64_t *pages, size_t n,
                          size_t *requests, Error **errp)
{
    uint8_t heads[SMEMV_BATCH * SMEMV_WIRE_HEADER_SIZE];

    for (size_t i = 0; i < n;) {
        struct iovec iov = { heads, 0 };

        while (i < n && iov.iov_len < sizeof(heads)) {
            struct smemv_wire_request q = {
                .opcode = SMEMV_WIRE_DROP,
                .address = pages[i] << SMEMV_PAGE_BITS,
            };

            do {
                i++;
                q.count++;
            } while (i < n && pages[i] == pages[i - 1] + 1 &&
                     q.count < SMEMV_WIRE_MAX_PAGES);
            smemv_wire_put_request(heads + iov.iov_len, &q);
            iov.iov_len += SMEMV_WIRE_HEADER_SIZE;
            ++*requests;
        }
        if (conn_send(c, &iov, 1, errp)) {
            return -1;
        }
    }
    return 0;
}

int smemv_conn_await(SmemvConn *c, size_t requests, Error **errp)
{
    struct smemv_wire_response r;
    const uint8_t *payload;
    int first = 0;

    while (requests--) {
        int ret = conn_receive(c, &r, &payload, first ? NULL : errp);

        if (ret < 0) {
            return first ? first : ret;
        }
        if (!first) {
            first = ret;
        }
    }
    return first;
}

int smemv_conn_send_gets(SmemvConn *c, const uint64_t *pages, size_t n,
                         Error **errp)
{
    uint8_t heads[SMEMV_GETS * SMEMV_WIRE_HEADER_SIZE];
    struct iovec iov = { heads, n * SMEMV_WIRE_HEADER_SIZE };

    assert(n <= SMEMV_GETS);
    for (size_t i = 0; i < n; i++) {
        struct smemv_wire_request q = {
            .opcode = SMEMV_WIRE_GET,
            .count = 1,
            .address = pages[i] << SMEMV_PAGE_BITS,
        };

        smemv_wire_put_request(heads + i * SMEMV_WIRE_HEADER_SIZE, &q);
    }
    if (conn_send(c, &iov, 1, errp)) {
        return -1;
    }
    c->gets += n;
    return 0;
}

int smemv_conn_receive_get(SmemvConn *c, uint64_t page, const uint8_t **data,
                           Error **errp)
{
    ERRP_GUARD();
    struct smemv_wire_response r;
    struct smemv_wire_entry e;
    const uint8_t *payload;
    uint32_t length = SMEMV_WIRE_ENTRY_SIZE;
    const char *wrong;
    uint8_t *found;
    int ret;

    c->gets--;
    ret = conn_receive(c, &r, &payload, errp);
    if (ret) {
        return ret;
    }
    wrong = r.opcode == SMEMV_WIRE_GET && r.length >= length ?
            smemv_wire_get_entry(payload, &e) : "no page entry";
    if (!wrong) {
        if (e.flags & SMEMV_WIRE_ENTRY_PRESENT) {
            length += SMEMV_PAGE_SIZE;
        }
        if (r.length != length) {
            wrong = "a page of another size";
        }
    }
    if (wrong) {
        error_setg(errp, "answers GET with %s", wrong);
        return conn_failed(c, errp);
    }
    *data = NULL;
    if (!(e.flags & SMEMV_WIRE_ENTRY_PRESENT)) {
        return 0;
    }
    *data = found = c->buf + c->start - SMEMV_PAGE_SIZE;
    stat64_add(&c->peer->received, SMEMV_PAGE_SIZE);
    if (smemv_wire_crc32c(found, SMEMV_PAGE_SIZE) != e.crc) {
        return conn_wrong_page(c, page, "is damaged", errp);
    }
    return conn_open(c, page, found, errp);
}

int smemv_conn_get(SmemvConn *c, uint64_t page, const uint8_t **data,
                   Error **errp)
{
    int ret = smemv_conn_send_gets(c, &page, 1, errp);

    return ret ? ret : smemv_conn_receive_get(c, page, data, errp);
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
    if (!g_poll(fds, n_fds, conns->patience_ms ?: LOST_MS)) {
        smemv_conn_interrupt(&conns[last]);
    }
    for (unsigned i = 0, fd = 0; i < n; i++) {
        if (conns[i].gets && fds[fd++].revents) {
            return i;
        }
    }
    return last;
}

/* The entries of a run, and what is wrong with them, if anything is. */
static const char *run_checksums(const struct smemv_wire_response *r,
                                 unsigned n, const uint8_t *entries,
                                 uint32_t *crc)
{
    for (unsigned i = 0; i < n; i++) {
        struct smemv_wire_entry e;
        const char *wrong = smemv_wire_get_entry(
            entries + i * SMEMV_WIRE_ENTRY_SIZE, &e);

        if (wrong) {
            return wrong;
        }
        if (!(e.flags & SMEMV_WIRE_ENTRY_PRESENT)) {
            return "a page that is missing";
        }
        crc[i] = e.crc;
    }
    return r->length == n * (SMEMV_WIRE_ENTRY_SIZE + SMEMV_PAGE_SIZE) ?
           NULL : "pages of another size";
}

int smemv_conn_get_run(SmemvConn *c, uint64_t page, unsigned n, uint8_t *data,
                       Error **errp)
{
    ERRP_GUARD();
    struct smemv_wire_request q = {
        .opcode = SMEMV_WIRE_GET,
        .count = n,
        .address = page << SMEMV_PAGE_BITS,
    };
    uint32_t crc[SMEMV_WIRE_MAX_PAGES];
    struct smemv_wire_response r;
    const uint8_t *payload;
    const char *wrong;
    int ret = conn_send_request(c, q, NULL, 0, errp);

    if (!ret) {
        ret = conn_receive_header(c, &r, SMEMV_WIRE_MAX_PAYLOAD, errp);
    }
    if (ret) {
        return ret;
    }
    if (r.status != SMEMV_WIRE_OK) {
        return conn_receive_payload(c, &r, &payload, errp);
    }
    wrong = r.opcode == SMEMV_WIRE_GET &&
            r.length >= n * SMEMV_WIRE_ENTRY_SIZE ? NULL : "no page entries";
    if (!wrong) {
        if (conn_fill(c, n * SMEMV_WIRE_ENTRY_SIZE, errp)) {
            return -1;
        }
        wrong = run_checksums(&r, n, c->buf + c->start, crc);
        c->start += n * SMEMV_WIRE_ENTRY_SIZE;
    }
    if (!wrong && conn_read(c, data, (size_t)n * SMEMV_PAGE_SIZE, errp)) {
        return -1;
    }
    for (unsigned i = 0; !wrong && i < n; i++) {
        if (smemv_wire_crc32c(data + (size_t)i * SMEMV_PAGE_SIZE,
                              SMEMV_PAGE_SIZE) != crc[i]) {
            wrong = "a page that is damaged";
        }
    }
    if (wrong) {
        error_setg(errp, "memserver on %s (%s:%u) answers GET of %u pages at "
                   "0x%" PRIx64 " with %s", c->peer->name, c->peer->host,
                   c->peer->port, n, q.address, wrong);
        smemv_conn_close(c);
        return SMEMV_WIRE_CHECKSUM;
    }
    for (unsigned i = 0; i < n; i++) {
        ret = conn_open(c, page + i, data + (size_t)i * SMEMV_PAGE_SIZE, errp);
        if (ret) {
            return ret;
        }
    }
    stat64_add(&c->peer->received, (uint64_t)n * SMEMV_PAGE_SIZE);
    return 0;
}

int smemv_conn_copy(SmemvConn *c, uint64_t page, unsigned n,
                    SmemvPeer *target, uint64_t *copied, Error **errp)
{
    struct smemv_wire_request q = {
        .opcode = SMEMV_WIRE_COPY,
        .count = n,
        .address = page << SMEMV_PAGE_BITS,
    };
    struct smemv_wire_copy m = { .port = target->port };
    uint8_t body[SMEMV_WIRE_COPY_SIZE];
    const uint8_t *payload;
    int ret;

    pstrcpy(m.host, sizeof(m.host), target->host);
    WITH_QEMU_LOCK_GUARD(&target->lock) {
        memcpy(m.holder, target->holder, sizeof(m.holder));
    }
    smemv_wire_put_copy(body, &m);
    c->target = target;
    ret = conn_call(c, q, body, sizeof(body), &payload, sizeof(uint64_t),
                    errp);
    c->target = NULL;
    if (!ret) {
        *copied = smemv_wire_get_u64(payload);
    }
    return ret;
}

int smemv_conn_reserve(SmemvConn *c, uint64_t pages, Error **errp)
{
    struct smemv_wire_request q = {
        .opcode = SMEMV_WIRE_RESERVE,
        .address = pages,
    };
    const uint8_t *payload;

    return conn_call(c, q, NULL, 0, &payload, sizeof(uint64_t), errp);
}

int smemv_conn_claim(SmemvConn *c, bool renew, Error **errp)
{
    SmemvPeer *peer = c->peer;
    const uint8_t *payload;
    bool outdated;
    int ret = 0;

    WITH_QEMU_LOCK_GUARD(&peer->lock) {
        if (renew && !peer->claiming) {
            qemu_guest_getrandom_nofail(peer->holder, sizeof(peer->holder));
        }
        /* Until it has succeeded, a repetition is the same claim. */
        peer->claiming = true;
        outdated = c->epoch != peer->epoch;
    }
    if (renew) {
        smemv_conn_close(c);
    }
    if (!c->ioc || outdated) {
        ret = smemv_conn_attach(c, errp);
    }
    if (!ret) {
        struct smemv_wire_request q = {
            .opcode = SMEMV_WIRE_CLAIM,
            .address = c->epoch,
        };

        ret = conn_call(c, q, NULL, 0, &payload, sizeof(uint64_t), errp);
    }
    if (!ret) {
        QEMU_LOCK_GUARD(&peer->lock);
        peer->epoch = c->epoch = smemv_wire_get_u64(payload);
        peer->claiming = false;
        trace_smemv_conn_claimed(peer->name, c->epoch);
    }
    return ret;
}

int smemv_conn_claim_vm(SmemvConn *c, Error **errp)
{
    int64_t deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + LOST_MS;

    while (true) {
        Error *err = NULL;
        int ret = smemv_conn_claim(c, false, &err);

        if (ret >= 0 || qemu_clock_get_ms(QEMU_CLOCK_REALTIME) >= deadline) {
            error_propagate(errp, err);
            return ret;
        }
        error_free(err);
        g_usleep(SMEMV_RECONNECT_US);
    }
}

int smemv_conn_close_session(SmemvConn *c, Error **errp)
{
    struct smemv_wire_close m;
    uint8_t body[SMEMV_WIRE_CLOSE_SIZE];
    const uint8_t *payload;

    memcpy(m.id, c->session->id, sizeof(m.id));
    memcpy(m.token, c->session->token, sizeof(m.token));
    smemv_wire_put_close(body, &m);
    return conn_call(c, request(SMEMV_WIRE_CLOSE), body, sizeof(body), &payload,
                     0, errp);
}
