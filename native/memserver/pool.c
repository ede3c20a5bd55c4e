/*
 * The memory of a session's pages: slots of 4 KiB in a memfd.
 *
 * The memfd is a row of chunks: 262144 slots, then a bit for each that says
 * whether there is memory behind it, then a checksum for each. The checksum of
 * a slot that is free links it to the next free one, so that free slots cost
 * nothing.
 *
 * The next process finds the slots that there are by those bits, and is told
 * by the index which of them are in use. A bit is set after its slot got
 * memory and cleared before it gives it back, so that what ends the process
 * in between leaves memory behind that no bit speaks of, and not the reverse.
 *
 * Memory is promised by a reservation, so it is committed then, by
 * fallocate(). The page tables are filled when slots are first taken, for a
 * whole request at once: half of the time that a fault a page would take, and
 * none of the time of a migration that waits for its reservation.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "pool.h"

#include "memory.h"
#include "persist.h"
#include "spinning.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Behind the slots: bits, checksums, and nothing up to a whole huge page. */
#define STRIDE (POOL_CHUNK_BYTES + (size_t)2 * 1024 * 1024)
_Static_assert(POOL_MAP_BYTES + POOL_CHUNK_SLOTS * sizeof(uint32_t) <=
                   STRIDE - POOL_CHUNK_BYTES,
               "bits and checksums have room behind the slots");

/* Slots committed in one go: 64 MiB. */
#define STEP UINT32_C(16384)

/* A pool in the memfd @fd, of which nothing is mapped yet. */
static int init_with(struct pool *pool, int fd, size_t max_chunks,
                     unsigned kind)
{
    *pool = (struct pool){ .fd = fd,
                           .kind = kind,
                           .max_chunks = max_chunks,
                           .free = POOL_NONE,
                           .hole = POOL_NONE };
    pool->chunks = calloc(max_chunks, sizeof(*pool->chunks));
    if (!pool->chunks) {
        return -ENOMEM;
    }
    spinning_init(&pool->lock);
    return 0;
}

static size_t chunks_for(uint64_t slots)
{
    return (slots + POOL_CHUNK_SLOTS - 1) / POOL_CHUNK_SLOTS;
}

int pool_init(struct pool *pool, uint64_t max_slots, unsigned kind)
{
    int fd = memfd_create("smemv-pages",
                          MFD_CLOEXEC | (kind & MEMORY_HUGE
                                             ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
    int error;

    if (fd < 0) {
        return -errno;
    }
    error = init_with(pool, fd, chunks_for(max_slots), kind);
    if (error) {
        close(fd);
    }
    return error;
}

static void unmap_all(struct pool *pool)
{
    for (size_t i = 0; i < pool->max_chunks; i++) {
        if (pool->chunks[i]) {
            munmap(pool->chunks[i], STRIDE);
        }
    }
    free(pool->chunks);
    pthread_mutex_destroy(&pool->lock);
}

void pool_destroy(struct pool *pool)
{
    unmap_all(pool);
    close(pool->fd);
}

void pool_free(struct pool *pool)
{
    /* It cannot fail: nothing seals the memfd. */
    if (ftruncate(pool->fd, 0)) {
        abort();
    }
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

/* The word with the bit of a slot. */
static uint64_t *map_word(const struct pool *pool, uint32_t slot)
{
    uint8_t *chunk = pool->chunks[slot >> POOL_CHUNK_BITS];

    return (uint64_t *)(void *)(chunk + POOL_CHUNK_BYTES) +
           slot % POOL_CHUNK_SLOTS / 64;
}

bool pool_has(const struct pool *pool, uint32_t slot)
{
    return slot < pool->bound && *map_word(pool, slot) >> slot % 64 & 1;
}

/* Says of a run of slots whether there is memory behind them. */
static void set_map(struct pool *pool, uint32_t slot, uint32_t count, bool has)
{
    for (uint32_t end = slot + count; slot < end; slot++) {
        uint64_t *word = map_word(pool, slot);
        uint64_t bit = UINT64_C(1) << slot % 64;

        persist_u64(word, has ? *word | bit : *word & ~bit);
    }
}

static void punch(struct pool *pool, off_t from, off_t bytes)
{
    fallocate(pool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from,
              bytes);
}

/* Gives a run of slots within one chunk its memory. */
static bool commit_run(struct pool *pool, uint32_t slot, uint32_t count)
{
    const size_t bytes = (size_t)count * SMEMV_WIRE_PAGE_SIZE;
    const size_t map = (slot >> POOL_CHUNK_BITS) * STRIDE + POOL_CHUNK_BYTES;
    const size_t crc = map + POOL_MAP_BYTES +
                       slot % POOL_CHUNK_SLOTS * sizeof(uint32_t);

    if (!map_chunk(pool, slot)) {
        return false;
    }
    /* The larger one last: if it fails, the kernel takes it back as a whole. */
    if (fallocate(pool->fd, 0, (off_t)map, POOL_MAP_BYTES) ||
        fallocate(pool->fd, 0, (off_t)crc, (off_t)(count * sizeof(uint32_t))) ||
        fallocate(pool->fd, 0, data_offset(slot), (off_t)bytes)) {
        return false;
    }
    if (pool->kind & MEMORY_LOCKED && mlock(pool_data(pool, slot), bytes)) {
        punch(pool, data_offset(slot), (off_t)bytes);
        return false;
    }
    set_map(pool, slot, count, true);
    return true;
}

static void punch_run(struct pool *pool, uint32_t slot, uint32_t count)
{
    set_map(pool, slot, count, false);
    punch(pool, data_offset(slot), (off_t)count * SMEMV_WIRE_PAGE_SIZE);
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

/* Fills the page tables of slots that were never touched. */
static void populate(struct pool *pool, uint32_t slot, uint32_t count)
{
    while (count) {
        uint32_t run = run_in_chunk(slot, count);

        /* Only for speed, so a kernel that cannot is as good. */
        madvise(pool_data(pool, slot), (size_t)run * SMEMV_WIRE_PAGE_SIZE,
                MADV_POPULATE_WRITE);
        slot += run;
        count -= run;
    }
}

bool pool_take(struct pool *pool, unsigned count, uint32_t slots[])
{
    unsigned reused = 0;
    bool enough;

    pthread_mutex_lock(&pool->lock);
    enough = count <= (uint64_t)pool->free_count + pool->bound - pool->fresh;
    for (unsigned i = 0; enough && i < count; i++) {
        if (pool->free_count) {
            slots[i] = pop(pool, &pool->free);
            pool->free_count--;
            reused++;
        } else {
            slots[i] = pool->fresh++;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    if (enough && reused < count) {
        populate(pool, slots[reused], count - reused);
    }
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

/* Maps what there is of the memfd. */
static bool map_chunks(struct pool *pool, size_t chunks)
{
    for (size_t i = 0; i < chunks; i++) {
        const size_t map = i * STRIDE + POOL_CHUNK_BYTES;

        /* The bits are read, so they are not to lie behind the file's end. */
        if (fallocate(pool->fd, 0, (off_t)map, POOL_MAP_BYTES) ||
            !map_chunk(pool, (uint32_t)(i << POOL_CHUNK_BITS))) {
            return false;
        }
    }
    return true;
}

/* Locks the slots that have memory; the others must not get any by that. */
static bool lock_all(struct pool *pool)
{
    uint32_t slot = 0;

    while (slot < pool->bound) {
        uint32_t limit = slot + run_in_chunk(slot, pool->bound - slot);
        uint32_t end = slot;

        while (end < limit && pool_has(pool, end)) {
            end++;
        }
        if (end == slot) {
            slot++;
            continue;
        }
        if (mlock(pool_data(pool, slot),
                  (size_t)(end - slot) * SMEMV_WIRE_PAGE_SIZE)) {
            return false;
        }
        slot = end;
    }
    return true;
}

int pool_restore(struct pool *pool, int fd, uint64_t max_slots,
                 unsigned kind)
{
    struct stat stat;
    size_t chunks, max_chunks;
    int error;

    if (fstat(fd, &stat)) {
        return -errno;
    }
    chunks = ((size_t)stat.st_size + STRIDE - 1) / STRIDE;
    if (chunks >= chunks_for(POOL_MAX_SLOTS)) {
        return -EFBIG;
    }
    max_chunks = chunks_for(max_slots);
    error = init_with(pool, fd, max_chunks > chunks ? max_chunks : chunks,
                      kind);
    if (error) {
        return error;
    }
    if (!map_chunks(pool, chunks)) {
        unmap_all(pool);
        return -ENOMEM;
    }
    pool->bound = (uint32_t)(chunks << POOL_CHUNK_BITS);
    while (pool->bound && !pool_has(pool, pool->bound - 1)) {
        pool->bound--;
    }
    if (pool->kind & MEMORY_LOCKED && !lock_all(pool)) {
        error = -errno;
        unmap_all(pool);
    }
    return error;
}

/*
 * Gives back memory behind the last slot that has a bit: it was being got or
 * given back when the process before this one ended.
 */
static void punch_unmarked(struct pool *pool)
{
    for (size_t i = pool->bound >> POOL_CHUNK_BITS;
         i < pool->max_chunks && pool->chunks[i]; i++) {
        uint32_t first = (uint32_t)(i << POOL_CHUNK_BITS);
        uint32_t slot = first > pool->bound ? first : pool->bound;

        punch(pool, data_offset(slot),
              (off_t)(first + POOL_CHUNK_SLOTS - slot) * SMEMV_WIRE_PAGE_SIZE);
    }
}

uint32_t pool_settle(struct pool *pool, const uint64_t used[])
{
    uint32_t slots = 0;

    punch_unmarked(pool);
    /* All that follows the last that is used, or has no memory, is as new. */
    pool->fresh = pool->bound;
    while (pool->fresh && !pool_bit(used, pool->fresh - 1) &&
           pool_has(pool, pool->fresh - 1)) {
        pool->fresh--;
    }
    slots = pool->bound - pool->fresh;
    for (uint32_t slot = pool->fresh; slot-- > 0;) {
        if (!pool_has(pool, slot)) {
            punch_run(pool, slot, 1);
            push(pool, &pool->hole, slot);
            continue;
        }
        slots++;
        if (!pool_bit(used, slot)) {
            push(pool, &pool->free, slot);
            pool->free_count++;
        }
    }
    return slots;
}
