/*
 * Rebuild: second copies of pages that have lost one, or never had one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qapi/qapi-events-smemv.h"
#include "mover.h"
#include "rebalance.h"
#include "rebuild.h"
#include "smemv.h"
#include "trace.h"

/* How long to wait, in ms, before it looks again. */
#define LOOK_AGAIN_MS 1000

struct SmemvRebuild {
    SmemvPager *p;
    QemuThread thread;
    RateLimit rate;
    bool started;

    /* Guarded by the pager's lock. */
    QemuCond changed;
    bool lacking;                /* some pages had one copy at the last look */
};

uint64_t smemv_rebuild_single(const SmemvRebuild *r)
{
    const SmemvSession *s = r->p->session;
    uint64_t pages = 0;

    for (unsigned i = 0; i < s->n_peers; i++) {
        pages += s->peers[i].remote - s->peers[i].twins;
    }
    return pages;
}

/* Have peers that failed, and are back, forget what they held. */
static void clear_failed(SmemvRebuild *r)
{
    SmemvSession *s = r->p->session;

    for (unsigned i = 0; i < s->n_peers; i++) {
        SmemvPeer *peer = &s->peers[i];

        if (peer->failed && !peer->gone && !qatomic_read(&r->p->stop) &&
            !smemv_peer_close_failed(s, peer)) {
            QEMU_LOCK_GUARD(&r->p->lock);
            peer->gone = true;
            peer->share = 0;
        }
    }
}

/* Pages that the peers of that failure domain have reserved. */
static uint64_t domain_share(const SmemvSession *s, const char *domain)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < s->n_peers; i++) {
        if (s->peers[i].domain == domain) {
            pages += MIN(s->peers[i].share, s->peers[i].wanted);
        }
    }
    return pages;
}

/*
 * Pages that are to be reserved on peer @i beside what it has, if @takers
 * peers reserve what is missing for two copies. Of what one failure domain
 * has only as much is of use as one copy wants.
 */
static uint64_t lacks(const SmemvPager *p, unsigned i, unsigned takers)
{
    const SmemvSession *s = p->session;
    uint64_t one = smemv_pager_promised(p), usable = 0, here;

    for (unsigned k = 0; k < s->n_peers; k++) {
        const char *domain = s->peers[k].domain;
        bool first = true;

        for (unsigned before = 0; before < k; before++) {
            first &= s->peers[before].domain != domain;
        }
        usable += first ? MIN(domain_share(s, domain), one) : 0;
    }
    here = MIN(domain_share(s, s->peers[i].domain), one);
    return MIN(DIV_ROUND_UP(2 * one - MIN(usable, 2 * one), takers),
               one - here);
}

/* Reserve what a peer that failed had: in equal parts, then on any. */
static void make_room(SmemvRebuild *r)
{
    SmemvPager *p = r->p;
    SmemvSession *s = p->session;

    for (unsigned n = 0; n < 2 * s->n_peers; n++) {
        unsigned i = n % s->n_peers;
        unsigned takers = n < s->n_peers ? s->n_peers - i : 1;
        SmemvPeer *peer = &s->peers[i];
        uint64_t more = 0, pages = 0;

        QEMU_LOCK_GUARD(&p->reserving);
        WITH_QEMU_LOCK_GUARD(&p->lock) {
            /* A rebalance that is under way has an aim of its own. */
            if (peer->wanted && peer->wanted == peer->share &&
                !smemv_rebalance_active(p->rebalance)) {
                more = lacks(p, i, takers);
                pages = peer->share + more;
            }
        }
        if (more && !qatomic_read(&p->stop) &&
            !smemv_peer_reserve(s, peer, pages, NULL)) {
            QEMU_LOCK_GUARD(&p->lock);
            peer->share = pages;
            /* Unless a rebalance has begun meanwhile, or the peer failed. */
            if (peer->wanted == pages - more) {
                peer->wanted = pages;
            }
        }
    }
}

static void copy(SmemvRebuild *r)
{
    SmemvSession *s = r->p->session;
    unsigned n_peers = s->n_peers, n = 0;
    g_autofree SmemvMover *movers = g_new0(SmemvMover, n_peers);

    for (unsigned i = 0; i < n_peers; i++) {
        if (s->peers[i].single) {    /* a look without the lock will do */
            movers[n] = (SmemvMover) {
                .p = r->p, .from = i, .second = true, .rate = &r->rate,
                .halt = &r->p->stop,
            };
            smemv_mover_start(&movers[n++]);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        g_autoptr(Error) err = NULL;

        if (!smemv_mover_join(&movers[i], &err)) {
            trace_smemv_rebuild_short(error_get_pretty(err));
        }
    }
}

/* Whether there is something to copy just now. Wants the lock. */
static bool look(SmemvRebuild *r)
{
    SmemvPager *p = r->p;
    bool lacking = smemv_rebuild_single(r);

    if (r->lacking && !lacking && !p->failing && !p->keeps) {
        qapi_event_send_smemv_redundant();
    }
    r->lacking = lacking || p->failing;
    return lacking && !p->failing && !p->keeps && !p->left;
}

static void *rebuild_thread(void *opaque)
{
    SmemvRebuild *r = opaque;
    SmemvPager *p = r->p;

    qemu_mutex_lock(&p->lock);
    while (!p->stop) {
        bool wanted = look(r);

        qemu_mutex_unlock(&p->lock);
        if (wanted) {
            make_room(r);
            copy(r);
        }
        clear_failed(r);
        qemu_mutex_lock(&p->lock);
        if (!p->stop && !(wanted && !smemv_rebuild_single(r))) {
            qemu_cond_timedwait(&r->changed, &p->lock, LOOK_AGAIN_MS);
        }
    }
    qemu_mutex_unlock(&p->lock);
    return NULL;
}

SmemvRebuild *smemv_rebuild_new(SmemvPager *p)
{
    SmemvRebuild *r = g_new0(SmemvRebuild, 1);

    r->p = p;
    qemu_cond_init(&r->changed);
    ratelimit_init(&r->rate);
    return r;
}

void smemv_rebuild_start(SmemvRebuild *r)
{
    r->started = true;
    qemu_thread_create(&r->thread, "smemv-rebuild", rebuild_thread, r,
                       QEMU_THREAD_JOINABLE);
}

void smemv_rebuild_wake(SmemvRebuild *r)
{
    qemu_cond_signal(&r->changed);
}

void smemv_rebuild_join(SmemvRebuild *r)
{
    if (r->started) {
        qemu_thread_join(&r->thread);
    }
}

void smemv_rebuild_free(SmemvRebuild *r)
{
    ratelimit_destroy(&r->rate);
    qemu_cond_destroy(&r->changed);
    g_free(r);
}
