/*
 * As much of HTTP/1 as it takes to be asked for the metrics.
 *
 * Only the request line counts. The headers are waited for, to their end, and
 * not looked at; a body is not read, as the connection is closed behind the
 * answer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "http.h"

#include <stdbool.h>
#include <string.h>

static const char get[] = "GET /metrics";
static const char version[] = " HTTP/1.";

static bool begins(const char *text, size_t size, const char *with)
{
    size_t length = strlen(with);

    return size >= length && memcmp(text, with, length) == 0;
}

/* The status for a request line without its end. */
static unsigned judge(const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    size_t target;

    if (!space || size < strlen(version) + 1 ||
        memcmp(line + size - strlen(version) - 1, version, strlen(version))) {
        return 400;
    }
    if (!begins(line, size, "GET ")) {
        return 405;
    }
    if (!begins(line, size, get)) {
        return 404;
    }
    target = strlen(get);
    return line[target] == ' ' || line[target] == '?' ? 200 : 404;
}

unsigned http_request(const char *text, size_t size)
{
    const char *line_end = memmem(text, size, "\r\n", 2);

    if (!memmem(text, size, "\r\n\r\n", 4)) {
        return size < HTTP_REQUEST_MAX ? 0 : 400;
    }
    return judge(text, (size_t)(line_end - text));
}

const char *http_reason(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    default:
        return "Bad Request";
    }
}
