/*
 * Sessions outlive the process in the file descriptor store of the service
 * manager, which hands their memfds to the next process.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_STORE_H
#define SMEMV_STORE_H

#include "../wire/smemv-wire.h"

#include <stdbool.h>

/* Of each session: the record, the pool, and the index. */
#define STORE_FDS 3

struct registry;

/* Sessions that can be kept, if the manager says so; else UINT_MAX. */
unsigned store_room(void);

/*
 * Has a session kept from now on; waits until the manager says so. False: it
 * does not. Without a manager nothing is kept, and that is no failure.
 */
bool store_add(const uint8_t id[SMEMV_WIRE_ID_SIZE],
               const int fds[STORE_FDS]);

/* Has it not kept any more. */
void store_remove(const uint8_t id[SMEMV_WIRE_ID_SIZE]);

/*
 * Puts what was kept into the registry, before anybody else uses that. False:
 * there is something that it does not understand, and the journal says what;
 * nothing is lost, as the manager still keeps it.
 */
bool store_take(struct registry *registry);

/* Was the descriptor, of those handed over, kept here? */
bool store_is_name(const char *name);

#endif
