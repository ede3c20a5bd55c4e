/*
 * Requests: from a decoded frame to the queued response.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_REQUEST_H
#define SMEMV_REQUEST_H

#include "connection.h"

/* What any refusal may take. */
#define REQUEST_LEAST_ROOM (SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_TEXT_SIZE)

/* Bytes that the response to a request may take at most. */
size_t request_room(const struct smemv_wire_request *r);

/*
 * Looks at a header before its payload is there. False: it was answered, and
 * its payload is to be thrown away.
 */
bool request_begin(struct connection *c, const struct smemv_wire_request *r);

/* Works on a request: answers it, or hands it to a job and sets @c->busy. */
void request_handle(struct connection *c, const struct smemv_wire_request *r,
                    const uint8_t *payload);

/* Answers the request that a job has worked on. */
void request_finish(struct connection *c);

#endif
