/*
 * All sessions of the memserver, and what of its capacity they reserve.
 *
 * Opening and closing take as long as committing and freeing memory does, so
 * they are done without the lock; "changing" keeps others off that session
 * meanwhile. Order of locks: session.resize, registry.lock, session.lock.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "registry.h"

#include "lifetime.h"
#include "log.h"

#include <inttypes.h>
#include <string.h>
#include <systemd/sd-daemon.h>

void registry_init(struct registry *registry, uint64_t capacity,
                   unsigned max_sessions, unsigned workers, unsigned memory)
{
    *registry = (struct registry){ .capacity = capacity,
                                   .max_sessions = max_sessions,
                                   .workers = workers,
                                   .memory = memory };
    pthread_mutex_init(&registry->lock, NULL);
    pthread_cond_init(&registry->changed, NULL);
}

/* The lock is held. */
static void drop_reference(struct session *session)
{
    if (--session->references == 0) {
        session_free(session);
    }
}

/* What "systemctl status" shows. The lock is held. */
static void tell_status(const struct registry *registry)
{
    sd_notifyf(0, "STATUS=%u sessions have reserved %" PRIu64 " of %" PRIu64
               " pages", registry->count, registry->reserved,
               registry->capacity);
}

/* Puts a session into the list; the lock is held. */
static void put_in(struct registry *registry, struct session *session)
{
    session->references = 1;
    session->next = registry->sessions;
    registry->sessions = session;
    registry->count++;
    registry->reserved += session->record->reserve;
}

/* Takes a session out of the list; the lock is held. */
static void forget(struct registry *registry, struct session *session)
{
    struct session **place = &registry->sessions;

    while (*place != session) {
        place = &(*place)->next;
    }
    *place = session->next;
    registry->count--;
    registry->reserved -= session->record->reserve;
    drop_reference(session);
}

void registry_destroy(struct registry *registry)
{
    while (registry->sessions) {
        struct session *session = registry->sessions;

        session_leave(session);
        forget(registry, session);
    }
    pthread_cond_destroy(&registry->changed);
    pthread_mutex_destroy(&registry->lock);
}

/* The lock is held. */
static struct session *find(struct registry *registry, const uint8_t *id)
{
    struct session *session = registry->sessions;

    while (session &&
           memcmp(session->record->id, id, SMEMV_WIRE_ID_SIZE) != 0) {
        session = session->next;
    }
    return session;
}

/* Likewise, when nobody is opening or closing it any more. */
static struct session *find_settled(struct registry *registry,
                                    const uint8_t *id)
{
    struct session *session;

    while ((session = find(registry, id)) && session->changing) {
        pthread_cond_wait(&registry->changed, &registry->lock);
    }
    return session;
}

/* An OPEN of an id that is known. */
static struct verdict open_again(struct session *session,
                                 const struct smemv_wire_open *open)
{
    struct verdict verdict;
    bool same = session_token_is(session, open->token);

    pthread_rwlock_rdlock(&session->lock);
    same = same && session->record->reserve == open->reserve &&
           memcmp(record_holder(session->record), open->holder,
                  sizeof(open->holder)) == 0;
    verdict = verdict_ok(session->record->epoch);
    pthread_rwlock_unlock(&session->lock);
    if (!same) {
        return verdict_refuse(SMEMV_WIRE_EXISTS,
                              "a session with this id exists, with another "
                              "token, holder or reservation");
    }
    return verdict;
}

/* Is there room for @pages more? The lock is held. */
static struct verdict check_room(const struct registry *registry,
                                 uint64_t pages)
{
    /* Sessions from before may reserve more than the capacity is now. */
    uint64_t room = registry->capacity > registry->reserved
                        ? registry->capacity - registry->reserved : 0;

    if (pages > room) {
        return verdict_refuse(SMEMV_WIRE_NO_SPACE,
                              "%" PRIu64 " pages are asked for, but of the "
                              "capacity of %" PRIu64 " only %" PRIu64
                              " are not reserved", pages, registry->capacity,
                              room);
    }
    return verdict_ok(0);
}

/* Puts a new session into the list, still without memory. The lock is held. */
static struct verdict add(struct registry *registry,
                          const struct smemv_wire_open *open,
                          struct session **added)
{
    struct verdict verdict = check_room(registry, open->reserve);
    struct session *session;

    if (verdict.status != SMEMV_WIRE_OK) {
        return verdict;
    }
    if (registry->count >= registry->max_sessions) {
        return verdict_refuse(SMEMV_WIRE_NO_SPACE,
                              "there are %u sessions, which is all there may "
                              "be", registry->count);
    }
    session = session_new(open, registry->capacity, registry->workers,
                          registry->memory);
    if (!session) {
        return verdict_refuse(SMEMV_WIRE_NO_SPACE,
                              "the host has no memory for a session");
    }
    session->changing = true;
    put_in(registry, session);
    *added = session;
    return verdict;
}

void registry_adopt(struct registry *registry, struct session *session)
{
    pthread_mutex_lock(&registry->lock);
    put_in(registry, session);
    log_line(LOG_INFO, "session %s goes on in epoch %" PRIu64 ": %" PRIu64
             " of %" PRIu64 " pages", session->record->name,
             session->record->epoch, session->used, session->record->reserve);
    pthread_mutex_unlock(&registry->lock);
}

struct verdict registry_open(struct registry *registry,
                             const struct smemv_wire_open *open)
{
    struct session *session;
    struct verdict verdict;

    pthread_mutex_lock(&registry->lock);
    session = find_settled(registry, open->id);
    if (session) {
        verdict = open_again(session, open);
        pthread_mutex_unlock(&registry->lock);
        return verdict;
    }
    verdict = add(registry, open, &session);
    pthread_mutex_unlock(&registry->lock);
    if (verdict.status != SMEMV_WIRE_OK) {
        return verdict;
    }
    verdict = session_commit(session, open->flags & SMEMV_WIRE_OPEN_EARLY);
    pthread_mutex_lock(&registry->lock);
    session->changing = false;
    if (verdict.status != SMEMV_WIRE_OK) {
        forget(registry, session);
    } else {
        log_line(LOG_INFO, "session %s opened: %" PRIu64 " pages",
                 session->record->name, session->record->reserve);
        tell_status(registry);
    }
    pthread_cond_broadcast(&registry->changed);
    pthread_mutex_unlock(&registry->lock);
    return verdict;
}

struct verdict registry_close(struct registry *registry,
                              const struct smemv_wire_close *close,
                              bool any_token, const struct attachment *a)
{
    struct session *session;
    struct verdict verdict;

    pthread_mutex_lock(&registry->lock);
    session = find_settled(registry, close->id);
    if (!session) {
        pthread_mutex_unlock(&registry->lock);
        return verdict_ok(0);
    }
    if (!any_token && !session_token_is(session, close->token)) {
        pthread_mutex_unlock(&registry->lock);
        return verdict_refuse(SMEMV_WIRE_DENIED, "wrong token");
    }
    session->changing = true;
    pthread_mutex_unlock(&registry->lock);

    verdict = session_close(session, a->session == session ? a : NULL);

    pthread_mutex_lock(&registry->lock);
    session->changing = false;
    if (verdict.status == SMEMV_WIRE_OK) {
        log_line(LOG_INFO, "session %s closed", session->record->name);
        forget(registry, session);
        tell_status(registry);
    }
    pthread_cond_broadcast(&registry->changed);
    pthread_mutex_unlock(&registry->lock);
    return verdict;
}

static void account(struct registry *registry, uint64_t before, uint64_t after)
{
    pthread_mutex_lock(&registry->lock);
    registry->reserved = registry->reserved - before + after;
    tell_status(registry);
    pthread_mutex_unlock(&registry->lock);
}

/* What grows is accounted first, and what shrinks last. */
static struct verdict grow(struct registry *registry,
                           const struct attachment *a, uint64_t before,
                           uint64_t pages)
{
    struct verdict verdict;

    pthread_mutex_lock(&registry->lock);
    verdict = check_room(registry, pages - before);
    if (verdict.status == SMEMV_WIRE_OK) {
        registry->reserved += pages - before;
        tell_status(registry);
    }
    pthread_mutex_unlock(&registry->lock);
    if (verdict.status != SMEMV_WIRE_OK) {
        return verdict;
    }
    verdict = session_grow(a, pages);
    if (verdict.status != SMEMV_WIRE_OK) {
        account(registry, pages, before);
    }
    return verdict;
}

/* What an early OPEN left to be committed. */
static struct verdict commit_rest(struct registry *registry,
                                  struct session *session)
{
    uint64_t before = session->record->reserve;
    struct verdict verdict = session_commit_rest(session);

    if (verdict.status != SMEMV_WIRE_OK) {
        account(registry, before, session->record->reserve);
    }
    return verdict;
}

struct verdict registry_reserve(struct registry *registry,
                                const struct attachment *a, uint64_t pages)
{
    struct session *session = a->session;
    struct verdict verdict;

    pthread_mutex_lock(&session->resize);
    verdict = session_check_writer(a);
    if (verdict.status == SMEMV_WIRE_OK) {
        verdict = commit_rest(registry, session);
    }
    if (verdict.status == SMEMV_WIRE_OK) {
        uint64_t before = session->record->reserve;

        if (pages > before) {
            verdict = grow(registry, a, before, pages);
        } else {
            verdict = session_shrink(a, pages);
            if (verdict.status == SMEMV_WIRE_OK) {
                account(registry, before, pages);
            }
        }
    }
    pthread_mutex_unlock(&session->resize);
    return verdict;
}

struct verdict registry_attach(struct registry *registry,
                               const struct smemv_wire_attach *attach,
                               struct attachment *a)
{
    struct session *session;
    bool held;
    uint64_t epoch;

    pthread_mutex_lock(&registry->lock);
    session = find(registry, attach->id);
    if (!session || session->changing) {
        pthread_mutex_unlock(&registry->lock);
        return verdict_refuse(SMEMV_WIRE_NO_SESSION, "no such session");
    }
    if (!session_token_is(session, attach->token)) {
        pthread_mutex_unlock(&registry->lock);
        return verdict_refuse(SMEMV_WIRE_DENIED, "wrong token");
    }
    pthread_rwlock_rdlock(&session->lock);
    epoch = session->record->epoch;
    held = memcmp(attach->holder, record_holder(session->record),
                  sizeof(attach->holder)) == 0;
    pthread_rwlock_unlock(&session->lock);
    if (attach->epoch != epoch && !held) {
        pthread_mutex_unlock(&registry->lock);
        return verdict_refuse(SMEMV_WIRE_STALE,
                              "the session is in epoch %" PRIu64 ", not "
                              "%" PRIu64, epoch, attach->epoch);
    }
    session->references++;
    pthread_mutex_unlock(&registry->lock);

    registry_detach(registry, a);
    a->session = session;
    a->epoch = epoch;
    memcpy(a->holder, attach->holder, sizeof(a->holder));
    atomic_fetch_add(&session->connections, 1);
    return verdict_ok(epoch);
}

void registry_detach(struct registry *registry, struct attachment *a)
{
    if (!a->session) {
        return;
    }
    atomic_fetch_sub(&a->session->connections, 1);
    pthread_mutex_lock(&registry->lock);
    drop_reference(a->session);
    pthread_mutex_unlock(&registry->lock);
    a->session = NULL;
}
