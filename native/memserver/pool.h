/*
 * The memory of a session's pages: slots of 4 KiB in a memfd.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_POOL_H
#define SMEMV_POOL_H

#include "../wire/smemv-wire.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The pool is mapped in pieces of 1 GiB, so that it grows without moving. */
#define POOL_CHUNK_BITS 18
#define POOL_CHUNK_SLOTS (UINT32_C(1) << POOL_CHUNK_BITS)
#define POOL_CHUNK_BYTES ((size_t)POOL_CHUNK_SLOTS * SMEMV_WIRE_PAGE_SIZE)
#define POOL_MAP_BYTES ((size_t)POOL_CHUNK_SLOTS / 8)

/* Slot numbers have 32 bits, and the last is none (RADIX_NONE). */
#define POOL_MAX_SLOTS UINT32_MAX
#define POOL_NONE UINT32_MAX

struct pool {
    int fd;
    uint8_t **chunks; /* NULL where not mapped yet */
    size_t max_chunks;

    pthread_mutex_t lock; /* of what follows */
    uint32_t fresh;       /* slots from here to bound were never taken */
    uint32_t bound;
    uint32_t free;        /* the first of a list through the checksums */
    uint32_t free_count;
    uint32_t hole;        /* likewise, of slots that gave their memory back */
};

/* A pool that may grow to @max_slots; it has none yet. 0, or -errno. */
int pool_init(struct pool *pool, uint64_t max_slots);

/*
 * The pool of a process before this one, in its memfd, which is not taken
 * over when it fails. Which of the slots are in use is not known before
 * pool_settle(), and nothing else may be called until then, but for
 * pool_has(). 0, or -errno.
 */
int pool_restore(struct pool *pool, int fd, uint64_t max_slots);

/* Is there memory behind the slot? */
bool pool_has(const struct pool *pool, uint32_t slot);

/*
 * Bit i of @used says whether slot i is, up to the pool's bound; all others
 * are free. Returns how many slots there are.
 */
uint32_t pool_settle(struct pool *pool, const uint64_t used[]);

/* Unmaps and closes the memfd, which may live on elsewhere. */
void pool_destroy(struct pool *pool);

/* Frees the memory, wherever the memfd is open. pool_destroy() is to follow. */
void pool_free(struct pool *pool);

/*
 * Adds slots, with memory behind each; takes long. Returns how many it
 * could. Gives up free slots and their memory likewise. Not to be called by
 * two threads at once, but taking and giving may go on meanwhile.
 */
uint32_t pool_commit(struct pool *pool, uint32_t slots);
uint32_t pool_release(struct pool *pool, uint32_t slots);

/* Takes @count free slots, or none and returns false. */
bool pool_take(struct pool *pool, unsigned count, uint32_t slots[]);

/* Gives slots back; POOL_NONE among them is passed over. */
void pool_give(struct pool *pool, unsigned count, const uint32_t slots[]);

/* The 4096 bytes of a slot, and their checksum. */
static inline uint8_t *pool_data(const struct pool *pool, uint32_t slot)
{
    return pool->chunks[slot >> POOL_CHUNK_BITS] +
           (size_t)(slot % POOL_CHUNK_SLOTS) * SMEMV_WIRE_PAGE_SIZE;
}

static inline uint32_t *pool_crc(const struct pool *pool, uint32_t slot)
{
    uint8_t *chunk = pool->chunks[slot >> POOL_CHUNK_BITS];

    return (uint32_t *)(void *)(chunk + POOL_CHUNK_BYTES + POOL_MAP_BYTES) +
           slot % POOL_CHUNK_SLOTS;
}

/* Bits of a map with one for each slot. */
static inline bool pool_bit(const uint64_t map[], uint32_t slot)
{
    return map[slot / 64] >> slot % 64 & 1;
}

static inline void pool_set_bit(uint64_t map[], uint32_t slot)
{
    map[slot / 64] |= UINT64_C(1) << slot % 64;
}

#endif
