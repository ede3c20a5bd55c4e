/*
 * The memory of a session's index: small blocks of a few sizes in a memfd.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_ARENA_H
#define SMEMV_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A block, counted in units of 8 bytes from the start of the arena. */
typedef uint32_t arena_ref;

#define ARENA_NONE 0

/* The first block that is allocated; 0 is ARENA_NONE. */
#define ARENA_FIRST 8

enum arena_class {
    ARENA_16,
    ARENA_32,
    ARENA_64,
    ARENA_128,
    ARENA_264,
    ARENA_2048,
    ARENA_CLASSES
};

struct arena {
    int fd;
    uint8_t *base;
    size_t limit;     /* bytes it may grow to; so much is mapped */
    size_t committed; /* bytes that have memory behind them */
    size_t fresh;     /* bytes handed out at least once */
    arena_ref free[ARENA_CLASSES];
};

/* Returns 0, or a negative errno. */
int arena_init(struct arena *arena, size_t limit);

/*
 * The arena of a process before this one, in its memfd, which is not taken
 * over when it fails. It knows of no block before arena_settle(), and nothing
 * else may be called until then, but for arena_mark(). 0, or -errno.
 */
int arena_restore(struct arena *arena, int fd, size_t limit);

/*
 * Marks a block as used in @marks, which has a bit for each 8 bytes that are
 * committed. False: there can be no such block, or one was marked there.
 */
bool arena_mark(const struct arena *arena, uint64_t marks[], arena_ref ref,
                enum arena_class class);

/* What is not marked is free, from now on. */
void arena_settle(struct arena *arena, const uint64_t marks[]);

/* Unmaps the memfd, and closes it. It may live on elsewhere. */
void arena_unmap(struct arena *arena);
void arena_destroy(struct arena *arena);

/* Frees the memory, wherever the memfd is open; arena_destroy() follows. */
void arena_free_all(struct arena *arena);

/* Changes the limit, though never below what is committed. 0 or -errno. */
int arena_set_limit(struct arena *arena, size_t limit);

/* Has memory for @bytes more of fresh blocks; false: the limit, or no memory. */
bool arena_ensure(struct arena *arena, size_t bytes);

/*
 * A block full of zeros. Cannot fail: the caller has said before, by
 * arena_ensure(), how much it needs at most.
 */
arena_ref arena_alloc(struct arena *arena, enum arena_class class);
void arena_free(struct arena *arena, arena_ref ref, enum arena_class class);

/* Valid until arena_set_limit(). */
static inline void *arena_at(const struct arena *arena, arena_ref ref)
{
    return arena->base + (size_t)ref * 8;
}

#endif
