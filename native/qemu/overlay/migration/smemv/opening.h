/*
 * Opening: a session on its way to being open on all of its sub-hosts.
 *
 * A memserver has the memory ready a quarter of a second a GiB after it has
 * granted it. Pages are sent meanwhile.
 *
 * Calls block, and none may be made with a lock held that a page fault needs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_OPENING_H
#define SMEMV_OPENING_H

#include "session.h"

typedef struct SmemvOpening SmemvOpening;

/*
 * Open the session on every peer, with its share as the reservation, and with
 * this process as its holder. Returns when each has granted it. NULL where one
 * does not; then it is open on none.
 */
SmemvOpening *smemv_opening_begin(SmemvSession *s, Error **errp);

/*
 * See which have the memory ready by now, and wait so many ms at most for one
 * that has not. False where one has not as much as it has granted; the session
 * is to be released then.
 */
bool smemv_opening_look(SmemvOpening *o, int ms, Error **errp);

/* Whether each was seen to have the memory ready. */
bool smemv_opening_is_done(const SmemvOpening *o);

void smemv_opening_free(SmemvOpening *o);

#endif
