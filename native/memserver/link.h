/*
 * A link to another memserver, of which this one is the client.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_LINK_H
#define SMEMV_LINK_H

#include "../wire/smemv-wire.h"
#include "tls.h"

#include <stdbool.h>
#include <stdint.h>

struct link {
    struct smemv_wire_copy target;
    struct tls *identity; /* NULL: plain TCP */
    int fd;
    struct tls_session *tls; /* NULL: none yet, or plain TCP */
    uint32_t tag;     /* of the last request */
    int64_t deadline; /* of what is under way; ms, as CLOCK_MONOTONIC */
    char reason[SMEMV_WIRE_TEXT_SIZE]; /* why the last call failed */
};

/*
 * A link that leads to @target, without a connection yet: over TLS, with
 * @identity, or over plain TCP where that is NULL. NULL: no memory.
 */
struct link *link_new(const struct smemv_wire_copy *target,
                      struct tls *identity);

/* Closes and frees it; NULL is none. */
void link_free(struct link *link);

/*
 * These wait for the other memserver, all together not longer than LINK_TIME
 * seconds after link_begin(), but for the resolver of names. Each returns
 * false if it failed; the link is then of no more use.
 */
#define LINK_TIME 10
void link_begin(struct link *link);

/* Connects, and attaches to the session of that id and token. */
bool link_attach(struct link *link, const uint8_t id[SMEMV_WIRE_ID_SIZE],
                 const uint8_t token[SMEMV_WIRE_TOKEN_SIZE]);

/* Sends a PUT; its answer is one of those that link_finish() waits for. */
bool link_put(struct link *link, uint64_t page, unsigned count,
              const uint8_t *entries, const uint8_t *data);

/* Waits until the last @puts PUTs are acknowledged; there were no others. */
bool link_finish(struct link *link, unsigned puts);

/* Did the other side end an idle link? */
bool link_is_broken(const struct link *link);

#endif
