/*
 * Requests: from a decoded frame to the queued response.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "request.h"

#include "buffer.h"
#include "copy.h"
#include "server.h"
#include "stat.h"
#include "worker.h"

size_t request_room(const struct smemv_wire_request *r)
{
    switch (r->opcode) {
    case SMEMV_WIRE_STAT:
        return BUFFER_SIZE;
    case SMEMV_WIRE_GET:
        return REQUEST_LEAST_ROOM +
               (size_t)r->count * (SMEMV_WIRE_ENTRY_SIZE + SMEMV_WIRE_PAGE_SIZE);
    default:
        return REQUEST_LEAST_ROOM;
    }
}

static struct registry *registry_of(struct connection *c)
{
    return &c->worker->server->registry;
}

static uint64_t page_of(const struct smemv_wire_request *r)
{
    return r->address >> SMEMV_WIRE_PAGE_BITS;
}

static bool needs_session(unsigned opcode)
{
    switch (opcode) {
    case SMEMV_WIRE_PUT:
    case SMEMV_WIRE_GET:
    case SMEMV_WIRE_DROP:
    case SMEMV_WIRE_CLAIM:
    case SMEMV_WIRE_RESERVE:
    case SMEMV_WIRE_COPY:
        return true;
    default:
        return false;
    }
}

bool request_begin(struct connection *c, const struct smemv_wire_request *r)
{
    if (c->state == CONNECTION_HELLO && r->opcode != SMEMV_WIRE_HELLO) {
        connection_refuse(c, r, SMEMV_WIRE_NO_VERSION,
                          "HELLO comes first on each connection");
        return false;
    }
    if (c->state == CONNECTION_OPEN && r->opcode == SMEMV_WIRE_HELLO) {
        connection_refuse(c, r, SMEMV_WIRE_BAD_REQUEST,
                          "HELLO comes once on each connection");
        return false;
    }
    if (needs_session(r->opcode) && !c->attachment.session) {
        connection_refuse(c, r, SMEMV_WIRE_DENIED,
                          "the connection is not attached to a session");
        return false;
    }
    return true;
}

/* Answers with the verdict, whose value is the payload of OK if @with_value. */
static void answer(struct connection *c, const struct smemv_wire_request *r,
                   const struct verdict *verdict, bool with_value)
{
    if (verdict->status != SMEMV_WIRE_OK) {
        connection_refuse(c, r, verdict->status, verdict->text);
        return;
    }
    if (with_value) {
        smemv_wire_put_u64(connection_payload(c), verdict->value);
    }
    connection_answer(c, r, with_value ? 8 : 0, 0);
}

static void hello(struct connection *c, const struct smemv_wire_request *r,
                  const uint8_t *payload)
{
    struct smemv_wire_hello reply = { .version_min = SMEMV_WIRE_VERSION };
    struct smemv_wire_hello h;
    const char *wrong = smemv_wire_get_hello(payload, &h);

    if (wrong) {
        connection_refuse(c, r, SMEMV_WIRE_BAD_REQUEST, wrong);
        return;
    }
    if (h.version_min > SMEMV_WIRE_VERSION ||
        h.version_max < SMEMV_WIRE_VERSION) {
        connection_refuse(c, r, SMEMV_WIRE_NO_VERSION,
                          "only version 1 is spoken here");
        return;
    }
    c->state = CONNECTION_OPEN;
    c->deadline = 0;
    smemv_wire_put_hello(connection_payload(c), &reply);
    connection_answer(c, r, SMEMV_WIRE_HELLO_SIZE, 0);
}

static void attach(struct connection *c, const struct smemv_wire_request *r,
                   const uint8_t *payload)
{
    struct smemv_wire_attach a;
    struct verdict verdict;
    const char *wrong = smemv_wire_get_attach(payload, &a);

    if (wrong) {
        connection_refuse(c, r, SMEMV_WIRE_BAD_REQUEST, wrong);
        return;
    }
    verdict = registry_attach(registry_of(c), &a, &c->attachment);
    if (verdict.status == SMEMV_WIRE_OK) {
        copy_end_link(c); /* it was for the session before */
    }
    answer(c, r, &verdict, true);
}

static void put(struct connection *c, const struct smemv_wire_request *r,
                const uint8_t *payload)
{
    struct verdict verdict = session_put(
        &c->attachment, page_of(r), r->count, payload,
        payload + (size_t)r->count * SMEMV_WIRE_ENTRY_SIZE);

    answer(c, r, &verdict, false);
}

static void get(struct connection *c, const struct smemv_wire_request *r)
{
    uint8_t *entries = connection_payload(c);
    uint8_t *data = entries + (size_t)r->count * SMEMV_WIRE_ENTRY_SIZE;
    struct verdict verdict = session_get(&c->attachment, page_of(r), r->count,
                                         entries, data);

    if (verdict.status != SMEMV_WIRE_OK) {
        connection_refuse(c, r, verdict.status, verdict.text);
        return;
    }
    connection_answer(c, r,
                      (size_t)r->count * SMEMV_WIRE_ENTRY_SIZE +
                          verdict.value * SMEMV_WIRE_PAGE_SIZE,
                      (unsigned)verdict.value);
}

static void stat(struct connection *c, const struct smemv_wire_request *r)
{
    size_t length = stat_json(registry_of(c), c->attachment.session, c->local,
                              (char *)connection_payload(c),
                              SMEMV_WIRE_MAX_PAYLOAD);

    if (!length) {
        connection_refuse(c, r, SMEMV_WIRE_INTERNAL,
                          "the statistics are longer than a response");
        return;
    }
    connection_answer(c, r, length, 0);
}

/* On a thread of its own, while the connection does nothing else. */
static void run_job(struct job *job)
{
    struct connection *c =
        (struct connection *)(void *)((uint8_t *)job -
                                      offsetof(struct connection, job));
    const uint8_t *payload = c->in + c->in_start + SMEMV_WIRE_HEADER_SIZE;
    struct smemv_wire_close to_close;
    struct smemv_wire_open to_open;
    struct smemv_wire_copy to_copy;
    const char *wrong = NULL;

    switch (c->request.opcode) {
    case SMEMV_WIRE_OPEN:
        wrong = smemv_wire_get_open(payload, &to_open);
        if (!wrong) {
            c->verdict = registry_open(registry_of(c), &to_open);
        }
        break;
    case SMEMV_WIRE_CLOSE:
        wrong = smemv_wire_get_close(payload, &to_close);
        if (!wrong) {
            c->verdict = registry_close(registry_of(c), &to_close, c->local,
                                        &c->attachment);
        }
        break;
    case SMEMV_WIRE_COPY:
        wrong = smemv_wire_get_copy(payload, &to_copy);
        if (!wrong) {
            c->verdict = copy_pages(c, &to_copy);
        }
        break;
    default:
        c->verdict = registry_reserve(registry_of(c), &c->attachment,
                                      c->request.address);
        break;
    }
    if (wrong) {
        c->verdict = verdict_refuse(SMEMV_WIRE_BAD_REQUEST, "%s", wrong);
    }
    worker_post(c->worker, c);
}

static void submit(struct connection *c, const struct smemv_wire_request *r,
                   struct jobs *jobs)
{
    c->busy = true;
    c->request = *r;
    c->job.run = run_job;
    jobs_submit(jobs, &c->job);
}

void request_finish(struct connection *c)
{
    answer(c, &c->request, &c->verdict,
           c->request.opcode != SMEMV_WIRE_CLOSE);
}

void request_handle(struct connection *c, const struct smemv_wire_request *r,
                    const uint8_t *payload)
{
    struct verdict verdict;

    switch ((enum smemv_wire_opcode)r->opcode) {
    case SMEMV_WIRE_HELLO:
        hello(c, r, payload);
        break;
    case SMEMV_WIRE_ATTACH:
        attach(c, r, payload);
        break;
    case SMEMV_WIRE_PUT:
        put(c, r, payload);
        break;
    case SMEMV_WIRE_GET:
        get(c, r);
        break;
    case SMEMV_WIRE_DROP:
        verdict = session_drop(&c->attachment, page_of(r), r->count);
        answer(c, r, &verdict, true);
        break;
    case SMEMV_WIRE_SYNC:
        /* Requests of a connection are done in order, so all before are. */
        connection_answer(c, r, 0, 0);
        break;
    case SMEMV_WIRE_CLAIM:
        verdict = session_claim(&c->attachment, r->address);
        answer(c, r, &verdict, true);
        break;
    case SMEMV_WIRE_STAT:
        stat(c, r);
        break;
    case SMEMV_WIRE_OPEN:
    case SMEMV_WIRE_CLOSE:
    case SMEMV_WIRE_RESERVE:
        submit(c, r, &c->worker->server->jobs);
        break;
    case SMEMV_WIRE_COPY:
        submit(c, r, &c->worker->server->copies);
        break;
    }
}
