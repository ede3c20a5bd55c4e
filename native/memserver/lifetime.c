/*
 * How a session begins, goes on in the next process, and ends.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "lifetime.h"

#include "persist.h"
#include "spinning.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

size_t session_index_limit(uint64_t reserve)
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
    spinning_init(&session->writer);
    spinning_init(&session->commit);
    pthread_mutex_init(&session->resize, NULL);
    pthread_mutex_init(&session->work_lock, NULL);
    pthread_cond_init(&session->work_done, NULL);
    return session;
}

struct session *session_new(const struct smemv_wire_open *open,
                            uint64_t max_pages, unsigned workers,
                            unsigned memory)
{
    struct session *session = allocate(workers);

    if (!session) {
        return NULL;
    }
    if (radix_init(&session->index, session_index_limit(open->reserve))) {
        goto no_index;
    }
    if (pool_init(&session->pool, max_pages + session->spare, memory)) {
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

void session_free_memory(struct session *session)
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
    pthread_mutex_destroy(&session->commit);
    pthread_mutex_destroy(&session->writer);
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

struct verdict session_commit(struct session *session, bool early)
{
    uint32_t all = (uint32_t)(session->record->reserve + session->spare);
    uint32_t slots = early ? (uint32_t)session->spare : all;
    const int fds[STORE_FDS] = { session->record_fd, session->pool.fd,
                                 session->index.arena.fd };
    struct verdict verdict = verdict_ok(session->record->epoch);

    if (pool_commit(&session->pool, slots) < slots) {
        verdict = verdict_no_memory();
    } else if (!store_add(session->record->id, fds)) {
        verdict = verdict_refuse(SMEMV_WIRE_INTERNAL, "the service manager "
                                 "does not answer, which is to keep the "
                                 "session when this process ends");
    }
    close_record(session);
    if (verdict.status != SMEMV_WIRE_OK) {
        session_free_memory(session);
        return verdict;
    }
    session->lacking = all - slots;
    session->closed = false;
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
                          session_index_limit(session->record->reserve), use_slot,
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
                           const int fds[2], uint64_t max_pages,
                           unsigned memory)
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
    if (pool_restore(&session->pool, fds[pages], max_pages + session->spare,
                     memory)) {
        return "its pages cannot be mapped, or not be locked";
    }
    wrong = restore_pages(session, fds[!pages]);
    if (wrong) {
        pool_destroy(&session->pool);
    }
    return wrong;
}

struct session *session_restore(int record_fd, const int fds[2],
                                uint64_t max_pages, unsigned workers,
                                unsigned memory, const char **wrong)
{
    struct session *session = allocate(workers);

    if (!session) {
        *wrong = "there is no memory for it";
        return NULL;
    }
    *wrong = restore(session, record_fd, fds, max_pages, memory);
    if (*wrong) {
        session_free(session);
        return NULL;
    }
    session->record_fd = record_fd;
    close_record(session);
    session->closed = false;
    return session;
}

void session_leave(struct session *session)
{
    session->closed = true;
    let_go(session);
}
