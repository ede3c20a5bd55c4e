/*
 * What the page map needs of QEMU: a guest's RAM that is one block, of any
 * size, and is not there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BENCH_PAGE_MAP_QEMU_H
#define BENCH_PAGE_MAP_QEMU_H

#include <assert.h>
#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct Error Error;

typedef struct MemoryRegion {
    void *owner;
} MemoryRegion;

typedef struct RAMBlock {
    MemoryRegion *mr;
    char idstr[16];
    uint8_t *host;
    uint64_t used_length;
} RAMBlock;

extern RAMBlock ram;

#define TYPE_MEMORY_BACKEND "memory-backend"
#define RCU_READ_LOCK_GUARD()
#define RAMBLOCK_FOREACH(rb) for ((rb) = &ram; (rb); (rb) = NULL)
#define error_setg(...) ((void)errp)

static inline bool qemu_ram_is_migratable(RAMBlock *rb)
{
    return rb != NULL;
}

static inline void *object_dynamic_cast(void *object, const char *type)
{
    (void)type;
    return object;
}

#endif
