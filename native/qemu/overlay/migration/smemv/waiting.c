/*
 * Waiting: faults whose sub-host cannot be reached.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "waiting.h"

struct SmemvWaiting {
    SmemvPager *p;
    QemuThread thread;
    bool started;
    SmemvConn *conns;            /* to each peer; the thread's own */

    /* Guarded by the pager's lock. */
    QemuCond asked;
    GArray *fetches;             /* SmemvFetch, oldest first */
};

/* Take those that wait now. Wants the lock. */
static GArray *take(SmemvWaiting *w)
{
    GArray *taken = w->fetches;

    w->fetches = g_array_new(false, false, sizeof(SmemvFetch));
    return taken;
}

/*
 * Try @fetches once. Of a peer that fails no further page is asked for:
 * its host may let each try wait for long.
 */
static void try_all(SmemvWaiting *w, GArray *fetches)
{
    unsigned long *failed = bitmap_new(SMEMV_MAX_PEERS);

    for (unsigned i = 0; i < fetches->len; i++) {
        SmemvFetch *f = &g_array_index(fetches, SmemvFetch, i);
        unsigned peer;

        smemv_source_choose(&f->source);
        peer = f->source.peer;
        if (!test_bit(peer, failed) && !qatomic_read(&w->p->stop) &&
            !smemv_fetch_try(w->p, &w->conns[peer], f)) {
            set_bit(peer, failed);
        }
    }
    g_free(failed);
}

static void *waiting_thread(void *opaque)
{
    SmemvWaiting *w = opaque;
    SmemvPager *p = w->p;

    qemu_mutex_lock(&p->lock);
    while (!p->stop) {
        GArray *fetches;
        unsigned failed = 0;

        if (!w->fetches->len) {
            qemu_cond_wait(&w->asked, &p->lock);
            continue;
        }
        fetches = take(w);
        qemu_mutex_unlock(&p->lock);
        try_all(w, fetches);
        qemu_mutex_lock(&p->lock);
        for (unsigned i = 0; i < fetches->len; i++) {
            SmemvFetch *f = &g_array_index(fetches, SmemvFetch, i);

            if (f->here) {
                smemv_fetch_end(p, f);
            } else {
                g_array_append_val(w->fetches, *f);
                failed++;
            }
        }
        g_array_free(fetches, true);
        if (failed && !p->stop) {
            qemu_mutex_unlock(&p->lock);
            g_usleep(SMEMV_RECONNECT_US);
            qemu_mutex_lock(&p->lock);
        }
    }
    qemu_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_close(&w->conns[i]);
    }
    return NULL;
}

SmemvWaiting *smemv_waiting_new(SmemvPager *p)
{
    SmemvWaiting *w = g_new0(SmemvWaiting, 1);

    w->p = p;
    w->fetches = g_array_new(false, false, sizeof(SmemvFetch));
    w->conns = smemv_fetch_conns(p);
    qemu_cond_init(&w->asked);
    return w;
}

void smemv_waiting_free(SmemvWaiting *w)
{
    qemu_cond_destroy(&w->asked);
    g_array_free(w->fetches, true);
    g_free(w->conns);
    g_free(w);
}

void smemv_waiting_start(SmemvWaiting *w)
{
    w->started = true;
    qemu_thread_create(&w->thread, "smemv-wait", waiting_thread, w,
                       QEMU_THREAD_JOINABLE);
}

void smemv_waiting_join(SmemvWaiting *w)
{
    if (w->started) {
        qemu_thread_join(&w->thread);
    }
}

void smemv_waiting_add(SmemvWaiting *w, const SmemvFetch *f)
{
    g_array_append_val(w->fetches, *f);
    qemu_cond_signal(&w->asked);
}

unsigned smemv_waiting_count(const SmemvWaiting *w)
{
    return w->fetches->len;
}

void smemv_waiting_wake(SmemvWaiting *w)
{
    qemu_cond_signal(&w->asked);
}
