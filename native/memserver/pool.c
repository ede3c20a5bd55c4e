/*
 * The memory of a session's pages: slots of 4 KiB in a memfd.
 *
 * The memfd is a row of chunks: 262144 slots, then a checksum for each. The
 * checksum of a slot that is free links it to the next free one, so that
 * free slots cost nothing.
 *
 * Memory is promised by a reservation, so it is committed then, by
 * fallocate(), and its page tables filled, not when a page arrives.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A whole number of huge pages, so that each chunk begins at one. */
#define CRC_BYTES ((size_t)2 * 1024 * 1024)
#define STRIDE (POOL_CHUNK_BYTES + CRC_BYTES)

/*
 * Slots committed in one go, 4 MiB: as long the address space is locked, for
 * which others may have to wait.
 */
#define STEP UINT32_C(1024)

int pool_init(struct pool *pool, uint64_t max_slots)
{
    *pool = (struct pool){ .free = POOL_NONE, .hole = POOL_NONE };
    pool->max_chunks = (max_slots + POOL_CHUNK_SLOTS - 1) / POOL_CHUNK_SLOTS;
    pool->chunks = calloc(pool->max_chunks, sizeof(*pool->chunks));
    if (!pool->chunks) {
        return -ENOMEM;
    }
    pool->fd = memfd_create("smemv-pages", MFD_CLOEXEC);
    if (pool->fd < 0) {
        int error = errno;

        free(pool->chunks);
        return -error;
    }
    pthread_mutex_init(&pool->lock, NULL);
    return 0;
}

void pool_destroy(struct pool *pool)
{
    for (size_t i = 0; i < pool->max_chunks; i++) {
        if (pool->chunks[i]) {
            munmap(pool->chunks[i], STRIDE);
        }
    }
    close(pool->fd);
    free(pool->chunks);
    pthread_mutex_destroy(&pool->lock);
}

static off_t data_offset(uint32_t slot)
{
    return (off_t)((slot >> POOL_CHUNK_BITS) * STRIDE +
                   (size_t)(slot % POOL_CHUNK_SLOTS) * SMEMV_WIRE_PAGE_SIZE);
}

static bool map_chunk(struct pool *pool, uint32_t slot)
{
    size_t i = slot >> POOL_CHUNK_BITS;
    void *chunk;

    if (i >= pool->max_chunks) {
        return false;
    }
    if (pool->chunks[i]) {
        return true;
    }
    chunk = mmap(NULL, STRIDE, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_NORESERVE, pool->fd, (off_t)(i * STRIDE));
    if (chunk == MAP_FAILED) {
        return false;
    }
    /* Guests' memory is nothing to find in a core file. */
    madvise(chunk, STRIDE, MADV_DONTDUMP);
    pool->chunks[i] = chunk;
    return true;
}

/* Gives a run of slots within one chunk its memory. */
static bool commit_run(struct pool *pool, uint32_t slot, uint32_t count)
{
    size_t bytes = (size_t)count * SMEMV_WIRE_PAGE_SIZE;
    off_t crc_offset;

    if (!map_chunk(pool, slot)) {
        return false;
    }
    crc_offset = (off_t)((slot >> POOL_CHUNK_BITS) * STRIDE + POOL_CHUNK_BYTES +
                         (slot % POOL_CHUNK_SLOTS) * sizeof(uint32_t));
    if (fallocate(pool->fd, 0, data_offset(slot), (off_t)bytes) ||
        fallocate(pool->fd, 0, crc_offset,
                  (off_t)(count * sizeof(uint32_t)))) {
        return false;
    }
    /* Only for speed, so a kernel that cannot is as good. */
    madvise(pool_data(pool, slot), bytes, MADV_POPULATE_WRITE);
    return true;
}

static void punch_run(struct pool *pool, uint32_t slot, uint32_t count)
{
    fallocate(pool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              data_offset(slot), (off_t)count * SMEMV_WIRE_PAGE_SIZE);
}

/* Slots from @slot on that lie in one chunk, at most @count and a STEP. */
static uint32_t run_in_chunk(uint32_t slot, uint32_t count)
{
    uint32_t left = POOL_CHUNK_SLOTS - slot % POOL_CHUNK_SLOTS;
    uint32_t run = count < left ? count : left;

    return run < STEP ? run : STEP;
}

/* Puts a slot at the head of a list; the lock is held. */
static void push(struct pool *pool, uint32_t *head, uint32_t slot)
{
    *pool_crc(pool, slot) = *head;
    *head = slot;
}

static uint32_t pop(struct pool *pool, uint32_t *head)
{
    uint32_t slot = *head;

    if (slot != POOL_NONE) {
        *head = *pool_crc(pool, slot);
    }
    return slot;
}

static uint32_t commit_holes(struct pool *pool, uint32_t slots)
{
    uint32_t done;

    for (done = 0; done < slots; done++) {
        uint32_t slot;
        bool committed;

        pthread_mutex_lock(&pool->lock);
        slot = pop(pool, &pool->hole);
        pthread_mutex_unlock(&pool->lock);
        if (slot == POOL_NONE) {
            break;
        }
        committed = commit_run(pool, slot, 1);
        pthread_mutex_lock(&pool->lock);
        push(pool, committed ? &pool->free : &pool->hole, slot);
        pool->free_count += committed;
        pthread_mutex_unlock(&pool->lock);
        if (!committed) {
            break;
        }
    }
    return done;
}

uint32_t pool_commit(struct pool *pool, uint32_t slots)
{
    uint32_t done = commit_holes(pool, slots);

    while (done < slots) {
        uint32_t run = run_in_chunk(pool->bound, slots - done);

        if (run > POOL_MAX_SLOTS - pool->bound ||
            !commit_run(pool, pool->bound, run)) {
            break;
        }
        pthread_mutex_lock(&pool->lock);
        pool->bound += run;
        pthread_mutex_unlock(&pool->lock);
        done += run;
    }
    return done;
}

uint32_t pool_release(struct pool *pool, uint32_t slots)
{
    uint32_t done, end, slot;

    /* Those that were never taken are in one piece at the end. */
    pthread_mutex_lock(&pool->lock);
    end = pool->bound;
    done = end - pool->fresh < slots ? end - pool->fresh : slots;
    pool->bound -= done;
    slot = pool->bound;
    pthread_mutex_unlock(&pool->lock);
    while (slot < end) {
        uint32_t run = run_in_chunk(slot, end - slot);

        punch_run(pool, slot, run);
        slot += run;
    }
    for (; done < slots; done++) {
        pthread_mutex_lock(&pool->lock);
        slot = pop(pool, &pool->free);
        pool->free_count -= slot != POOL_NONE;
        pthread_mutex_unlock(&pool->lock);
        if (slot == POOL_NONE) {
            break;
        }
        punch_run(pool, slot, 1);
        pthread_mutex_lock(&pool->lock);
        push(pool, &pool->hole, slot);
        pthread_mutex_unlock(&pool->lock);
    }
    return done;
}

bool pool_take(struct pool *pool, unsigned count, uint32_t slots[])
{
    bool enough;

    pthread_mutex_lock(&pool->lock);
    enough = count <= (uint64_t)pool->free_count + pool->bound - pool->fresh;
    for (unsigned i = 0; enough && i < count; i++) {
        if (pool->free_count) {
            slots[i] = pop(pool, &pool->free);
            pool->free_count--;
        } else {
            slots[i] = pool->fresh++;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return enough;
}

void pool_give(struct pool *pool, unsigned count, const uint32_t slots[])
{
    pthread_mutex_lock(&pool->lock);
    /* The last first, so that the next to take gets them in order. */
    for (unsigned i = count; i-- > 0;) {
        if (slots[i] != POOL_NONE) {
            push(pool, &pool->free, slots[i]);
            pool->free_count++;
        }
    }
    pthread_mutex_unlock(&pool->lock);
}
