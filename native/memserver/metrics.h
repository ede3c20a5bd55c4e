/*
 * The memserver's metrics, in Prometheus' text format.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_METRICS_H
#define SMEMV_METRICS_H

#include "server.h"

#include <stddef.h>

/* All of them as text, which is to be freed; NULL: no memory. */
char *metrics_text(struct server *server, size_t *size);

#endif
