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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP ((size_t)64 * 1024)

#define FIRST ((size_t)ARENA_FIRST * 8)

static const size_t sizes[ARENA_CLASSES] = {
    [ARENA_16] = 16,   [ARENA_32] = 32,   [ARENA_64] = 64,
    [ARENA_128] = 128, [ARENA_264] = 264, [ARENA_2048] = 2048,
};

static size_t round_up(size_t bytes)
{
    return (bytes + STEP - 1) / STEP * STEP;
}

static int map(struct arena *arena)
{
    void *base = mmap(NULL, arena->limit, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, arena->fd, 0);

    if (base == MAP_FAILED) {
        return -errno;
    }
    arena->base = base;
    return 0;
}

int arena_init(struct arena *arena, size_t limit)
{
    int error;

    *arena = (struct arena){ .limit = round_up(limit), .fresh = FIRST };
    arena->fd = memfd_create("smemv-index", MFD_CLOEXEC);
    if (arena->fd < 0) {
        return -errno;
    }
    error = map(arena);
    if (error) {
        close(arena->fd);
    }
    return error;
}

int arena_restore(struct arena *arena, int fd, size_t limit)
{
    struct stat stat;

    if (fstat(fd, &stat)) {
        return -errno;
    }
    *arena = (struct arena){ .fd = fd,
                             .limit = round_up(limit),
                             .committed = (size_t)stat.st_size / STEP * STEP };
    if (arena->limit < arena->committed) {
        arena->limit = arena->committed;
    }
    return map(arena);
}

/* Are these 8 bytes used? */
static bool marked(const uint64_t marks[], size_t unit)
{
    return marks[unit / 64] >> unit % 64 & 1;
}

bool arena_mark(const struct arena *arena, uint64_t marks[], arena_ref ref,
                enum arena_class class)
{
    const size_t end = ref + sizes[class] / 8;

    if (ref < ARENA_FIRST || end > arena->committed / 8) {
        return false;
    }
    for (size_t unit = ref; unit < end; unit++) {
        if (marked(marks, unit)) {
            return false;
        }
        marks[unit / 64] |= UINT64_C(1) << unit % 64;
    }
    return true;
}

/*
 * Makes blocks of what is free between two used ones. Most blocks of a full
 * index are of 264 bytes, so that is what it is cut into; the other sizes
 * are multiples of 16, so the rest must be one too.
 */
static void free_gap(struct arena *arena, size_t unit, size_t bytes)
{
    size_t large = bytes / sizes[ARENA_264];

    if (large && (bytes - large * sizes[ARENA_264]) % sizes[ARENA_16]) {
        large--;
    }
    for (; large > 0; large--) {
        arena_free(arena, (arena_ref)unit, ARENA_264);
        unit += sizes[ARENA_264] / 8;
        bytes -= sizes[ARENA_264];
    }
    for (enum arena_class class = ARENA_264; class-- > ARENA_16;) {
        for (; bytes >= sizes[class]; bytes -= sizes[class]) {
            arena_free(arena, (arena_ref)unit, class);
            unit += sizes[class] / 8;
        }
    }
}

void arena_settle(struct arena *arena, const uint64_t marks[])
{
    const size_t units = arena->committed / 8;
    size_t end = ARENA_FIRST; /* of the last used block so far */

    for (size_t unit = ARENA_FIRST; unit < units; unit++) {
        if (marked(marks, unit)) {
            if (unit > end) {
                free_gap(arena, end, (unit - end) * 8);
            }
            end = unit + 1;
        }
    }
    arena->fresh = end * 8;
}

void arena_unmap(struct arena *arena)
{
    munmap(arena->base, arena->limit);
}

void arena_destroy(struct arena *arena)
{
    arena_unmap(arena);
    close(arena->fd);
}

void arena_free_all(struct arena *arena)
{
    /* It cannot fail: nothing seals the memfd. */
    if (ftruncate(arena->fd, 0)) {
        abort();
    }
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
