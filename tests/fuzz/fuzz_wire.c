/*
 * Fuzz target: every decoder of the wire, on the same bytes.
 *
 * What a decoder accepts must come out of the encoder as the same bytes, so
 * nothing that was sent goes unread.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "smemv-wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Copies the input's beginning, so that reading beyond it is found. */
static uint8_t *frame(const uint8_t *data, size_t size, size_t wanted)
{
    uint8_t *copy = calloc(1, wanted);

    memcpy(copy, data, size < wanted ? size : wanted);
    return copy;
}

#define CHECK_DECODER(name, type, bytes)                              \
    do {                                                              \
        uint8_t *in = frame(data, size, bytes);                       \
        uint8_t *out = calloc(1, bytes);                              \
        struct type value;                                            \
        const char *wrong = smemv_wire_get_##name(in, &value);        \
        if (wrong ? strlen(wrong) > SMEMV_WIRE_TEXT_SIZE              \
                  : (smemv_wire_put_##name(out, &value),              \
                     memcmp(in, out, bytes) != 0)) {                  \
            abort();                                                  \
        }                                                             \
        free(in);                                                     \
        free(out);                                                    \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smemv_wire_request request;
    uint8_t *header = frame(data, size, SMEMV_WIRE_HEADER_SIZE);

    CHECK_DECODER(request, smemv_wire_request, SMEMV_WIRE_HEADER_SIZE);
    CHECK_DECODER(response, smemv_wire_response, SMEMV_WIRE_HEADER_SIZE);
    CHECK_DECODER(entry, smemv_wire_entry, SMEMV_WIRE_ENTRY_SIZE);
    CHECK_DECODER(hello, smemv_wire_hello, SMEMV_WIRE_HELLO_SIZE);
    CHECK_DECODER(open, smemv_wire_open, SMEMV_WIRE_OPEN_SIZE);
    CHECK_DECODER(attach, smemv_wire_attach, SMEMV_WIRE_ATTACH_SIZE);
    CHECK_DECODER(close, smemv_wire_close, SMEMV_WIRE_CLOSE_SIZE);
    CHECK_DECODER(copy, smemv_wire_copy, SMEMV_WIRE_COPY_SIZE);
    if (!smemv_wire_get_request(header, &request) &&
        smemv_wire_payload_size(&request) > SMEMV_WIRE_MAX_PAYLOAD) {
        abort();
    }
    free(header);
    return 0;
}
