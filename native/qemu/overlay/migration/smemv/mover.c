/*
 * Mover: pages of a running split VM on their way away from a sub-host.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "client.h"
#include "evictor.h"
#include "mover.h"
#include "pages.h"
#include "pull.h"
#include "smemv.h"
#include "trace.h"
#include "twins.h"

/* Pages looked at while the pager's lock is held. */
#define LOOK_PAGES (1 << 20)

/* How long to wait, in ms, for pages that are on their way already. */
#define WAIT_MS 20

static bool halted(const SmemvMover *m)
{
    return m->p->stop || m->p->keeps || m->err || qatomic_read(m->halt) ||
           m->p->session->peers[m->from].failed;
}

/* Pages that may come in without any having to leave. Wants the lock. */
static uint64_t room_here(const SmemvPager *p)
{
    uint64_t low = smemv_pager_low(p->limit), held = smemv_pager_held(p);

    return low > held ? low - held : 0;
}

/* Pages that are to leave the peer, or have a twin. Wants the lock. */
static uint64_t excess(const SmemvMover *m)
{
    const SmemvPeer *peer = &m->p->session->peers[m->from];
    uint64_t holds = m->pull ? peer->remote : smemv_peer_holds(peer);

    return m->fill ? MIN(peer->remote, room_here(m->p)) :
           m->second ? MIN(peer->single, smemv_pager_spare(m->p)) :
           holds > peer->wanted ? holds - peer->wanted : 0;
}

/*
 * The first of @n pages from @page on that is one of those to be moved; or
 * the one behind them.
 */
static uint64_t find(const SmemvMover *m, uint64_t page, uint64_t n)
{
    const SmemvPageMap *map = m->p->map;
    uint8_t from = SMEMV_REMOTE + m->from;
    const uint8_t *place, *twin;

    if (m->second) {
        uint64_t end = page + n;

        while (page < end && (map->place[page] != from || map->twin[page])) {
            page++;
        }
        return page;
    }
    place = memchr(map->place + page, from, n);
    n = place ? place - (map->place + page) : n;
    twin = m->pull || !map->twin ? NULL : memchr(map->twin + page, from, n);
    return page + (twin ? twin - (map->twin + page) : n);
}

/*
 * The next run of at most @most pages that are on the peer and not on their
 * way: how many, from @page on. 0 where there is none up to the end: the
 * search begins anew then. Wants the lock, and gives it up now and then.
 */
static unsigned next_run(SmemvMover *m, unsigned most, uint64_t *page)
{
    SmemvPager *p = m->p;
    const SmemvPageMap *map = p->map;

    while (m->cursor < map->pages) {
        uint64_t size = MIN(map->pages - m->cursor, LOOK_PAGES);
        SmemvCopy *copy;
        SmemvPair pair;
        unsigned n = 0;

        *page = find(m, m->cursor, size);
        if (*page == m->cursor + size) {
            m->cursor += size;
            qemu_mutex_unlock(&p->lock);
            qemu_mutex_lock(&p->lock);
            continue;
        }
        pair = smemv_page_map_get(map, *page);
        copy = smemv_pages_copy_of(p, *page);
        if (copy) {
            m->cursor = copy->page + copy->n;
            continue;
        }
        while (n < most && *page + n < map->pages &&
               smemv_pair_equal(smemv_page_map_get(map, *page + n), pair) &&
               !smemv_pages_copy_of(p, *page + n)) {
            n++;
        }
        m->cursor = *page + n;
        return n;
    }
    m->cursor = 0;
    return 0;
}

static void keep_rate(SmemvMover *m, unsigned pages)
{
    int64_t delay = ratelimit_calculate_delay(m->rate,
                                              (uint64_t)pages *
                                              SMEMV_PAGE_SIZE);

    /* In short naps, for the end may come meanwhile. */
    while (delay > 0 && !qatomic_read(&m->p->stop) &&
           !qatomic_read(m->halt)) {
        int64_t nap = MIN(delay, 100 * SCALE_MS);

        g_usleep(nap / SCALE_US);
        delay -= nap;
    }
}

/* The peer, other than where the pages are, with the most room; if any. */
static int target_for(SmemvMover *m, SmemvPair pair)
{
    SmemvSession *s = m->p->session;
    int best = SMEMV_NO_PEER;
    uint64_t most = 0;

    if (s->replicas > 1) {
        uint8_t other = m->second ? pair.place :
            smemv_pair_without(pair, SMEMV_REMOTE + m->from).place;

        return smemv_twins_best(s, other ? other - SMEMV_REMOTE :
                                SMEMV_NO_PEER, m->from);
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        uint64_t room = smemv_peer_room(&s->peers[i]);

        if (i != m->from && room > most) {
            most = room;
            best = i;
        }
    }
    return best;
}

/*
 * What the copying to @to has sent may still arrive there, until the claim
 * is renewed: an older content of pages that may be stored there anew.
 */
static void fence(SmemvMover *m, SmemvPeer *to)
{
    SmemvConn c;
    int ret = -1;

    smemv_conn_init(&c, m->p->session, to);
    while (ret && !qatomic_read(&m->p->stop) && !qatomic_read(&to->failed)) {
        g_autoptr(Error) err = NULL;

        ret = smemv_conn_claim(&c, true, &err);
        if (ret > 0 && !smemv_peer_lost_memory(c.session, to, ret)) {
            smemv_fatal("smemv: the VM ends: %s", error_get_pretty(err));
        } else if (ret) {
            g_usleep(SMEMV_RECONNECT_US);
        }
    }
    smemv_conn_close(&c);
}

/* The run is on its way. Wants the lock. */
static void begin_copy(SmemvPager *p, SmemvCopy *copy)
{
    SmemvPeer *from = &p->session->peers[copy->from];
    SmemvPeer *to = &p->session->peers[copy->to];

    QLIST_INSERT_HEAD(&p->copies, copy, next);
    from->busy += copy->n;
    to->busy += copy->n;
    for (unsigned i = 0; i < copy->n; i++) {
        uint64_t page = copy->page + i;
        SmemvPair home = smemv_pages_home(p, page);
        SmemvPair rest = smemv_pair_without(home, SMEMV_REMOTE + copy->to);

        /* What it may have there already is replaced. */
        to->stored += smemv_pair_equal(home, rest);
        smemv_pages_set_home(p, page, rest);
    }
}

/* A page that did not come in meanwhile is at the target now. */
static void end_copy_of(SmemvPager *p, const SmemvCopy *copy, uint64_t page)
{
    uint8_t from = SMEMV_REMOTE + copy->from, to = SMEMV_REMOTE + copy->to;
    SmemvPair pair = smemv_page_map_get(p->map, page);
    SmemvPair rest = smemv_pair_without(pair, from);

    if (p->session->peers[copy->to].failed) {
        return;
    }
    if (copy->second && !pair.twin) {
        pair.twin = to;
    } else if (!copy->second && !smemv_pair_equal(pair, rest)) {
        /* A page that has two copies is read from where it was. */
        pair = rest.place ? (SmemvPair) { rest.place, to } :
                            (SmemvPair) { to, 0 };
        smemv_pages_drop(p, copy->from, page);
    } else {
        smemv_pages_drop(p, copy->to, page);
        return;
    }
    smemv_pages_set(p, page, pair);
}

/*
 * The run was copied, or not (@failed). Pages that did not come in meanwhile
 * are at the target now. Wants the lock.
 */
static void end_copy(SmemvPager *p, SmemvCopy *copy, bool failed)
{
    SmemvPeer *from = &p->session->peers[copy->from];
    SmemvPeer *to = &p->session->peers[copy->to];

    QLIST_REMOVE(copy, next);
    from->busy -= copy->n;
    to->busy -= copy->n;
    for (unsigned i = 0; i < copy->n; i++) {
        uint64_t page = copy->page + i;

        if (failed || test_bit(i, copy->touched)) {
            smemv_pages_drop(p, copy->to, page);
        } else {
            end_copy_of(p, copy, page);
        }
    }
    /* The evictor may have waited for it. */
    qemu_cond_signal(&p->work);
}

/*
 * Have a run, or as much of it as there is room for, copied to another peer.
 * Gives the lock up meanwhile. False on an error.
 */
static bool copy_run(SmemvMover *m, SmemvConn *c, uint64_t page, unsigned n,
                     Error **errp)
{
    SmemvPager *p = m->p;
    int target = target_for(m, smemv_page_map_get(p->map, page));
    SmemvCopy copy = {
        .page = page, .from = m->from, .to = target, .second = m->second,
    };
    SmemvPeer *to;
    uint64_t copied;
    int ret;

    if (target == SMEMV_NO_PEER) {
        error_setg(errp, "the other sub-hosts%s have no room for the pages of "
                   "%s", p->session->replicas > 1 ?
                   " in other failure domains" : "", c->peer->name);
        return false;
    }
    to = &p->session->peers[target];
    copy.n = MIN(n, smemv_peer_room(to));
    m->cursor = MIN(m->cursor, page + copy.n);
    if (smemv_evictor_drops(p->evictor, target, page, copy.n)) {
        /* Drops of what was there before would hit the new pages. */
        m->cursor = MIN(m->cursor, page);
        smemv_evictor_flush(p->evictor);
        qemu_cond_timedwait(&p->quiet, &p->lock, WAIT_MS);
        return true;
    }

    begin_copy(p, &copy);
    qemu_mutex_unlock(&p->lock);
    ret = c->ioc ? 0 : smemv_conn_attach(c, errp);
    if (!ret) {
        ret = smemv_conn_copy(c, page, copy.n, to, &copied, errp);
    }
    if (!ret) {
        trace_smemv_mover_copied(c->peer->name, to->name, page, copied);
        stat64_add(&c->peer->copied, copied * SMEMV_PAGE_SIZE);
    } else {
        smemv_conn_close(c);
        fence(m, to);
    }
    qemu_mutex_lock(&p->lock);
    end_copy(p, &copy, ret);
    return !ret;
}

static void *mover_thread(void *opaque)
{
    SmemvMover *m = opaque;
    SmemvPager *p = m->p;
    g_autofree uint8_t *data = m->pull ?
        g_malloc(SMEMV_PULL_PAGES * SMEMV_PAGE_SIZE) : NULL;
    unsigned most = m->pull ? SMEMV_PULL_PAGES : SMEMV_WIRE_MAX_PAGES;
    g_autofree SmemvConn *conns = g_new(SmemvConn, SMEMV_MAX_PEERS);

    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_init(&conns[i], p->session, &p->session->peers[i]);
    }
    qemu_mutex_lock(&p->lock);
    while (!halted(m) && excess(m)) {
        Error *err = NULL;
        uint64_t page;
        unsigned n = next_run(m, MIN(most, excess(m)), &page);

        /* The search may have given the lock up. */
        n = m->fill ? MIN(n, excess(m)) : n;
        if (!n) {
            /* The last ones are on their way. */
            qemu_cond_timedwait(&p->quiet, &p->lock, WAIT_MS);
            continue;
        }
        if (m->pull) {
            smemv_pull_run(p, conns, page, n, data);
        } else if (!copy_run(m, &conns[m->from], page, n, &err)) {
            if (m->err) {
                error_free(err);
            } else {
                m->err = err;
            }
        }
        qemu_mutex_unlock(&p->lock);
        keep_rate(m, n);
        qemu_mutex_lock(&p->lock);
    }
    qemu_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_close(&conns[i]);
    }
    return NULL;
}

void smemv_mover_start(SmemvMover *m)
{
    for (unsigned i = 0; i < ARRAY_SIZE(m->threads); i++) {
        qemu_thread_create(&m->threads[i], "smemv-move", mover_thread, m,
                           QEMU_THREAD_JOINABLE);
    }
}

bool smemv_mover_join(SmemvMover *m, Error **errp)
{
    bool done;

    for (unsigned i = 0; i < ARRAY_SIZE(m->threads); i++) {
        qemu_thread_join(&m->threads[i]);
    }
    done = !m->err;
    error_propagate(errp, g_steal_pointer(&m->err));
    return done;
}
