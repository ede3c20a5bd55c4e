/*
 * Sender: pages of a split migration on their way to one sub-host.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/migration.h"
#include "client.h"
#include "page-map.h"
#include "sender.h"

/* Batches sent whose acknowledgements are not awaited yet. */
#define N_UNACKNOWLEDGED 8

typedef struct SmemvBatch {
    size_t n;
    SmemvPut puts[SMEMV_BATCH];
    uint8_t data[SMEMV_BATCH][SMEMV_PAGE_SIZE];
} SmemvBatch;

struct SmemvSender {
    SmemvConn conn;
    QemuThread thread;
    QemuSemaphore *room;

    QemuMutex lock;              /* guards what follows */
    QemuCond changed;
    uint64_t filled;             /* batches given to the thread */
    uint64_t sent;               /* of these, written to the connection */
    uint64_t acknowledged;       /* of these, stored by the memserver */
    uint64_t backlog;            /* pages in batches given and not stored */
    bool stop;
    Error *err;

    unsigned n_batches;
    SmemvBatch batches[];        /* as many as can wait to be sent */
};

static void *sender_thread(void *opaque)
{
    SmemvSender *s = opaque;
    size_t requests[N_UNACKNOWLEDGED] = { 0 };
    size_t pages[N_UNACKNOWLEDGED] = { 0 };
    Error *err = NULL;
    int ret = 0;

    qemu_mutex_lock(&s->lock);
    while (!s->stop && !ret) {
        bool idle = s->sent == s->filled;

        if (idle && s->acknowledged == s->sent) {
            qemu_cond_wait(&s->changed, &s->lock);
        } else if (idle || s->sent - s->acknowledged == N_UNACKNOWLEDGED) {
            size_t n = requests[s->acknowledged % N_UNACKNOWLEDGED];

            qemu_mutex_unlock(&s->lock);
            ret = smemv_conn_await(&s->conn, n, &err);
            qemu_mutex_lock(&s->lock);
            if (!ret) {
                s->backlog -= pages[s->acknowledged % N_UNACKNOWLEDGED];
                s->acknowledged++;
            }
            qemu_cond_broadcast(&s->changed);
        } else {
            SmemvBatch *b = &s->batches[s->sent % s->n_batches];
            size_t *n = &requests[s->sent % N_UNACKNOWLEDGED];

            qemu_mutex_unlock(&s->lock);
            *n = 0;
            ret = smemv_conn_send_puts(&s->conn, b->puts, b->n, n, &err);
            qemu_mutex_lock(&s->lock);
            pages[s->sent % N_UNACKNOWLEDGED] = b->n;
            b->n = 0;
            if (s->filled - s->sent == s->n_batches) {
                qemu_sem_post(s->room);
            }
            s->sent += !ret;
            qemu_cond_broadcast(&s->changed);
        }
    }
    s->err = err;
    qemu_sem_post(s->room);
    qemu_cond_broadcast(&s->changed);
    qemu_mutex_unlock(&s->lock);
    return NULL;
}

SmemvSender *smemv_sender_start(SmemvSession *session, SmemvPeer *peer,
                                unsigned n_batches, QemuSemaphore *room,
                                Error **errp)
{
    SmemvSender *s = g_malloc0(sizeof(*s) + n_batches * sizeof(s->batches[0]));

    s->n_batches = n_batches;
    s->room = room;
    smemv_conn_init(&s->conn, session, peer);
    if (smemv_conn_attach(&s->conn, errp)) {
        smemv_conn_close(&s->conn);
        g_free(s);
        return NULL;
    }
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->changed);
    qemu_thread_create(&s->thread, "smemv-send", sender_thread, s,
                       QEMU_THREAD_JOINABLE);
    return s;
}

/*
 * Wait, with the lock held, for the thread to get on. Looks up now and then,
 * as a migration can be cancelled while a memserver does not answer.
 */
static bool sender_wait(SmemvSender *s, Error **errp)
{
    if (!s->err && !migration_is_running()) {
        error_setg(errp, "the migration was cancelled");
        return false;
    }
    if (s->err) {
        error_propagate(errp, error_copy(s->err));
        return false;
    }
    qemu_cond_timedwait(&s->changed, &s->lock, SMEMV_LOOK_MS);
    return true;
}

bool smemv_sender_put(SmemvSender *s, uint64_t page, const void *data,
                      uint64_t version, Error **errp)
{
    SmemvBatch *b;
    SmemvPut *put;

    /* Only this thread fills, so the batch is its own once it is free. */
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        while (s->filled - s->sent == s->n_batches) {
            if (!sender_wait(s, errp)) {
                return false;
            }
        }
        b = &s->batches[s->filled % s->n_batches];
    }
    put = &b->puts[b->n];
    put->page = page;
    put->version = version;
    put->data = memcpy(b->data[b->n], data, SMEMV_PAGE_SIZE);
    /* Now, while the processor has it at hand; a sealed page's comes later. */
    put->crc = s->conn.session->seal ?
               0 : smemv_wire_crc32c(put->data, SMEMV_PAGE_SIZE);
    if (++b->n == SMEMV_BATCH) {
        smemv_sender_flush(s);
    }
    return true;
}

bool smemv_sender_has_room(SmemvSender *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return s->err || s->filled - s->sent < s->n_batches;
}

void smemv_sender_flush(SmemvSender *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    if (s->filled - s->sent < s->n_batches &&
        s->batches[s->filled % s->n_batches].n) {
        s->backlog += s->batches[s->filled % s->n_batches].n;
        s->filled++;
        qemu_cond_broadcast(&s->changed);
    }
}

uint64_t smemv_sender_backlog(SmemvSender *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return s->backlog * SMEMV_PAGE_SIZE;
}

bool smemv_sender_drain(SmemvSender *s, Error **errp)
{
    QEMU_LOCK_GUARD(&s->lock);
    return !s->backlog || sender_wait(s, errp);
}

bool smemv_sender_barrier(SmemvSender *s, Error **errp)
{
    smemv_sender_flush(s);
    QEMU_LOCK_GUARD(&s->lock);
    while (s->acknowledged != s->filled) {
        if (!sender_wait(s, errp)) {
            return false;
        }
    }
    return true;
}

void smemv_sender_stop(SmemvSender *s)
{
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        s->stop = true;
        qemu_cond_broadcast(&s->changed);
    }
    smemv_conn_interrupt(&s->conn);
    qemu_thread_join(&s->thread);
    smemv_conn_close(&s->conn);
    error_free(s->err);
    qemu_cond_destroy(&s->changed);
    qemu_mutex_destroy(&s->lock);
    g_free(s);
}
