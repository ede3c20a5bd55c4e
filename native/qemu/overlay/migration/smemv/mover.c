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
#include "pull.h"
#include "smemv.h"
#include "trace.h"

/* Pages looked at while the pager's lock is held. */
#define LOOK_PAGES (1 << 20)

/* How long to wait, in ms, for pages that are on their way already. */
#define WAIT_MS 20

static bool halted(const SmemvMover *m)
{
    return m->p->stop || m->err || qatomic_read(m->halt);
}

/* Pages that are to leave the peer. Wants the lock. */
static uint64_t excess(const SmemvMover *m)
{
    const SmemvPeer *peer = &m->p->session->peers[m->from];

    return peer->remote > peer->wanted ? peer->remote - peer->wanted : 0;
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
    uint8_t from = SMEMV_REMOTE + m->from;

    while (m->cursor < map->pages) {
        uint64_t size = MIN(map->pages - m->cursor, LOOK_PAGES);
        const uint8_t *found = memchr(map->place + m->cursor, from, size);
        SmemvCopy *copy;
        unsigned n = 0;

        if (!found) {
            m->cursor += size;
            qemu_mutex_unlock(&p->lock);
            qemu_mutex_lock(&p->lock);
            continue;
        }
        *page = found - map->place;
        copy = smemv_pager_copy_of(p, *page);
        if (copy) {
            m->cursor = copy->page + copy->n;
            continue;
        }
        while (n < most && *page + n < map->pages &&
               map->place[*page + n] == from &&
               !smemv_pager_copy_of(p, *page + n)) {
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

/* The peer, other than where the pages are, with the most room; or -1. */
static int target_for(SmemvMover *m)
{
    SmemvSession *s = m->p->session;
    uint64_t most = 0;
    int best = -1;

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
    while (ret && !qatomic_read(&m->p->stop)) {
        g_autoptr(Error) err = NULL;

        ret = smemv_conn_claim(&c, true, &err);
        if (ret > 0) {
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
        uint8_t *home = &p->home[copy->page + i];

        if (*home == SMEMV_REMOTE + copy->to) {
            *home = 0;           /* it is replaced */
        } else {
            to->stored++;
        }
    }
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
            smemv_pager_drop(p, copy->to, page);
        } else {
            p->map->place[page] = SMEMV_REMOTE + copy->to;
            from->remote--;
            to->remote++;
            smemv_pager_drop(p, copy->from, page);
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
    int target = target_for(m);
    SmemvCopy copy = { .page = page, .from = m->from, .to = target };
    SmemvPeer *to;
    uint64_t copied;
    int ret;

    if (target < 0) {
        error_setg(errp, "the other sub-hosts have no room for the pages of "
                   "%s", c->peer->name);
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
    SmemvConn c;

    smemv_conn_init(&c, p->session, &p->session->peers[m->from]);
    qemu_mutex_lock(&p->lock);
    while (!halted(m) && excess(m)) {
        Error *err = NULL;
        uint64_t page;
        unsigned n = next_run(m, MIN(most, excess(m)), &page);

        if (!n) {
            /* The last ones are on their way. */
            qemu_cond_timedwait(&p->quiet, &p->lock, WAIT_MS);
            continue;
        }
        if (m->pull) {
            smemv_pull_run(p, &c, page, n, data);
        } else if (!copy_run(m, &c, page, n, &err)) {
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
    smemv_conn_close(&c);
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
