/*
 * As much of HTTP/1 as it takes to be asked for the metrics.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_HTTP_H
#define SMEMV_HTTP_H

#include <stddef.h>

/* A request that is longer is not for us. */
#define HTTP_REQUEST_MAX 4096

/*
 * Looks at what came of a request so far: 0 if that is not the whole yet, or
 * the status to answer with. 200 is for "GET /metrics" alone.
 */
unsigned http_request(const char *text, size_t size);

/* "OK", "Not Found", ... for a status of http_request(). */
const char *http_reason(unsigned status);

#endif
