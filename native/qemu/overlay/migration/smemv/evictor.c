/*
 * Evictor: pages out.
 *
 * Pages leave in the order in which they arrived: into staging first, where
 * a touch brings them back, then to the sub-host with the most room, or to
 * two. The thread works in rounds of at most SMEMV_BATCH pages, beside the
 * faults.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "client.h"
#include "evictor.h"
#include "move.h"
#include "pages.h"
#include "readahead.h"
#include "smemv.h"
#include "trace.h"
#include "twins.h"

/* How long to wait, in ms, where no page can leave just now. */
#define STUCK_MS 100

/* Resident pages that are looked at before a fault may have the lock. */
#define LOOKS_PER_LOCK 256

/* What one peer gets in a round. */
typedef struct SmemvRound {
    SmemvConn conn;
    GArray *drops;               /* uint64_t pages that are stale there */
    SmemvPut puts[SMEMV_BATCH];
    size_t n;
    size_t requests;             /* of what is sent, not answered yet */
} SmemvRound;

struct SmemvEvictor {
    SmemvPager *p;
    QemuThread thread;
    SmemvRound *rounds;          /* of each peer */
    SmemvPair pairs[SMEMV_BATCH]; /* of the round's slots: where they go */
    DECLARE_BITMAP(unsent, SMEMV_BATCH); /* where they are already */
    bool flush;                  /* send drops, however few */
};

static bool staging_full(const SmemvPager *p)
{
    size_t most = smemv_pager_lingering(p->limit, p->keeps);

    return p->staging.head - p->staging.tail >= MIN(most, p->staging.capacity);
}

/*
 * Move up to SMEMV_BATCH of the oldest pages into staging.
 * Returns how many; the lock is given up now and then.
 */
static size_t move_out(SmemvPager *p)
{
    size_t moved = 0;

    for (size_t i = 0; i < SMEMV_BATCH; i++) {
        uint64_t page;
        int64_t ret;

        if (staging_full(p) || !smemv_pages_oldest(p, &page)) {
            break;
        }
        ret = smemv_move(p->uffd, smemv_staging_host(&p->staging,
                                                     p->staging.head),
                         smemv_page_map_host(p->map, page), 1, false);
        switch (ret) {
        case 1:
            p->map->place[page] = SMEMV_STAGED;
            smemv_readahead_forget(p->readahead, page);
            smemv_staging_push(&p->staging, page);
            moved++;
            break;
        case -EBUSY:             /* pinned by a device, or merged */
            p->pinned++;
            /* fall through */
        case -EAGAIN:
            smemv_pages_arrived(p, page);
            break;
        case -ENOENT:            /* given back by the guest: it reads as zero */
            smemv_pages_went_out(p, page, (SmemvPair) { SMEMV_ZERO, 0 });
            moved++;
            break;
        default:
            smemv_fatal("smemv: cannot move page 0x%" PRIx64 " out: %s",
                        page << SMEMV_PAGE_BITS, strerror(-ret));
        }
        if (i % SMEMV_MOVES_PER_LOCK == SMEMV_MOVES_PER_LOCK - 1) {
            qemu_mutex_unlock(&p->lock);
            qemu_mutex_lock(&p->lock);
        }
    }
    return moved;
}

/*
 * Where @page is to go: SMEMV_REMOTE + peer, or 0 where there is no room. The
 * page before it goes to @beside, if that is a peer: neighbours stay together
 * where they can, so that one request has them back.
 */
static uint8_t place_for(SmemvPager *p, uint64_t page, uint8_t beside)
{
    SmemvSession *s = p->session;
    SmemvCopy *copy = smemv_pages_copy_of(p, page);
    uint8_t best = p->home[page];
    double most = 0;

    /* A peer that stores it already needs no room for it. */
    if (best && s->peers[best - SMEMV_REMOTE].wanted) {
        return best;
    }
    if (beside != SMEMV_ZERO &&
        smemv_peer_room(&s->peers[beside - SMEMV_REMOTE]) &&
        !(copy && copy->to == beside - SMEMV_REMOTE)) {
        return beside;
    }
    best = 0;
    for (unsigned i = 0; i < s->n_peers; i++) {
        double room = (double)smemv_peer_room(&s->peers[i]) /
                      MAX(s->peers[i].share, 1);

        /* An older content of the page may just be arriving there. */
        if (room > most && !(copy && copy->to == i)) {
            most = room;
            best = SMEMV_REMOTE + i;
        }
    }
    return best;
}

/* Of the copies of a page, those at peers that are to hold some. */
static SmemvPair still_wanted(const SmemvSession *s, SmemvPair pair)
{
    if (pair.twin && !s->peers[pair.twin - SMEMV_REMOTE].wanted) {
        pair = smemv_pair_without(pair, pair.twin);
    }
    if (pair.place && !s->peers[pair.place - SMEMV_REMOTE].wanted) {
        pair = smemv_pair_without(pair, pair.place);
    }
    return pair;
}

/* The same for two copies: those that are stored already are replaced. */
static SmemvPair pair_for(SmemvPager *p, uint64_t page, SmemvPair beside)
{
    SmemvSession *s = p->session;
    SmemvPair home = still_wanted(s, smemv_pages_home(p, page));
    int second;

    if (s->replicas == 1) {
        return (SmemvPair) { place_for(p, page, beside.place), 0 };
    }
    if (smemv_pages_copy_of(p, page)) {
        /* An older content is just arriving at a peer; soon both can do. */
        return (SmemvPair) { 0, 0 };
    }
    if (!home.place) {
        home = smemv_twins_choose(s, beside);
        /* Room for one copy of any page comes first. */
        return smemv_pager_spare(p) ? home : (SmemvPair) { home.place, 0 };
    }
    if (!home.twin && smemv_pager_spare(p)) {
        second = smemv_twins_best(s, home.place - SMEMV_REMOTE, SMEMV_NO_PEER);
        home.twin = second == SMEMV_NO_PEER ? 0 : SMEMV_REMOTE + second;
    }
    return home;
}

/* Have @page sent to the peer at @place in this round. */
static void assign_to(SmemvEvictor *e, SmemvPut put, uint8_t place)
{
    SmemvPager *p = e->p;
    SmemvPeer *peer = &p->session->peers[place - SMEMV_REMOTE];
    SmemvRound *r = &e->rounds[place - SMEMV_REMOTE];
    SmemvPair home = smemv_pages_home(p, put.page);

    r->puts[r->n++] = put;
    peer->stored += home.place != place && home.twin != place;
    peer->busy++;
}

/*
 * Whether what is in @slot, at @data, is unchanged since it came from its
 * home, and can be had there again. Gives the lock up meanwhile; the slot is
 * sending then, and may have been touched.
 */
static bool is_at_home(SmemvPager *p, SmemvSlot *slot, const uint8_t *data)
{
    uint8_t home = p->home[slot->page];
    SmemvDigest before, now;
    SmemvPeer *peer;

    if (!home || !smemv_digest_known(&p->digest[slot->page])) {
        return false;
    }
    peer = &p->session->peers[home - SMEMV_REMOTE];
    before = p->digest[slot->page];
    slot->sending = true;
    qemu_mutex_unlock(&p->lock);
    now = smemv_digest(data);
    qemu_mutex_lock(&p->lock);
    return smemv_digest_equal(&before, &now) && p->home[slot->page] == home &&
           peer->wanted && !peer->closing && !qatomic_read(&peer->lost) &&
           !qatomic_read(&peer->emptied);
}

/* Give the @n oldest slots to peers; returns for how many there was room. */
static size_t assign(SmemvEvictor *e, size_t n)
{
    SmemvPager *p = e->p;
    uint64_t last = SMEMV_NO_PAGE;

    for (size_t i = 0; i < n; i++) {
        uint64_t index = p->staging.tail + i;
        SmemvSlot *slot = smemv_staging_slot(&p->staging, index);
        const uint8_t *data = smemv_staging_host(&p->staging, index);

        e->pairs[i] = (SmemvPair) { SMEMV_ZERO, 0 };
        clear_bit(i, e->unsent);
        if (slot->page == SMEMV_NO_PAGE) {
            continue;
        }
        if (is_at_home(p, slot, data)) {
            uint8_t home = p->home[slot->page];

            e->pairs[i] = (SmemvPair) { home, 0 };
            set_bit(i, e->unsent);
            p->session->peers[home - SMEMV_REMOTE].busy++;
        } else if (!slot->touched && !buffer_is_zero(data, SMEMV_PAGE_SIZE)) {
            bool beside = i && slot->page == last + 1;
            SmemvPair pair = pair_for(p, slot->page, beside ? e->pairs[i - 1] :
                                      (SmemvPair) { SMEMV_ZERO, 0 });
            SmemvPut put = { .page = slot->page, .data = data };

            if (!pair.place) {
                slot->sending = false;
                return i;
            }
            if (pair.twin) {
                put.version = p->session->seal ?
                              smemv_seal_version(p->session->seal) : 0;
                assign_to(e, put, pair.twin);
            }
            assign_to(e, put, pair.place);
            e->pairs[i] = pair;
        }
        slot->sending = true;
        last = slot->page;
    }
    return n;
}

/* Send what @r has for its peer; the answers are awaited later. */
static int send_round(SmemvRound *r, Error **errp)
{
    const uint64_t *drops = (const uint64_t *)r->drops->data;
    int ret = r->conn.ioc ? 0 : smemv_conn_attach(&r->conn, errp);

    r->requests = 0;
    /* Drops first: a page may be among them that is put again. */
    if (!ret) {
        ret = smemv_conn_send_drops(&r->conn, drops, r->drops->len,
                                    &r->requests, errp);
    }
    return ret ? ret : smemv_conn_send_puts(&r->conn, r->puts, r->n,
                                            &r->requests, errp);
}

/*
 * The connection was lost in a round. What was sent on it may still be done
 * at any time, so the claim is renewed, and the round sent once more; or it
 * is found that the peer has failed.
 */
static void repeat_round(SmemvEvictor *e, SmemvRound *r)
{
    SmemvPeer *peer = r->conn.peer;
    int ret = -1;

    while (ret && !qatomic_read(&e->p->stop) && !qatomic_read(&peer->failed)) {
        g_autoptr(Error) err = NULL;
        bool claimed;

        trace_smemv_evictor_retry(peer->name);
        ret = smemv_conn_claim(&r->conn, true, &err);
        claimed = !ret;
        if (!ret) {
            ret = send_round(r, &err);
        }
        if (!ret) {
            ret = smemv_conn_await(&r->conn, r->requests, &err);
        }
        if (claimed && smemv_conn_overtaken(&r->conn, ret)) {
            /* A mover has renewed it since. A claim is refused by others. */
            continue;
        }
        if (ret > 0 && !smemv_peer_lost_memory(e->p->session, peer, ret)) {
            smemv_fatal("smemv: pages cannot be kept, the VM ends: %s",
                        error_get_pretty(err));
        } else if (ret) {
            warn_report_once("smemv: waiting: %s", error_get_pretty(err));
            g_usleep(SMEMV_RECONNECT_US);
        }
    }
}

/* Send to all peers side by side, and await all. */
static void send_rounds(SmemvEvictor *e)
{
    unsigned n_peers = e->p->session->n_peers;
    g_autofree int *status = g_new0(int, n_peers);

    for (unsigned i = 0; i < n_peers; i++) {
        SmemvRound *r = &e->rounds[i];

        if (r->n || r->drops->len) {
            status[i] = send_round(r, NULL);
        }
    }
    for (unsigned i = 0; i < n_peers; i++) {
        SmemvRound *r = &e->rounds[i];

        if (!status[i] && (r->n || r->drops->len)) {
            status[i] = smemv_conn_await(&r->conn, r->requests, NULL);
        }
        if (status[i]) {
            repeat_round(e, r);
        }
    }
}

static void finish_put(SmemvEvictor *e, uint64_t page, uint8_t place)
{
    SmemvPeer *peer = &e->p->session->peers[place - SMEMV_REMOTE];

    peer->busy--;
    trace_smemv_page_out(page, peer->name);
}

/*
 * The page in @slot is at @pair, @sent there or not, and nothing else of it is
 * here if it was not touched.
 */
static void finish_slot(SmemvEvictor *e, SmemvSlot *slot, SmemvPair pair,
                        bool sent)
{
    SmemvPager *p = e->p;
    SmemvPair alive = smemv_twins_alive(p->session, pair);

    if (pair.place != SMEMV_ZERO) {
        finish_put(e, slot->page, pair.place);
        if (pair.twin) {
            finish_put(e, slot->page, pair.twin);
        }
    }
    if (slot->touched) {
        p->doubled--;
        if (alive.place != SMEMV_ZERO) {
            smemv_pages_left_behind(p, slot->page, alive);
        } else {
            smemv_pages_settle_home(p, slot->page, alive);
        }
    } else if (pair.place != SMEMV_ZERO && alive.place == SMEMV_ZERO) {
        /* Nobody has it who counts. */
        slot->sending = false;
        smemv_pages_bring_back(p, slot->page);
    } else {
        p->unsent += !sent;
        smemv_pages_went_out(p, slot->page, alive);
    }
}

/* The round is stored: its slots are free, and its pages where they went. */
static void finish_round(SmemvEvictor *e, size_t n)
{
    SmemvPager *p = e->p;
    SmemvSession *s = p->session;

    for (size_t i = 0; i < n; i++) {
        SmemvSlot *slot = smemv_staging_slot(&p->staging, p->staging.tail + i);

        if (slot->page != SMEMV_NO_PAGE) {
            finish_slot(e, slot, e->pairs[i], !test_bit(i, e->unsent));
        }
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        SmemvRound *r = &e->rounds[i];

        if (!s->peers[i].failed) {
            s->peers[i].stored -= r->drops->len;
        }
        g_array_set_size(r->drops, 0);
        r->n = 0;
    }
    smemv_staging_release(&p->staging, n);
    qemu_cond_broadcast(&p->room);
    qemu_cond_broadcast(&p->quiet);
}

/*
 * Send the oldest pages in staging to the sub-hosts, and what is to be
 * dropped there. Gives the lock up meanwhile. Returns how many pages that
 * were.
 */
static size_t send_out(SmemvEvictor *e)
{
    SmemvPager *p = e->p;
    uint64_t staged = p->staging.head - p->staging.tail;
    size_t n = assign(e, MIN(staged, SMEMV_BATCH)), n_drops = p->n_drops;
    bool short_of_room = n < MIN(staged, SMEMV_BATCH);

    /*
     * After that, which gives the lock up: what was to be dropped meanwhile
     * may be of a page that is put in this round, and must go before it.
     */
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        GArray *empty = e->rounds[i].drops;

        if (p->session->peers[i].closing) {
            smemv_conn_close(&e->rounds[i].conn);
            g_array_set_size(p->drops[i], 0);
        }
        e->rounds[i].drops = p->drops[i];
        p->drops[i] = empty;
    }
    p->n_drops = 0;
    if (short_of_room && !p->homes && QLIST_EMPTY(&p->copies)) {
        warn_report_once("smemv: the sub-hosts have no room left");
    }

    qemu_mutex_unlock(&p->lock);
    if (short_of_room) {
        /* What is not needed there makes room for the next round. */
        smemv_pages_tidy(p);
    }
    send_rounds(e);
    qemu_mutex_lock(&p->lock);
    if (!p->stop) {
        finish_round(e, n);
    }
    return n + n_drops + p->n_drops;
}

/* Have less than the low watermark, as long as that is possible. */
static void evict(SmemvEvictor *e)
{
    SmemvPager *p = e->p;

    do {
        size_t moved = smemv_pager_held(p) > smemv_pager_low(p->limit) ?
                       move_out(p) : 0;

        /* Pages linger in staging until it is full. */
        if (!moved || staging_full(p) ||
            smemv_pager_held(p) >= p->limit) {
            moved += send_out(e);
        }
        if (!moved) {
            /* All are pinned, or on their way in. */
            qemu_cond_timedwait(&p->work, &p->lock, STUCK_MS);
        }
    } while (!p->stop && p->may_evict &&
             smemv_pager_held(p) > smemv_pager_low(p->limit));
}

/*
 * The pages that came with the VM, of these the @cold ones or the others, have
 * arrived. Wants the lock, and gives it up meanwhile.
 */
static void note_resident(SmemvPager *p, bool cold)
{
    const uint8_t *place = p->map->place, *at = place;
    const uint8_t *end = place + p->map->pages;
    uint64_t looks = 0;

    while (!p->stop && (at = memchr(at, SMEMV_MAIN, end - at))) {
        uint64_t page = at++ - place;

        if (test_bit(page, p->cold) == cold) {
            smemv_pages_arrived(p, page);
        }
        if (++looks % LOOKS_PER_LOCK == 0) {
            qemu_mutex_unlock(&p->lock);
            qemu_mutex_lock(&p->lock);
        }
    }
}

static void *evictor_thread(void *opaque)
{
    SmemvEvictor *e = opaque;
    SmemvPager *p = e->p;

    QEMU_LOCK_GUARD(&p->lock);
    note_resident(p, true);
    note_resident(p, false);
    g_clear_pointer(&p->cold, g_free);
    while (!p->stop) {
        if (p->may_evict &&
            (smemv_pager_held(p) > smemv_pager_high(p->limit) ||
             p->n_drops >= (e->flush ? 1 : SMEMV_BATCH))) {
            p->evicting = true;
            e->flush = false;
            evict(e);
            p->evicting = false;
            qemu_cond_broadcast(&p->quiet);
        } else {
            qemu_cond_wait(&p->work, &p->lock);
        }
    }
    return NULL;
}

SmemvEvictor *smemv_evictor_new(SmemvPager *p, Error **errp)
{
    SmemvEvictor *e = g_new0(SmemvEvictor, 1);
    SmemvSession *s = p->session;

    e->p = p;
    e->rounds = g_new0(SmemvRound, SMEMV_MAX_PEERS);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        SmemvRound *r = &e->rounds[i];

        r->drops = g_array_new(false, false, sizeof(uint64_t));
        smemv_conn_init(&r->conn, s, &s->peers[i]);
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (smemv_conn_attach(&e->rounds[i].conn, errp)) {
            return NULL;
        }
    }
    return e;
}

void smemv_evictor_free(SmemvEvictor *e)
{
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_close(&e->rounds[i].conn);
        g_array_free(e->rounds[i].drops, true);
    }
    g_free(e->rounds);
    g_free(e);
}

bool smemv_evictor_claim(SmemvEvictor *e, Error **errp)
{
    SmemvSession *s = e->p->session;
    SmemvRound *arbiter = &e->rounds[smemv_session_arbiter(s) - s->peers];

    /* With the arbiter's word the VM runs here. */
    arbiter->conn.patience_ms = SMEMV_PATIENCE_MS;
    if (smemv_conn_claim_vm(&arbiter->conn, errp)) {
        return false;
    }
    arbiter->conn.patience_ms = 0;
    for (unsigned i = 0; i < s->n_peers; i++) {
        SmemvRound *r = &e->rounds[i];
        g_autoptr(Error) err = NULL;

        if (r == arbiter || s->peers[i].failed) {
            continue;
        }
        /* One that is not there just now is claimed when it is back. */
        r->conn.patience_ms = SMEMV_PATIENCE_MS;
        if (smemv_conn_claim(&r->conn, false, &err)) {
            warn_report("smemv: %s", error_get_pretty(err));
            smemv_conn_close(&r->conn);
        }
        r->conn.patience_ms = 0;
    }
    return true;
}

static bool has_pages(const GArray *pages, uint64_t page, unsigned n)
{
    for (unsigned i = 0; i < pages->len; i++) {
        if (g_array_index(pages, uint64_t, i) - page < n) {
            return true;
        }
    }
    return false;
}

bool smemv_evictor_drops(SmemvEvictor *e, unsigned i, uint64_t page,
                         unsigned n)
{
    return has_pages(e->p->drops[i], page, n) ||
           has_pages(e->rounds[i].drops, page, n);
}

bool smemv_evictor_drops_from(SmemvEvictor *e, unsigned i)
{
    return e->rounds[i].drops->len;
}

bool smemv_evictor_drops_any(SmemvEvictor *e)
{
    for (unsigned i = 0; i < e->p->session->n_peers; i++) {
        if (smemv_evictor_drops_from(e, i)) {
            return true;
        }
    }
    return false;
}

void smemv_evictor_flush(SmemvEvictor *e)
{
    e->flush = true;
    qemu_cond_signal(&e->p->work);
}

void smemv_evictor_start(SmemvEvictor *e)
{
    qemu_thread_create(&e->thread, "smemv-evict", evictor_thread, e,
                       QEMU_THREAD_JOINABLE);
}

void smemv_evictor_join(SmemvEvictor *e)
{
    qemu_thread_join(&e->thread);
}
