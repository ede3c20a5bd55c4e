/*
 * Sender: pages of a split migration on their way to one sub-host.
 *
 * A thread for each sub-host sends in the background, batch by batch, so that
 * the links work side by side and the migration thread only copies. It
 * awaits every acknowledgement.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_SENDER_H
#define SMEMV_SENDER_H

#include "session.h"

typedef struct SmemvSender SmemvSender;

/*
 * Attach to @peer and start the thread, for which @n_batches can wait; NULL on
 * an error. @room is posted whenever a page would be taken again without
 * waiting.
 */
SmemvSender *smemv_sender_start(SmemvSession *s, SmemvPeer *peer,
                                unsigned n_batches, QemuSemaphore *room,
                                Error **errp);

/*
 * Copy a page and send it, sealed with @version if that is not 0; waits while
 * too much is under way.
 */
bool smemv_sender_put(SmemvSender *s, uint64_t page, const void *data,
                      uint64_t version, Error **errp);

/* Whether it would take a page, or say why not, without waiting. */
bool smemv_sender_has_room(SmemvSender *s);

/* Send what has been gathered; do not wait. */
void smemv_sender_flush(SmemvSender *s);

/* Bytes of pages that were given to it and are not acknowledged. */
uint64_t smemv_sender_backlog(SmemvSender *s);

/* Wait, but not for long, until more of them is sent or acknowledged. */
bool smemv_sender_drain(SmemvSender *s, Error **errp);

/* Wait until everything sent is acknowledged. */
bool smemv_sender_barrier(SmemvSender *s, Error **errp);

/* Stop, whatever is under way, and free. */
void smemv_sender_stop(SmemvSender *s);

#endif
