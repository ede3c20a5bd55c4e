/*
 * Client: what a memserver is asked for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "client.h"
#include "page-map.h"
#include "trace.h"

int smemv_conn_send_open(SmemvConn *c, uint64_t pages, uint64_t flags,
                         Error **errp)
{
    struct smemv_wire_request q = { .opcode = SMEMV_WIRE_OPEN };
    struct smemv_wire_open o = { .reserve = pages, .flags = flags };
    uint8_t body[SMEMV_WIRE_OPEN_SIZE];
    int ret = smemv_conn_connect(c, errp);

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
    return smemv_conn_send_request(c, q, body, sizeof(body), errp);
}

int smemv_conn_await_open(SmemvConn *c, Error **errp)
{
    const uint8_t *payload;
    int ret = smemv_conn_receive_response(c, SMEMV_WIRE_OPEN, &payload,
                                          sizeof(uint64_t), errp);

    if (!ret) {
        QEMU_LOCK_GUARD(&c->peer->lock);
        c->peer->epoch = smemv_wire_get_u64(payload);
    }
    return ret;
}

int smemv_conn_send_attach(SmemvConn *c, Error **errp)
{
    struct smemv_wire_request q = { .opcode = SMEMV_WIRE_ATTACH };
    struct smemv_wire_attach a;
    uint8_t body[SMEMV_WIRE_ATTACH_SIZE];
    int ret;

    if (!c->ioc) {
        ret = smemv_conn_connect(c, errp);
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
    return smemv_conn_send_request(c, q, body, sizeof(body), errp);
}

int smemv_conn_await_attach(SmemvConn *c, Error **errp)
{
    const uint8_t *payload;
    int ret = smemv_conn_receive_response(c, SMEMV_WIRE_ATTACH, &payload,
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
        sealed[i].crc = 0;
        sealed[i].data = smemv_sealer_seal(c->sealer, i, puts[i].page,
                                           puts[i].data, puts[i].version,
                                           errp);
        if (!sealed[i].data) {
            return smemv_conn_failed(c, errp);
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
                .crc = puts[j].crc ?:
                       smemv_wire_crc32c(puts[j].data, SMEMV_PAGE_SIZE),
            };

            smemv_wire_put_entry(entries + j * SMEMV_WIRE_ENTRY_SIZE, &e);
            iov[niov++] = (struct iovec) { (void *)puts[j].data,
                                           SMEMV_PAGE_SIZE };
        }
        sent++;
    }
    if (n && smemv_conn_send(c, iov, niov, errp)) {
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
        if (smemv_conn_send(c, &iov, 1, errp)) {
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
        int ret = smemv_conn_receive(c, &r, &payload, first ? NULL : errp);

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
    if (smemv_conn_send(c, &iov, 1, errp)) {
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
    ret = smemv_conn_receive(c, &r, &payload, errp);
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
        return smemv_conn_failed(c, errp);
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
    int ret = smemv_conn_send_request(c, q, NULL, 0, errp);

    if (!ret) {
        ret = smemv_conn_receive_header(c, &r, SMEMV_WIRE_MAX_PAYLOAD, errp);
    }
    if (ret) {
        return ret;
    }
    if (r.status != SMEMV_WIRE_OK) {
        return smemv_conn_receive_payload(c, &r, &payload, errp);
    }
    wrong = r.opcode == SMEMV_WIRE_GET &&
            r.length >= n * SMEMV_WIRE_ENTRY_SIZE ? NULL : "no page entries";
    if (!wrong) {
        if (smemv_conn_fill(c, n * SMEMV_WIRE_ENTRY_SIZE, errp)) {
            return -1;
        }
        wrong = run_checksums(&r, n, c->buf + c->start, crc);
        c->start += n * SMEMV_WIRE_ENTRY_SIZE;
    }
    if (!wrong && smemv_conn_read(c, data, (size_t)n * SMEMV_PAGE_SIZE, errp)) {
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
    ret = smemv_conn_call(c, q, body, sizeof(body), &payload, sizeof(uint64_t),
                          errp);
    c->target = NULL;
    if (!ret) {
        *copied = smemv_wire_get_u64(payload);
    }
    return ret;
}

int smemv_conn_send_reserve(SmemvConn *c, uint64_t pages, Error **errp)
{
    struct smemv_wire_request q = {
        .opcode = SMEMV_WIRE_RESERVE,
        .address = pages,
    };

    return smemv_conn_send_request(c, q, NULL, 0, errp);
}

int smemv_conn_await_reserve(SmemvConn *c, Error **errp)
{
    const uint8_t *payload;

    return smemv_conn_receive_response(c, SMEMV_WIRE_RESERVE, &payload,
                                       sizeof(uint64_t), errp);
}

int smemv_conn_reserve(SmemvConn *c, uint64_t pages, Error **errp)
{
    int ret = smemv_conn_send_reserve(c, pages, errp);

    return ret ? ret : smemv_conn_await_reserve(c, errp);
}

/* Claim, as a new holder with @renew; or make a claim of unknown end again. */
static int claim_once(SmemvConn *c, bool renew, Error **errp)
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

        ret = smemv_conn_call(c, q, NULL, 0, &payload, sizeof(uint64_t), errp);
    }
    if (!ret) {
        QEMU_LOCK_GUARD(&peer->lock);
        peer->epoch = c->epoch = smemv_wire_get_u64(payload);
        peer->claiming = false;
        trace_smemv_conn_claimed(peer->name, c->epoch);
    }
    return ret;
}

int smemv_conn_claim(SmemvConn *c, bool renew, Error **errp)
{
    SmemvPeer *peer = c->peer;
    bool unknown;
    int ret;

    /* One after the other: each in the epoch of the one before. */
    QEMU_LOCK_GUARD(&peer->claim_lock);
    WITH_QEMU_LOCK_GUARD(&peer->lock) {
        unknown = peer->claiming;
    }
    ret = claim_once(c, renew, errp);
    if (!ret && renew && unknown) {
        /* It may have been made long ago, and what is to be undone since. */
        ret = claim_once(c, true, errp);
    }
    return ret;
}

bool smemv_conn_overtaken(const SmemvConn *c, int ret)
{
    QEMU_LOCK_GUARD(&c->peer->lock);
    return ret == SMEMV_WIRE_STALE &&
           (c->peer->claiming || c->peer->epoch != c->epoch);
}

int smemv_conn_claim_vm(SmemvConn *c, Error **errp)
{
    int64_t deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + SMEMV_LOST_MS;

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
    struct smemv_wire_request q = { .opcode = SMEMV_WIRE_CLOSE };
    struct smemv_wire_close m;
    uint8_t body[SMEMV_WIRE_CLOSE_SIZE];
    const uint8_t *payload;

    memcpy(m.id, c->session->id, sizeof(m.id));
    memcpy(m.token, c->session->token, sizeof(m.token));
    smemv_wire_put_close(body, &m);
    return smemv_conn_call(c, q, body, sizeof(body), &payload, 0, errp);
}
