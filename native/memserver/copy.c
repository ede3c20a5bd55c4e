/*
 * COPY: pages of a session go straight to another memserver.
 *
 * A link counts as one more connection of the peer that it is made for, so
 * that no peer has more sockets than its share.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "copy.h"

#include "link.h"
#include "server.h"
#include "worker.h"

#include <stdlib.h>
#include <string.h>

void copy_end_link(struct connection *c)
{
    if (c->link) {
        link_free(c->link);
        c->link = NULL;
        peers_leave(&c->worker->server->peers, c->peer);
    }
}

static struct verdict failed(const struct smemv_wire_copy *target,
                             const char *reason)
{
    return verdict_refuse(SMEMV_WIRE_COPY_FAILED, "copy to %s port %u: %s",
                          target->host, (unsigned)target->port, reason);
}

/* Returns NULL, or why there is no link. */
static const char *make_link(struct connection *c,
                             const struct smemv_wire_copy *target)
{
    const char *refused = peers_enter(&c->worker->server->peers, c->peer);

    if (refused) {
        return refused;
    }
    c->link = link_new(target, c->worker->server->tls.folder
                                   ? &c->worker->server->tls : NULL);
    if (!c->link) {
        peers_leave(&c->worker->server->peers, c->peer);
        return "no memory";
    }
    link_begin(c->link);
    return link_attach(c->link, c->attachment.session->record->id,
                       c->attachment.session->record->token)
               ? NULL
               : c->link->reason;
}

/* The link to @target, an old one or a new one. NULL, or why there is none. */
static const char *have_link(struct connection *c,
                             const struct smemv_wire_copy *target)
{
    if (c->link && (memcmp(&c->link->target, target, sizeof(*target)) != 0 ||
                    link_is_broken(c->link))) {
        copy_end_link(c);
    }
    return c->link ? NULL : make_link(c, target);
}

static bool is_present(const uint8_t *entries, unsigned i)
{
    struct smemv_wire_entry entry;

    smemv_wire_get_entry(entries + i * SMEMV_WIRE_ENTRY_SIZE, &entry);
    return entry.flags & SMEMV_WIRE_ENTRY_PRESENT;
}

/* Sends each run of pages between two holes as one PUT. */
static bool send_pages(struct link *link, const struct smemv_wire_request *r,
                       const uint8_t *entries, const uint8_t *data)
{
    uint64_t page = r->address >> SMEMV_WIRE_PAGE_BITS;
    unsigned puts = 0;
    unsigned end;

    link_begin(link);
    for (unsigned i = 0; i < r->count; i = end + 1) {
        for (end = i; end < r->count && is_present(entries, end);) {
            end++;
        }
        if (end == i) {
            continue;
        }
        if (!link_put(link, page + i, end - i,
                      entries + i * SMEMV_WIRE_ENTRY_SIZE, data)) {
            return false;
        }
        data += (size_t)(end - i) * SMEMV_WIRE_PAGE_SIZE;
        puts++;
    }
    return link_finish(link, puts);
}

/* As copy_pages(), with a buffer for the pages and their entries. */
static struct verdict copy_through(struct connection *c,
                                   const struct smemv_wire_copy *target,
                                   uint8_t *buffer)
{
    const struct smemv_wire_request *r = &c->request;
    uint8_t *data = buffer + (size_t)r->count * SMEMV_WIRE_ENTRY_SIZE;
    struct verdict verdict = session_check_writer(&c->attachment);
    const char *reason;

    if (verdict.status != SMEMV_WIRE_OK) {
        return verdict;
    }
    /* First, so that pages do not age while a connection is made. */
    reason = have_link(c, target);
    if (!reason) {
        verdict = session_get(&c->attachment,
                              r->address >> SMEMV_WIRE_PAGE_BITS, r->count,
                              buffer, data);
        if (verdict.status != SMEMV_WIRE_OK) {
            return verdict;
        }
        if (!send_pages(c->link, r, buffer, data)) {
            reason = c->link->reason;
        }
    }
    if (reason) {
        verdict = failed(target, reason);
        copy_end_link(c);
    }
    return verdict;
}

struct verdict copy_pages(struct connection *c,
                          const struct smemv_wire_copy *target)
{
    size_t size = (size_t)c->request.count *
                  (SMEMV_WIRE_ENTRY_SIZE + SMEMV_WIRE_PAGE_SIZE);
    uint8_t *buffer = malloc(size);
    struct verdict verdict;

    if (!buffer) {
        return failed(target, "no memory for the pages");
    }
    verdict = copy_through(c, target, buffer);
    free(buffer);
    return verdict;
}
