/*
 * Buffers for what is read and written, each large enough for any frame.
 *
 * From mmap(), so that of a buffer only what was filled takes memory.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "buffer.h"

#include <sys/mman.h>

#define KEPT_MAX (sizeof(((struct buffers *)0)->kept) / sizeof(uint8_t *))

uint8_t *buffer_take(struct buffers *buffers)
{
    void *buffer;

    if (buffers->count) {
        return buffers->kept[--buffers->count];
    }
    buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) {
        return NULL;
    }
    /* Guests' memory is nothing to find in a core file. */
    madvise(buffer, BUFFER_SIZE, MADV_DONTDUMP);
    return buffer;
}

void buffer_give(struct buffers *buffers, uint8_t *buffer)
{
    if (buffers->count < KEPT_MAX) {
        buffers->kept[buffers->count++] = buffer;
    } else {
        munmap(buffer, BUFFER_SIZE);
    }
}

void buffers_destroy(struct buffers *buffers)
{
    while (buffers->count) {
        munmap(buffers->kept[--buffers->count], BUFFER_SIZE);
    }
}
