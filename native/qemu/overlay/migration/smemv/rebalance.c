/*
 * Rebalance: where the pages of a running split VM are to be.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "evictor.h"
#include "mover.h"
#include "pages.h"
#include "rebalance.h"
#include "smemv.h"
#include "trace.h"

/* How long to wait, in ms, before what failed is tried again. */
#define RETRY_MS 1000

/* How long a step waits, in ms, for pages that are on their way. */
#define SETTLE_MS 20

/* The rate is kept over slices of this many ns. */
#define SLICE_NS (100 * SCALE_MS)

struct SmemvRebalance {
    SmemvPager *p;
    QemuThread thread;
    RateLimit rate;

    /* Guarded by the pager's lock. */
    QemuCond changed;
    bool started;                /* the thread runs */
    bool active;                 /* the aim is not reached */
    bool ended;                  /* nothing is left to be balanced */
    bool fill;                   /* the limit has risen: there is room here */
    bool filling;                /* pages come in for that */
    bool halt;                   /* (atomic) the aim has changed */
    uint64_t limit;              /* pages, of the aim */
    Error *err;                  /* of the last try */
};

bool smemv_rebalance_active(const SmemvRebalance *r)
{
    return r->active || r->ended;
}

bool smemv_rebalance_fills(const SmemvRebalance *r)
{
    return r->filling;
}

const char *smemv_rebalance_error(const SmemvRebalance *r)
{
    return r->err ? error_get_pretty(r->err) : NULL;
}

uint64_t smemv_rebalance_remaining(const SmemvRebalance *r)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < r->p->session->n_peers; i++) {
        const SmemvPeer *peer = &r->p->session->peers[i];

        pages += peer->failed || smemv_peer_holds(peer) <= peer->wanted ? 0 :
                 smemv_peer_holds(peer) - peer->wanted;
    }
    return pages;
}

static bool halted(SmemvRebalance *r)
{
    return qatomic_read(&r->halt) || qatomic_read(&r->p->stop);
}

/* Whether no sub-host is to stay. */
static bool aims_at_whole(SmemvRebalance *r)
{
    for (unsigned i = 0; i < r->p->session->n_peers; i++) {
        if (r->p->session->peers[i].wanted) {
            return false;
        }
    }
    return true;
}

/* Close the session at a peer that is left and empty. */
static bool close_peer(SmemvRebalance *r, SmemvPeer *peer, Error **errp)
{
    /* Where nothing is known to be reserved, nothing may be. */
    if (smemv_peer_close(r->p->session, peer, peer->share ? errp : NULL) &&
        peer->share) {
        return false;
    }
    QEMU_LOCK_GUARD(&r->p->lock);
    peer->gone = true;
    peer->share = 0;
    return true;
}

/* A memserver that was just left, and is wanted again, is left first. */
static bool close_older(SmemvRebalance *r, const SmemvPeer *peer, Error **errp)
{
    SmemvSession *s = r->p->session;

    for (unsigned i = 0; i < s->n_peers; i++) {
        SmemvPeer *older = &s->peers[i];

        if (older->closing && !older->gone && older->port == peer->port &&
            !strcmp(older->host, peer->host) && !close_peer(r, older, errp)) {
            return false;
        }
    }
    return true;
}

/* Reserve what the peer is wanted to hold: a new session, or more. */
static bool reserve(SmemvRebalance *r, SmemvPeer *peer, Error **errp)
{
    SmemvSession *s = r->p->session;
    int ret = SMEMV_WIRE_EXISTS;
    uint64_t pages;

    QEMU_LOCK_GUARD(&r->p->reserving);
    pages = peer->wanted;
    if (!peer->share) {
        g_autoptr(Error) err = NULL;

        if (!close_older(r, peer, errp)) {
            return false;
        }
        ret = smemv_peer_open(s, peer, pages, &err);
        if (ret && ret != SMEMV_WIRE_EXISTS) {
            error_propagate(errp, g_steal_pointer(&err));
        }
    }
    if (ret == SMEMV_WIRE_EXISTS) {
        ret = smemv_peer_reserve(s, peer, pages, errp);
    }
    if (!ret) {
        QEMU_LOCK_GUARD(&r->p->lock);
        peer->share = pages;
    }
    return !ret;
}

static bool reserve_more(SmemvRebalance *r, Error **errp)
{
    for (unsigned i = 0; i < r->p->session->n_peers; i++) {
        SmemvPeer *peer = &r->p->session->peers[i];

        if (!halted(r) && peer->wanted > peer->share &&
            !reserve(r, peer, errp)) {
            return false;
        }
    }
    return true;
}

static bool reserve_less(SmemvRebalance *r, Error **errp)
{
    for (unsigned i = 0; i < r->p->session->n_peers; i++) {
        SmemvPeer *peer = &r->p->session->peers[i];

        /* What is stale there is dropped before the room is given back. */
        WITH_QEMU_LOCK_GUARD(&r->p->lock) {
            while (!halted(r) && peer->wanted && peer->wanted < peer->share &&
                   peer->stored > peer->wanted &&
                   (r->p->n_drops || r->p->evicting)) {
                smemv_evictor_flush(r->p->evictor);
                qemu_cond_timedwait(&r->p->quiet, &r->p->lock, SETTLE_MS);
            }
        }
        if (!halted(r) && peer->wanted && peer->wanted < peer->share &&
            !reserve(r, peer, errp)) {
            return false;
        }
    }
    return true;
}

static void apply_limit(SmemvRebalance *r)
{
    SmemvPager *p = r->p;

    QEMU_LOCK_GUARD(&p->lock);
    p->limit = r->limit;
    if (aims_at_whole(r)) {
        p->may_evict = false;
        while (p->evicting && !p->stop) {
            qemu_cond_timedwait(&p->quiet, &p->lock, SETTLE_MS);
        }
    } else {
        p->may_evict = true;
    }
    qemu_cond_broadcast(&p->room);
    qemu_cond_signal(&p->work);
}

/* Move pages from each peer that has more than it is wanted to hold. */
static bool move(SmemvRebalance *r, Error **errp)
{
    SmemvSession *s = r->p->session;
    unsigned n_peers = s->n_peers;
    g_autofree SmemvMover *movers = g_new0(SmemvMover, n_peers);
    bool pull = aims_at_whole(r), done = true;
    unsigned n = 0;

    for (unsigned i = 0; i < n_peers; i++) {
        if (smemv_peer_holds(&s->peers[i]) > s->peers[i].wanted) {
            movers[n] = (SmemvMover) {
                .p = r->p, .from = i, .pull = pull, .rate = &r->rate,
                .halt = &r->halt,
            };
            smemv_mover_start(&movers[n++]);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        done &= smemv_mover_join(&movers[i], done ? errp : NULL);
    }
    return done;
}

/*
 * Wait until nothing moves from or to a peer that is left and empty; from then
 * on nothing is sent there. False if it is not empty, or the aim has changed.
 */
static bool give_up(SmemvRebalance *r, unsigned i)
{
    SmemvPager *p = r->p;
    SmemvPeer *peer = &p->session->peers[i];

    QEMU_LOCK_GUARD(&p->lock);
    while (!halted(r) && !smemv_peer_holds(peer) &&
           (peer->busy || smemv_evictor_drops_from(p->evictor, i))) {
        qemu_cond_timedwait(&p->quiet, &p->lock, SETTLE_MS);
    }
    if (!halted(r) && !smemv_peer_holds(peer)) {
        peer->closing = true;
    }
    return peer->closing;
}

static bool close_left(SmemvRebalance *r, Error **errp)
{
    SmemvPager *p = r->p;

    for (unsigned i = 0; i < p->session->n_peers; i++) {
        SmemvPeer *peer = &p->session->peers[i];

        if (peer->failed && aims_at_whole(r)) {
            /* There is no other time, and its pages do not count. */
            peer->gone = peer->gone ||
                         !smemv_peer_close_failed(p->session, peer);
        }
        if (peer->gone || peer->wanted || peer->failed) {
            continue;
        }
        if (!give_up(r, i)) {
            return true;         /* another round, or another aim */
        }
        if (!close_peer(r, peer, errp)) {
            return false;
        }
    }
    return true;
}

/* Wait until what was too much here has gone out. */
static void wait_for_limit(SmemvRebalance *r)
{
    SmemvPager *p = r->p;

    QEMU_LOCK_GUARD(&p->lock);
    while (!halted(r) && smemv_pager_held(p) > p->limit) {
        qemu_cond_timedwait(&p->quiet, &p->lock, SETTLE_MS);
    }
}

/* Whether the aim is reached. Wants the lock. */
static bool reached(SmemvRebalance *r)
{
    for (unsigned i = 0; i < r->p->session->n_peers; i++) {
        const SmemvPeer *peer = &r->p->session->peers[i];

        if (!peer->gone && !peer->failed &&
            (!peer->wanted || smemv_peer_holds(peer) > peer->wanted ||
             peer->share != peer->wanted)) {
            return false;
        }
    }
    return true;
}

/* In the main loop: nothing of the VM is elsewhere, and the pager ends. */
static void dissolved_bh(void *opaque)
{
    SmemvRebalance *r = opaque;
    SmemvPager *p = r->p;

    SmemvSession *s = p->session;

    qemu_thread_join(&r->thread);
    smemv_set_pager(NULL);
    p->session = NULL;
    smemv_pager_free(p);
    /* A sub-host that failed is told that it is over when it is back. */
    smemv_session_release(s);
}

/*
 * Have pages come in until the limit is reached. Wants the lock, and gives it
 * up meanwhile.
 */
static void fill(SmemvRebalance *r)
{
    SmemvPager *p = r->p;
    unsigned n = p->session->n_peers;
    g_autofree SmemvMover *movers = g_new0(SmemvMover, n);

    qatomic_set(&r->halt, false);
    r->fill = false;
    r->filling = true;
    qemu_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < n; i++) {
        movers[i] = (SmemvMover) {
            .p = p, .from = i, .pull = true, .fill = true, .rate = &r->rate,
            .halt = &r->halt,
        };
        smemv_mover_start(&movers[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        smemv_mover_join(&movers[i], NULL);
    }
    qemu_mutex_lock(&p->lock);
    r->filling = false;
    qemu_cond_broadcast(&p->quiet);
}

static void *rebalance_thread(void *opaque)
{
    SmemvRebalance *r = opaque;
    SmemvPager *p = r->p;

    qemu_mutex_lock(&p->lock);
    while (!p->stop && !r->ended) {
        Error *err = NULL;
        bool ok;

        if (!r->active && r->fill && p->may_evict && !p->keeps) {
            fill(r);
            continue;
        } else if (!r->active) {
            qemu_cond_wait(&r->changed, &p->lock);
            continue;
        }
        qatomic_set(&r->halt, false);
        qemu_mutex_unlock(&p->lock);

        ok = reserve_more(r, &err);
        if (ok) {
            apply_limit(r);
            smemv_pages_tidy(p);
            ok = move(r, &err) && close_left(r, &err) && reserve_less(r, &err);
            wait_for_limit(r);
        }

        qemu_mutex_lock(&p->lock);
        error_free(r->err);
        r->err = err;
        if (!ok && !halted(r)) {
            trace_smemv_rebalance_retry(error_get_pretty(err));
            qemu_cond_timedwait(&r->changed, &p->lock, RETRY_MS);
        } else if (ok && !halted(r) && reached(r)) {
            r->active = false;
            r->ended = aims_at_whole(r);
            trace_smemv_rebalance_done(r->ended);
        }
    }
    qemu_mutex_unlock(&p->lock);
    if (r->ended) {
        smemv_pager_dissolve(p);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), dissolved_bh, r);
    }
    return NULL;
}

SmemvRebalance *smemv_rebalance_new(SmemvPager *p)
{
    SmemvRebalance *r = g_new0(SmemvRebalance, 1);

    r->p = p;
    qemu_cond_init(&r->changed);
    ratelimit_init(&r->rate);
    return r;
}

void smemv_rebalance_free(SmemvRebalance *r)
{
    error_free(r->err);
    ratelimit_destroy(&r->rate);
    qemu_cond_destroy(&r->changed);
    g_free(r);
}

/* There is something to do. Wants the lock. */
static void wake(SmemvRebalance *r)
{
    qatomic_set(&r->halt, true);
    if (!r->started) {
        r->started = true;
        qemu_thread_create(&r->thread, "smemv-balance", rebalance_thread, r,
                           QEMU_THREAD_JOINABLE);
    }
    qemu_cond_signal(&r->changed);
}

void smemv_rebalance_start(SmemvRebalance *r)
{
    QEMU_LOCK_GUARD(&r->p->lock);
    r->limit = r->p->limit;
    r->active = true;
    wake(r);
}

void smemv_rebalance_fill(SmemvRebalance *r)
{
    r->fill = true;
    wake(r);
}

bool smemv_rebalance_aim(SmemvRebalance *r, uint64_t limit,
                         SmemvSubHostList *sub_hosts, Error **errp)
{
    SmemvPager *p = r->p;

    QEMU_LOCK_GUARD(&p->lock);
    if (r->ended) {
        error_setg(errp, "the VM is about to be whole");
        return false;
    }
    if (!smemv_session_accepts(p->session, sub_hosts, errp)) {
        return false;
    }
    smemv_session_aim(p->session, sub_hosts);
    r->limit = limit;
    r->fill = limit > p->limit;
    r->active = true;
    wake(r);
    return true;
}

void smemv_rebalance_set_bandwidth(SmemvRebalance *r, uint64_t bandwidth)
{
    ratelimit_set_speed(&r->rate, bandwidth, SLICE_NS);
}

void smemv_rebalance_wake(SmemvRebalance *r)
{
    qemu_cond_signal(&r->changed);
}

bool smemv_rebalance_join(SmemvRebalance *r)
{
    if (r->started) {
        qemu_thread_join(&r->thread);
    }
    return r->ended;
}
