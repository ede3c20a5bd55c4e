/*
 * Senders: those of a split migration together, as many for each sub-host as
 * it may have connections.
 *
 * A page goes by the same connection each time, so that the last time counts.
 * Errors: the sub-host's, or that the migration was cancelled.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_SENDERS_H
#define SMEMV_SENDERS_H

#include "session.h"

/* Connections to a sub-host, at the most. */
#define SMEMV_MOST_CONNECTIONS 16

typedef struct SmemvSenders SmemvSenders;

/* Attach to each peer of @s so often; NULL on an error. */
SmemvSenders *smemv_senders_start(SmemvSession *s, unsigned connections,
                                  Error **errp);

/* As smemv_sender_put(), to the sub-host at @place of a page map. */
bool smemv_senders_put(SmemvSenders *ss, uint8_t place, uint64_t page,
                       const void *data, uint64_t version, Error **errp);

/*
 * Whether page @page would be taken for that place, or refused, without
 * waiting.
 */
bool smemv_senders_take(SmemvSenders *ss, uint8_t place, uint64_t page);

/* Whether it would be for some place that has room for it. */
bool smemv_senders_have_room(SmemvSenders *ss, uint64_t page);

/*
 * Wait, but not for long, until one that would have made wait does no more;
 * false when the migration ends.
 */
bool smemv_senders_wait(SmemvSenders *ss);

/* How many there are. */
unsigned smemv_senders_count(const SmemvSenders *ss);

/* Send what has been gathered; do not wait. */
void smemv_senders_flush(SmemvSenders *ss);

/* Bytes of pages that were given to them and are not acknowledged. */
uint64_t smemv_senders_backlog(SmemvSenders *ss);

/* Wait, but not for long, until the backlog of the slowest is less. */
bool smemv_senders_drain(SmemvSenders *ss, Error **errp);

/* Wait until everything sent is acknowledged, by all of them side by side. */
bool smemv_senders_barrier(SmemvSenders *ss, Error **errp);

/* Stop, whatever is under way, and free; NULL is none. */
void smemv_senders_stop(SmemvSenders *ss);

#endif
