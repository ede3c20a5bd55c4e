/*
 * Buffers for what is read and written, each large enough for any frame.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_BUFFER_H
#define SMEMV_BUFFER_H

#include "../wire/smemv-wire.h"

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SIZE ((size_t)17 * 64 * 1024)

_Static_assert(BUFFER_SIZE >= SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_MAX_PAYLOAD,
               "a buffer holds any request and any response");

/* Of one worker, so without a lock. Some are kept, warm, for the next. */
struct buffers {
    uint8_t *kept[8];
    unsigned count;
};

/* NULL: no memory. */
uint8_t *buffer_take(struct buffers *buffers);
void buffer_give(struct buffers *buffers, uint8_t *buffer);
void buffers_destroy(struct buffers *buffers);

#endif
