/*
 * Fuzz target: the request of who asks for the metrics.
 *
 * What is judged once it is whole is judged the same when more follows, and
 * nothing of it is judged before.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "http.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    size_t whole = end ? (size_t)(end - data) + 4 : size;
    unsigned status;
    char *text;

    if (size > HTTP_REQUEST_MAX) {
        return 0;
    }
    /* A copy of just that size, so that reading beyond it is found. */
    text = malloc(size ? size : 1);
    memcpy(text, data, size);
    status = http_request(text, size);
    if (!end ? status != (size == HTTP_REQUEST_MAX ? 400 : 0)
             : !status || !*http_reason(status) ||
                   status != http_request(text, whole) ||
                   (whole - 1 < HTTP_REQUEST_MAX &&
                    http_request(text, whole - 1) != 0)) {
        abort();
    }
    free(text);
    return 0;
}
