/*
 * A session: the pages of one VM, who holds them, and how many there may be.
 *
 * A page is never changed in place. A PUT takes free slots, checks what came
 * and copies it into them, all without the lock; under the lock it asks
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

#include "lifetime.h"
#include "persist.h"
#include "stream.h"

#include <inttypes.h>
#include <string.h>

/* Pages copied under one hold of the lock: some microseconds. */
#define GET_STEP 16

/* Slots committed while PUTs may wait for them: a millisecond. */
#define COMMIT_STEP 1024

void session_lock(struct session *session)
{
    pthread_mutex_lock(&session->writer);
    pthread_rwlock_wrlock(&session->lock);
}

void session_unlock(struct session *session)
{
    pthread_rwlock_unlock(&session->lock);
    pthread_mutex_unlock(&session->writer);
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

static void end_work(struct session *session)
{
    if (atomic_fetch_sub(&session->working, 1) == 1 && session->closed) {
        pthread_mutex_lock(&session->work_lock);
        pthread_cond_broadcast(&session->work_done);
        pthread_mutex_unlock(&session->work_lock);
    }
}

/*
 * A PUT begins, and its slots are safe from a CLOSE until it ends. False: the
 * session was closed. One of the two sees the other, as each writes before it
 * reads.
 */
static bool begin_work(struct session *session)
{
    atomic_fetch_add(&session->working, 1);
    if (session->closed) {
        end_work(session);
        return false;
    }
    return true;
}

/* Commits some of what lacks. False: nothing does, or there is no memory. */
static bool commit_step(struct session *session)
{
    uint32_t step, done;

    pthread_mutex_lock(&session->commit);
    step = session->lacking < COMMIT_STEP ? session->lacking : COMMIT_STEP;
    done = pool_commit(&session->pool, step);
    session->lacking -= done;
    pthread_mutex_unlock(&session->commit);
    return step && done == step;
}

/* Slots for a PUT, which commits them itself if it comes that early. */
static struct verdict take_slots(struct session *session, unsigned count,
                                 uint32_t slots[])
{
    bool more = true;

    while (!pool_take(&session->pool, count, slots)) {
        if (!more) {
            return session->lacking ? verdict_no_memory()
                                    : verdict_refuse(SMEMV_WIRE_INTERNAL,
                                                     "no slot is free");
        }
        /* Where another has just committed the last, there is one more try. */
        more = commit_step(session);
    }
    return verdict_ok(0);
}

/*
 * Checks a PUT's pages, and copies them into slots that nothing points at yet.
 * (To read them from the socket straight into the slots was tried: 5 % less
 * processor time. What costs is writing to memory that is in no cache.)
 */
static struct verdict fill_slots(struct session *session, uint64_t page,
                                 unsigned count, const uint32_t slots[],
                                 const uint8_t *entries, const uint8_t *data)
{
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *from = data + (size_t)i * SMEMV_WIRE_PAGE_SIZE;
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
        if (smemv_wire_crc32c(from, SMEMV_WIRE_PAGE_SIZE) != entry.crc) {
            return verdict_refuse(SMEMV_WIRE_CHECKSUM,
                                  "the page at 0x%" PRIx64 " does not match "
                                  "its checksum", (page + i) *
                                  SMEMV_WIRE_PAGE_SIZE);
        }
        stream_page(pool_data(&session->pool, slots[i]), from);
        *pool_crc(&session->pool, slots[i]) = entry.crc;
    }
    stream_end();
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
    struct verdict verdict;

    if (!begin_work(session)) {
        return refuse_closed();
    }
    verdict = take_slots(session, count, slots);
    if (verdict.status != SMEMV_WIRE_OK) {
        end_work(session);
        return verdict;
    }
    verdict = fill_slots(session, page, count, slots, entries, data);
    if (verdict.status == SMEMV_WIRE_OK) {
        session_lock(session);
        verdict = store(a, page, count, slots, old);
        session_unlock(session);
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

    session_lock(session);
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
    session_unlock(session);
    return verdict;
}

struct verdict session_claim(const struct attachment *a, uint64_t expected)
{
    struct session *session = a->session;
    struct record *record = session->record;
    struct verdict verdict;

    session_lock(session);
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
    session_unlock(session);
    return verdict;
}

struct verdict session_commit_rest(struct session *session)
{
    struct record *record = session->record;
    uint64_t there;
    uint32_t lacking;

    while (commit_step(session)) {
        /* Step by step, as PUTs want some between. */
    }
    /* Not under the hands of a PUT that commits a step. */
    pthread_mutex_lock(&session->commit);
    lacking = atomic_exchange(&session->lacking, 0);
    pthread_mutex_unlock(&session->commit);
    if (!lacking) {
        return verdict_ok(record->reserve);
    }
    session_lock(session);
    there = lacking < record->reserve ? record->reserve - lacking : 0;
    persist_u64(&record->reserve, there > session->used ? there
                                                        : session->used);
    session_unlock(session);
    return verdict_no_memory();
}

struct verdict session_grow(const struct attachment *a, uint64_t reserve)
{
    struct session *session = a->session;
    uint32_t slots = (uint32_t)(reserve - session->record->reserve);
    uint32_t committed = pool_commit(&session->pool, slots);
    struct verdict verdict;

    if (committed < slots) {
        pool_release(&session->pool, committed);
        return verdict_no_memory();
    }
    session_lock(session);
    verdict = check_writer(a);
    if (verdict.status == SMEMV_WIRE_OK &&
        arena_set_limit(&session->index.arena, session_index_limit(reserve))) {
        verdict = verdict_refuse(SMEMV_WIRE_NO_SPACE,
                                 "no room for the session's index");
    }
    if (verdict.status == SMEMV_WIRE_OK) {
        persist_u64(&session->record->reserve, reserve);
        verdict.value = reserve;
    }
    session_unlock(session);
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

    session_lock(session);
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
    session_unlock(session);
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
    session_lock(session);
    if (session->closed) {
        verdict = refuse_closed();
    } else if (a) {
        verdict = check_writer(a);
    }
    if (verdict.status == SMEMV_WIRE_OK) {
        session->closed = true;
    }
    session_unlock(session);
    if (verdict.status == SMEMV_WIRE_OK) {
        pthread_mutex_lock(&session->work_lock);
        while (session->working) {
            pthread_cond_wait(&session->work_done, &session->work_lock);
        }
        pthread_mutex_unlock(&session->work_lock);
        session_free_memory(session);
    }
    pthread_mutex_unlock(&session->resize);
    return verdict;
}
