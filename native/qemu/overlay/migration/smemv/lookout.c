/*
 * Lookout: whether the sub-hosts of a VM with two copies of its pages answer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "qapi/qapi-events-smemv.h"
#include "client.h"
#include "pages.h"
#include "rebuild.h"
#include "trace.h"
#include "twins.h"
#include "lookout.h"

/* How often each peer is asked, in ms. */
#define ASK_MS 250

/* After how long without an answer a peer has failed, in ms. */
#define SILENCE_MS 2000

/* Pages looked at while the pager's lock is held. */
#define LOOK_PAGES (1 << 16)

struct SmemvLookout {
    SmemvPager *p;
    QemuThread thread;
    bool started;
    QemuCond stopped;            /* with the pager's lock */
    SmemvConn *conns;            /* to each peer */
    int64_t silent_since[SMEMV_MAX_PEERS]; /* ms; 0: it answers */
};

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static bool is_watched(const SmemvPeer *peer)
{
    /* One that has no session of this VM yet has nothing to lose. */
    return peer->share && !peer->gone && !peer->failed;
}

/*
 * Whether the VM can do without what peer @i holds. A page that comes in is
 * counted with its only copy; the other copy of one whose first was written
 * off on its way in is not, so that is waited for.
 */
static bool can_do_without(const SmemvPager *p, unsigned i)
{
    const SmemvSession *s = p->session;
    bool others = false;

    for (unsigned k = 0; k < s->n_peers; k++) {
        const SmemvPeer *peer = &s->peers[k];

        if (peer->failed && peer->fetching) {
            return false;
        }
        /* One that is left for good may be the last one. */
        others |= k == i ? peer->closing : is_watched(peer);
    }
    return others && !s->peers[i].single && !s->peers[i].needed &&
           !p->paused && !p->left;
}

/* Write off what is at @place of the pages from @page to @end. */
static void write_off(SmemvPager *p, uint8_t place, uint64_t page, uint64_t end)
{
    for (; page < end; page++) {
        SmemvPair pair = smemv_page_map_get(p->map, page);
        SmemvPair home = smemv_pages_home(p, page);
        SmemvPair rest = smemv_pair_without(home, place);

        if (pair.place == place || pair.twin == place) {
            smemv_pages_set(p, page, smemv_pair_without(pair, place));
        }
        if (!smemv_pair_equal(home, rest)) {
            smemv_pages_set_home(p, page, rest);
            if (p->keeps && rest.place) {
                /* The destination may count on one of the two. */
                p->session->peers[rest.place - SMEMV_REMOTE].needed = true;
            }
        }
    }
}

/* Peer @i has failed. Wants the lock, and gives it up now and then. */
static void fail(SmemvPager *p, unsigned i)
{
    SmemvPeer *peer = &p->session->peers[i];
    uint64_t pages = smemv_peer_holds(peer);

    smemv_peer_set_failed(peer);
    p->failing = true;
    for (uint64_t page = 0; page < p->map->pages; page += LOOK_PAGES) {
        write_off(p, SMEMV_REMOTE + i, page,
                  MIN(page + LOOK_PAGES, p->map->pages));
        qemu_mutex_unlock(&p->lock);
        qemu_mutex_lock(&p->lock);
    }
    p->failing = false;
    peer->stored = 0;
    qemu_cond_broadcast(&p->quiet);
    qemu_cond_signal(&p->work);
    smemv_rebuild_wake(p->rebuild);

    warn_report("smemv: sub-host %s has failed: %" PRIu64 " pages that it had "
                "are on one other sub-host only, until they are copied",
                peer->name, pages);
    trace_smemv_lookout_failed(peer->name, pages);
    qapi_event_send_smemv_sub_host_failed(peer->name,
                                          pages << SMEMV_PAGE_BITS);
}

/*
 * Ask all peers, side by side; whether each answered is in @answers, and since
 * when it could have in @asked, in ms. One that cannot be connected to holds
 * up the next ones, which get time of their own. A peer that has lost its
 * memory may as well not answer.
 */
static void ask(SmemvLookout *w, unsigned n_peers, bool *answers,
                int64_t *asked)
{
    int64_t deadline = now_ms() + SILENCE_MS;
    SmemvSession *s = w->p->session;

    for (unsigned i = 0; i < n_peers; i++) {
        SmemvConn *c = &w->conns[i];

        asked[i] = now_ms();
        c->patience_ms = MAX(deadline - asked[i], SMEMV_PATIENCE_MS);
        answers[i] = is_watched(c->peer) && !smemv_conn_send_attach(c, NULL);
    }
    for (unsigned i = 0; i < n_peers; i++) {
        SmemvConn *c = &w->conns[i];

        if (answers[i]) {
            int ret;

            c->patience_ms = MAX(deadline - now_ms(), SMEMV_PATIENCE_MS);
            ret = smemv_conn_await_attach(c, NULL);
            smemv_peer_lost_memory(s, c->peer, ret);
            answers[i] = ret >= 0;
        }
    }
}

static void *lookout_thread(void *opaque)
{
    SmemvLookout *w = opaque;
    SmemvPager *p = w->p;
    SmemvSession *s = p->session;
    int64_t asked[SMEMV_MAX_PEERS];
    bool answers[SMEMV_MAX_PEERS];

    qemu_mutex_lock(&p->lock);
    while (!p->stop) {
        unsigned n_peers = s->n_peers;

        if (!p->left) {
            qemu_mutex_unlock(&p->lock);
            ask(w, n_peers, answers, asked);
            qemu_mutex_lock(&p->lock);
        }
        for (unsigned i = 0; i < n_peers && !p->left; i++) {
            SmemvPeer *peer = &s->peers[i];
            int64_t *since = &w->silent_since[i];
            bool lost;

            if (!is_watched(peer)) {
                smemv_conn_close(&w->conns[i]);
                continue;
            }
            *since = answers[i] ? 0 : *since ?: asked[i];
            lost = *since && now_ms() - *since >= SILENCE_MS;
            /* One that is left may just have closed the session. */
            lost |= qatomic_read(&peer->emptied) && !peer->closing;
            if (lost && can_do_without(p, i)) {
                fail(p, i);
            }
        }
        if (!p->stop) {
            qemu_cond_timedwait(&w->stopped, &p->lock, ASK_MS);
        }
    }
    qemu_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_close(&w->conns[i]);
    }
    return NULL;
}

SmemvLookout *smemv_lookout_new(SmemvPager *p)
{
    SmemvLookout *w = g_new0(SmemvLookout, 1);

    w->p = p;
    w->conns = g_new(SmemvConn, SMEMV_MAX_PEERS);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_init(&w->conns[i], p->session, &p->session->peers[i]);
    }
    qemu_cond_init(&w->stopped);
    return w;
}

void smemv_lookout_start(SmemvLookout *w)
{
    w->started = true;
    qemu_thread_create(&w->thread, "smemv-look", lookout_thread, w,
                       QEMU_THREAD_JOINABLE);
}

void smemv_lookout_wake(SmemvLookout *w)
{
    qemu_cond_signal(&w->stopped);
}

void smemv_lookout_join(SmemvLookout *w)
{
    if (w->started) {
        qemu_thread_join(&w->thread);
    }
}

void smemv_lookout_free(SmemvLookout *w)
{
    qemu_cond_destroy(&w->stopped);
    g_free(w->conns);
    g_free(w);
}
