/*
 * A session: the pages of one VM, who holds them, and how many there may be.
 *
 * A page is never changed in place. A PUT takes free slots, copies into them
 * and checks what it has there, all without the lock; under the lock it asks
 * the fence, points the index at them and gives back the slots that held the
 * pages before. So the lock is held for some stores only, a request of an
 * older holder cannot take effect behind a CLAIM, and whatever ends the
 * process, each page is as it was before the PUT or as after it.
 *
 * For that a session has 256 slots more than its reservation for each worker,
 * of which each works on one PUT at a time.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "session.h"

#include "persist.h"
#include "store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pages copied under one hold of the lock: some microseconds. */
#define GET_STEP 16

/* What the index may take: 3 % and a little; dense it takes 0.1 %. */
static size_t index_limit(uint64_t reserve)
{
    return (size_t)reserve * (SMEMV_WIRE_PAGE_SIZE / 32) + (1 << 20);
}

/* A session without memory yet. NULL: none for that either. */
static struct session *allocate(unsigned workers)
{
    struct session *session = calloc(1, sizeof(*session));
    pthread_rwlockattr_t attributes;

    if (!session) {
        return NULL;
    }
    session->spare = (uint64_t)workers * SMEMV_WIRE_MAX_PAGES;
    session->closed = true; /* until it has its memory */
    pthread_rwlockattr_init(&attributes);
    /* Or a stream of GETs would keep a PUT waiting for ever. */
    pthread_rwlockattr_setkind_np(
        &attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&session->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&session->resize, NULL);
    pthread_mutex_init(&session->work_lock, NULL);
    pthread_cond_init(&session->work_done, NULL);
    return session;
}

struct session *session_new(const struct smemv_wire_open *open,
                            uint64_t max_pages, unsigned workers)
{
    struct session *session = allocate(workers);

    if (!session) {
        return NULL;
    }
    if (radix_init(&session->index, index_limit(open->reserve))) {
        goto no_index;
    }
    if (pool_init(&session->pool, max_pages + session->spare)) {
        goto no_pool;
    }
    session->record_fd = record_create(open, session->pool.fd,
                                       session->index.arena.fd,
                                       &session->record);
    if (session->record_fd >= 0) {
        return session;
    }
    pool_destroy(&session->pool);
no_pool:
    radix_destroy(&session->index);
no_index:
    session_free(session);
    return NULL;
}

/* The memory stays where it is open elsewhere. */
static void let_go(struct session *session)
{
    radix_destroy(&session->index);
    pool_destroy(&session->pool);
}

/* Frees the memory, wherever it is open. */
static void free_memory(struct session *session)
{
    persist_u64(&session->record->state, RECORD_CLOSED);
    store_remove(session->record->id);
    arena_free_all(&session->index.arena);
    pool_free(&session->pool);
    let_go(session);
}

void session_free(struct session *session)
{
    pthread_cond_destroy(&session->work_done);
    pthread_mutex_destroy(&session->work_lock);
    pthread_mutex_destroy(&session->resize);
    pthread_rwlock_destroy(&session->lock);
    if (session->record) {
        record_unmap(session->record);
    }
    free(session);
}

/* The record stays mapped, so its descriptor is not needed any more. */
static void close_record(struct session *session)
{
    close(session->record_fd);
    session->record_fd = -1;
}

struct verdict session_commit(struct session *session)
{
    uint32_t slots = (uint32_t)(session->record->reserve + session->spare);
    const int fds[STORE_FDS] = { session->record_fd, session->pool.fd,
                                 session->index.arena.fd };
    struct verdict verdict = verdict_ok(session->record->epoch);

    if (pool_commit(&session->pool, slots) < slots) {
        verdict = verdict_refuse(SMEMV_WIRE_NO_SPACE, "the host has no memory "
                                 "for the reservation");
    } else if (!store_add(session->record->id, fds)) {
        verdict = verdict_refuse(SMEMV_WIRE_INTERNAL, "the service manager "
                                 "does not answer, which is to keep the "
                                 "session when this process ends");
    }
    close_record(session);
    if (verdict.status != SMEMV_WIRE_OK) {
        free_memory(session);
        return verdict;
    }
    pthread_rwlock_wrlock(&session->lock);
    session->closed = false;
    pthread_rwlock_unlock(&session->lock);
    return verdict;
}

/* What radix_restore() finds out about the pool's slots. */
struct usage {
    const struct pool *pool;
    uint64_t *used; /* a bit for each slot */
    uint64_t count;
};

static bool use_slot(void *context, uint32_t slot)
{
    struct usage *usage = context;

    if (!pool_has(usage->pool, slot) || pool_bit(usage->used, slot)) {
        return false;
    }
    pool_set_bit(usage->used, slot);
    usage->count++;
    return true;
}

/* Makes the slots as many as are reserved, whatever was under way. */
static const char *fit(struct session *session, uint32_t slots)
{
    uint64_t wanted = session->record->reserve + session->spare;

    if (slots > wanted) {
        pool_release(&session->pool, (uint32_t)(slots - wanted));
    } else if (pool_commit(&session->pool, (uint32_t)(wanted - slots)) <
               wanted - slots) {
        return "the host has no memory for its reservation";
    }
    return NULL;
}

/* The index and then the pool, of which the files are mapped already. */
static const char *restore_pages(struct session *session, int index_fd)
{
    struct usage usage = { .pool = &session->pool };
    const char *wrong;

    usage.used = calloc(session->pool.bound / 64 + 1, sizeof(*usage.used));
    if (!usage.used) {
        return "there is no memory to find its slots";
    }
    wrong = radix_restore(&session->index, index_fd,
                          index_limit(session->record->reserve), use_slot,
                          &usage);
    if (!wrong) {
        session->used = usage.count;
        wrong = usage.count > session->record->reserve
                    ? "it has more pages than it reserved"
                    : fit(session, pool_settle(&session->pool, usage.used));
        if (wrong) {
            radix_destroy(&session->index);
        }
    }
    free(usage.used);
    return wrong;
}

static bool has_inode(int fd, uint64_t inode)
{
    struct stat stat;

    return fstat(fd, &stat) == 0 && stat.st_ino == inode;
}

static const char *restore(struct session *session, int record_fd,
                           const int fds[2], uint64_t max_pages)
{
    const char *wrong = record_find(record_fd, &session->record);
    unsigned pages;

    if (wrong) {
        return wrong;
    }
    pages = !has_inode(fds[0], session->record->pages_inode);
    if (!has_inode(fds[pages], session->record->pages_inode) ||
        !has_inode(fds[!pages], session->record->index_inode)) {
        return "its pages or its index are another's";
    }
    if (session->record->reserve > POOL_MAX_SLOTS - session->spare) {
        return "its reservation cannot be";
    }
    if (max_pages < session->record->reserve) {
        max_pages = session->record->reserve;
    }
    if (pool_restore(&session->pool, fds[pages], max_pages + session->spare)) {
        return "its pages cannot be mapped";
    }
    wrong = restore_pages(session, fds[!pages]);
    if (wrong) {
        pool_destroy(&session->pool);
    }
    return wrong;
}

struct session *session_restore(int record_fd, const int fds[2],
                                uint64_t max_pages, unsigned workers,
                                const char **wrong)
{
    struct session *session = allocate(workers);

    if (!session) {
        *wrong = "there is no memory for it";
        return NULL;
    }
    *wrong = restore(session, record_fd, fds, max_pages);
    if (*wrong) {
        session_free(session);
        return NULL;
    }
    session->record_fd = record_fd;
    close_record(session);
    session->closed = false;
    return session;
}

bool session_token_is(const struct session *session,
                      const uint8_t token[SMEMV_WIRE_TOKEN_SIZE])
{
    volatile uint8_t difference = 0;

    for (size_t i = 0; i < SMEMV_WIRE_TOKEN_SIZE; i++) {
        difference |= session->record->token[i] ^ token[i];
    }
    return difference == 0;
}

static bool holds(const struct attachment *a)
{
    return memcmp(a->holder, record_holder(a->session->record),
                  sizeof(a->holder)) == 0;
}

static struct verdict refuse_closed(void)
{
    return verdict_refuse(SMEMV_WIRE_NO_SESSION, "the session was closed");
}

/* May the attachment write? The lock is held. */
static struct verdict check_writer(const struct attachment *a)
{
    if (a->session->closed) {
        return refuse_closed();
    }
    if (!holds(a)) {
        return verdict_refuse(SMEMV_WIRE_STALE,
                              "another main host holds the session, which is "
                              "in epoch %" PRIu64, a->session->record->epoch);
    }
    return verdict_ok(0);
}

static struct verdict check_reader(const struct attachment *a)
{
    if (!a->session->closed && a->epoch == a->session->record->epoch) {
        return verdict_ok(0);
    }
    return check_writer(a);
}

struct verdict session_check_writer(const struct attachment *a)
{
    struct verdict verdict;

    pthread_rwlock_rdlock(&a->session->lock);
    verdict = check_writer(a);
    pthread_rwlock_unlock(&a->session->lock);
    return verdict;
}

/* A PUT begins, and its slots are safe from a CLOSE until it ends. */
static struct verdict begin_work(const struct attachment *a)
{
    struct verdict verdict;

    pthread_rwlock_rdlock(&a->session->lock);
    verdict = check_writer(a);
    if (verdict.status == SMEMV_WIRE_OK) {
        pthread_mutex_lock(&a->session->work_lock);
        a->session->working++;
        pthread_mutex_unlock(&a->session->work_lock);
    }
    pthread_rwlock_unlock(&a->session->lock);
    return verdict;
}

static void end_work(struct session *session)
{
    pthread_mutex_lock(&session->work_lock);
    session->working--;
    pthread_cond_broadcast(&session->work_done);
    pthread_mutex_unlock(&session->work_lock);
}

/*
 * Copies a PUT's pages into slots that nothing points at yet. (To read them
 * from the socket straight into the slots was tried: 5 % less processor time.
 * What costs is writing to memory that is in no cache, whoever does it.)
 */
static struct verdict fill_slots(struct session *session, uint64_t page,
                                 unsigned count, const uint32_t slots[],
                                 const uint8_t *entries, const uint8_t *data)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t *slot = pool_data(&session->pool, slots[i]);
        struct smemv_wire_entry entry;
        const char *wrong;

        wrong = smemv_wire_get_entry(entries + i * SMEMV_WIRE_ENTRY_SIZE,
                                     &entry);
        if (!wrong && !(entry.flags & SMEMV_WIRE_ENTRY_PRESENT)) {
            wrong = "a page of a PUT that is not present";
        }
        if (wrong) {
            return verdict_refuse(SMEMV_WIRE_BAD_REQUEST, "%s", wrong);
        }
        memcpy(slot, data + (size_t)i * SMEMV_WIRE_PAGE_SIZE,
               SMEMV_WIRE_PAGE_SIZE);
        if (smemv_wire_crc32c(slot, SMEMV_WIRE_PAGE_SIZE) != entry.crc) {
            return verdict_refuse(SMEMV_WIRE_CHECKSUM,
                                  "the page at 0x%" PRIx64 " does not match "
                                  "its checksum", (page + i) *
                                  SMEMV_WIRE_PAGE_SIZE);
        }
        *pool_crc(&session->pool, slots[i]) = entry.crc;
    }
    return verdict_ok(0);
}

/* Points the index at filled slots. The lock is held for writing. */
static struct verdict store(const struct attachment *a, uint64_t page,
                            unsigned count, const uint32_t slots[],
                            uint32_t old[])
{
    struct session *session = a->session;
    struct verdict verdict = check_writer(a);
    unsigned added = 0;

    if (verdict.status != SMEMV_WIRE_OK) {
        return verdict;
    }
    radix_find(&session->index, page, count, old);
    for (unsigned i = 0; i < count; i++) {
        added += old[i] == RADIX_NONE;
    }
    if (added > session->record->reserve - session->used) {
        return verdict_refuse(SMEMV_WIRE_RESERVATION,
                              "%u new pages are beyond the reservation: "
                              "%" PRIu64 " of %" PRIu64 " pages are stored",
                              added, session->used, session->record->reserve);
    }
    if (added && !radix_prepare(&session->index)) {
        return verdict_refuse(SMEMV_WIRE_NO_SPACE,
                              "no memory for the session's index, which has "
                              "%zu bytes", radix_bytes(&session->index));
    }
    radix_store(&session->index, page, count, slots, old);
    session->used += added;
    return verdict_ok(0);
}

struct verdict session_put(const struct attachment *a, uint64_t page,
                           unsigned count, const uint8_t *entries,
                           const uint8_t *data)
{
    struct session *session = a->session;
    uint32_t slots[SMEMV_WIRE_MAX_PAGES];
    uint32_t old[SMEMV_WIRE_MAX_PAGES];
    struct verdict verdict = begin_work(a);

    if (verdict.status != SMEMV_WIRE_OK) {
        return verdict;
    }
    if (!pool_take(&session->pool, count, slots)) {
        end_work(session);
        return verdict_refuse(SMEMV_WIRE_INTERNAL, "no slot is free");
    }
    verdict = fill_slots(session, page, count, slots, entries, data);
    if (verdict.status == SMEMV_WIRE_OK) {
        pthread_rwlock_wrlock(&session->lock);
        verdict = store(a, page, count, slots, old);
        pthread_rwlock_unlock(&session->lock);
    }
    pool_give(&session->pool, count,
              verdict.status == SMEMV_WIRE_OK ? old : slots);
    end_work(session);
    return verdict;
}

struct verdict session_get(const struct attachment *a, uint64_t page,
                           unsigned count, uint8_t *entries, uint8_t *data)
{
    struct session *session = a->session;
    unsigned found = 0;

    for (unsigned done = 0; done < count; done += GET_STEP) {
        unsigned step = count - done < GET_STEP ? count - done : GET_STEP;
        uint32_t slots[GET_STEP];
        struct verdict verdict;

        pthread_rwlock_rdlock(&session->lock);
        verdict = check_reader(a);
        if (verdict.status != SMEMV_WIRE_OK) {
            pthread_rwlock_unlock(&session->lock);
            return verdict;
        }
        radix_find(&session->index, page + done, step, slots);
        for (unsigned i = 0; i < step; i++) {
            struct smemv_wire_entry entry = { 0 };

            if (slots[i] != RADIX_NONE) {
                entry.flags = SMEMV_WIRE_ENTRY_PRESENT;
                entry.crc = *pool_crc(&session->pool, slots[i]);
                memcpy(data + (size_t)found * SMEMV_WIRE_PAGE_SIZE,
                       pool_data(&session->pool, slots[i]),
                       SMEMV_WIRE_PAGE_SIZE);
                found++;
            }
            smemv_wire_put_entry(entries + (done + i) * SMEMV_WIRE_ENTRY_SIZE,
                                 &entry);
        }
        pthread_rwlock_unlock(&session->lock);
    }
    return verdict_ok(found);
}

struct verdict session_drop(const struct attachment *a, uint64_t page,
                            unsigned count)
{
    struct session *session = a->session;
    uint32_t old[SMEMV_WIRE_MAX_PAGES];
    struct verdict verdict;
    unsigned dropped = 0;

    pthread_rwlock_wrlock(&session->lock);
    verdict = check_writer(a);
    if (verdict.status == SMEMV_WIRE_OK) {
        radix_remove(&session->index, page, count, old);
        for (unsigned i = 0; i < count; i++) {
            dropped += old[i] != RADIX_NONE;
        }
        session->used -= dropped;
        verdict.value = dropped;
        /* Under the lock, or a CLOSE could free the pool meanwhile. */
        pool_give(&session->pool, count, old);
    }
    pthread_rwlock_unlock(&session->lock);
    return verdict;
}

struct verdict session_claim(const struct attachment *a, uint64_t expected)
{
    struct session *session = a->session;
    struct record *record = session->record;
    struct verdict verdict;

    pthread_rwlock_wrlock(&session->lock);
    if (session->closed) {
        verdict = refuse_closed();
    } else if (record->epoch == expected + 1 && holds(a)) {
        /* This very claim was made before, and its answer lost. */
        verdict = verdict_ok(record->epoch);
    } else if (record->epoch != expected) {
        verdict = verdict_refuse(SMEMV_WIRE_STALE,
                                 "the session is in epoch %" PRIu64
                                 ", not %" PRIu64, record->epoch, expected);
    } else {
        record_claim(record, a->holder);
        verdict = verdict_ok(record->epoch);
    }
    pthread_rwlock_unlock(&session->lock);
    return verdict;
}

struct verdict session_grow(const struct attachment *a, uint64_t reserve)
{
    struct session *session = a->session;
    uint32_t slots = (uint32_t)(reserve - session->record->reserve);
    uint32_t committed = pool_commit(&session->pool, slots);
    struct verdict verdict;

    if (committed < slots) {
        pool_release(&session->pool, committed);
        return verdict_refuse(SMEMV_WIRE_NO_SPACE,
                              "the host has no memory for the reservation");
    }
    pthread_rwlock_wrlock(&session->lock);
    verdict = check_writer(a);
    if (verdict.status == SMEMV_WIRE_OK &&
        arena_set_limit(&session->index.arena, index_limit(reserve))) {
        verdict = verdict_refuse(SMEMV_WIRE_NO_SPACE,
                                 "no room for the session's index");
    }
    if (verdict.status == SMEMV_WIRE_OK) {
        persist_u64(&session->record->reserve, reserve);
        verdict.value = reserve;
    }
    pthread_rwlock_unlock(&session->lock);
    if (verdict.status != SMEMV_WIRE_OK) {
        pool_release(&session->pool, slots);
    }
    return verdict;
}

struct verdict session_shrink(const struct attachment *a, uint64_t reserve)
{
    struct session *session = a->session;
    struct verdict verdict;
    uint64_t before;

    pthread_rwlock_wrlock(&session->lock);
    before = session->record->reserve;
    verdict = check_writer(a);
    if (verdict.status == SMEMV_WIRE_OK && session->used > reserve) {
        verdict = verdict_refuse(SMEMV_WIRE_RESERVATION,
                                 "%" PRIu64 " pages are stored, more than "
                                 "%" PRIu64, session->used, reserve);
    }
    if (verdict.status == SMEMV_WIRE_OK) {
        persist_u64(&session->record->reserve, reserve);
        verdict.value = reserve;
    }
    pthread_rwlock_unlock(&session->lock);
    if (verdict.status == SMEMV_WIRE_OK) {
        pool_release(&session->pool, (uint32_t)(before - reserve));
    }
    return verdict;
}

struct verdict session_close(struct session *session,
                             const struct attachment *a)
{
    struct verdict verdict = verdict_ok(0);

    pthread_mutex_lock(&session->resize);
    pthread_rwlock_wrlock(&session->lock);
    if (session->closed) {
        verdict = refuse_closed();
    } else if (a) {
        verdict = check_writer(a);
    }
    if (verdict.status == SMEMV_WIRE_OK) {
        session->closed = true;
    }
    pthread_rwlock_unlock(&session->lock);
    if (verdict.status == SMEMV_WIRE_OK) {
        pthread_mutex_lock(&session->work_lock);
        while (session->working) {
            pthread_cond_wait(&session->work_done, &session->work_lock);
        }
        pthread_mutex_unlock(&session->work_lock);
        free_memory(session);
    }
    pthread_mutex_unlock(&session->resize);
    return verdict;
}

void session_leave(struct session *session)
{
    session->closed = true;
    let_go(session);
}
