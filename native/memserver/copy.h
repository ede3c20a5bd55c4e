/*
 * COPY: pages of a session go straight to another memserver.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_COPY_H
#define SMEMV_COPY_H

#include "connection.h"

/*
 * Sends the pages of @c->request that are stored; takes long. The link that
 * they went over stays with the connection, for the next COPY there.
 */
struct verdict copy_pages(struct connection *c,
                          const struct smemv_wire_copy *target);

/* Ends the link that a connection has, if it has one. */
void copy_end_link(struct connection *c);

#endif
