/*
 * The memory of a session's index: small blocks of a few sizes in a memfd.
 *
 * Blocks name each other by their place, not by pointers, so an index means
 * the same wherever its memfd is mapped. Memory is committed by fallocate()
 * in steps: no memory is then an error to one peer, not a SIGBUS for all.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "arena.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP ((size_t)64 * 1024)

/* The first block is not at 0, which is ARENA_NONE. */
#define FIRST 64

static const size_t sizes[ARENA_CLASSES] = {
    [ARENA_16] = 16,   [ARENA_32] = 32,   [ARENA_64] = 64,
    [ARENA_128] = 128, [ARENA_264] = 264, [ARENA_2048] = 2048,
};

static size_t round_up(size_t bytes)
{
    return (bytes + STEP - 1) / STEP * STEP;
}

int arena_init(struct arena *arena, size_t limit)
{
    void *base;

    *arena = (struct arena){ .limit = round_up(limit), .fresh = FIRST };
    arena->fd = memfd_create("smemv-index", MFD_CLOEXEC);
    if (arena->fd < 0) {
        return -errno;
    }
    base = mmap(NULL, arena->limit, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_NORESERVE, arena->fd, 0);
    if (base == MAP_FAILED) {
        int error = errno;

        close(arena->fd);
        return -error;
    }
    arena->base = base;
    return 0;
}

void arena_destroy(struct arena *arena)
{
    munmap(arena->base, arena->limit);
    close(arena->fd);
}

int arena_set_limit(struct arena *arena, size_t limit)
{
    void *base;

    limit = round_up(limit);
    if (limit < arena->committed) {
        limit = arena->committed;
    }
    if (limit == arena->limit) {
        return 0;
    }
    base = mremap(arena->base, arena->limit, limit, MREMAP_MAYMOVE);
    if (base == MAP_FAILED) {
        return -errno;
    }
    arena->base = base;
    arena->limit = limit;
    return 0;
}

bool arena_ensure(struct arena *arena, size_t bytes)
{
    while (arena->fresh + bytes > arena->committed) {
        if (arena->committed + STEP > arena->limit ||
            fallocate(arena->fd, 0, (off_t)arena->committed, (off_t)STEP)) {
            return false;
        }
        arena->committed += STEP;
    }
    return true;
}

arena_ref arena_alloc(struct arena *arena, enum arena_class class)
{
    arena_ref ref = arena->free[class];
    uint8_t *block;

    if (ref != ARENA_NONE) {
        block = arena_at(arena, ref);
        memcpy(&arena->free[class], block, sizeof(ref));
    } else {
        assert(arena->fresh + sizes[class] <= arena->committed);
        ref = (arena_ref)(arena->fresh / 8);
        arena->fresh += sizes[class];
        block = arena_at(arena, ref);
    }
    memset(block, 0, sizes[class]);
    return ref;
}

void arena_free(struct arena *arena, arena_ref ref, enum arena_class class)
{
    memcpy(arena_at(arena, ref), &arena->free[class], sizeof(ref));
    arena->free[class] = ref;
}
