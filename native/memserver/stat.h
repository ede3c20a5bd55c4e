/*
 * The answer to STAT: the memserver and its sessions as JSON.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_STAT_H
#define SMEMV_STAT_H

#include "registry.h"

#include <stddef.h>

/*
 * Writes it to @buffer and returns its length; 0 if it does not fit. @only:
 * the one session to show; with @all every one is.
 */
size_t stat_json(struct registry *registry, const struct session *only,
                 bool all, char *buffer, size_t size);

#endif
