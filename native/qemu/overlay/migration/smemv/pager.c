/*
 * Pager: pages in.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include "qemu/bitmap.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "qemu/userfaultfd.h"
#include "exec/memory.h"
#include "migration/misc.h"
#include "qemu/error-report.h"
#include "system/runstate.h"
#include "system/system.h"
#include "client.h"
#include "evictor.h"
#include "lookout.h"
#include "readahead.h"
#include "rebalance.h"
#include "rebuild.h"
#include "smemv.h"
#include "trace.h"
#include "twins.h"
#include "waiting.h"

/* Pages looked at while the pager's lock is held. */
#define LOOK_PAGES (1 << 16)

/* How often a wait looks up, in ms: a migration can be cancelled. */
#define WAKE_MS 100

/* What the evictor may take to end its round, in ms, while the VM is paused. */
#define PAUSE_MS 1000

/* A fault thread and its connections. */
typedef struct SmemvFaultThread {
    SmemvPager *p;
    QemuThread thread;
    int epoll_fd;
    SmemvConn *conns;            /* to each peer, SMEMV_MAX_PEERS of them */
} SmemvFaultThread;

uint64_t smemv_pager_promised(const SmemvPager *p)
{
    return smemv_least_shares(p->map->pages, p->limit);
}

uint64_t smemv_pager_spare(const SmemvPager *p)
{
    uint64_t wanted = smemv_pager_promised(p), room = 0;

    for (unsigned i = 0; i < p->session->n_peers; i++) {
        const SmemvPeer *peer = &p->session->peers[i];

        wanted -= MIN(wanted, peer->remote);
        room += smemv_peer_room(peer);
    }
    return room > wanted ? room - wanted : 0;
}

bool smemv_pager_supported(Error **errp)
{
    uint64_t features;

    if (uffd_query_features(&features)) {
        error_setg(errp, "userfaultfd cannot be used: it needs "
                   "CAP_SYS_PTRACE, or access to /dev/userfaultfd");
        return false;
    }
    if (!(features & UFFD_FEATURE_MOVE)) {
        error_setg(errp, "this host's kernel has no UFFDIO_MOVE: "
                   "it needs Linux 6.8 or later");
        return false;
    }
    return true;
}

void smemv_pager_arrived(SmemvPager *p, uint64_t page)
{
    p->map->place[page] = SMEMV_MAIN;
    p->arrivals[p->arrivals_head++ % p->map->pages] = page;
    if (smemv_pager_held(p) > smemv_pager_high(p->limit)) {
        qemu_cond_signal(&p->work);
    }
}

bool smemv_pager_oldest(SmemvPager *p, uint64_t *page)
{
    if (p->arrivals_tail == p->arrivals_head) {
        return false;
    }
    *page = p->arrivals[p->arrivals_tail++ % p->map->pages];
    return true;
}

void smemv_pager_drop(SmemvPager *p, unsigned i, uint64_t page)
{
    if (p->session->peers[i].failed) {
        return;
    }
    g_array_append_val(p->drops[i], page);
    if (++p->n_drops >= SMEMV_BATCH) {
        qemu_cond_signal(&p->work);
    }
}

int smemv_pager_move(SmemvPager *p, void *to, void *from, bool wake)
{
    struct uffdio_move m = {
        .dst = (uintptr_t)to,
        .src = (uintptr_t)from,
        .len = SMEMV_PAGE_SIZE,
        .mode = wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE,
    };

    return ioctl(p->uffd, UFFDIO_MOVE, &m) ? -errno : 0;
}

SmemvCopy *smemv_pager_copy_of(SmemvPager *p, uint64_t page)
{
    SmemvCopy *c;

    QLIST_FOREACH(c, &p->copies, next) {
        if (page - c->page < c->n) {
            return c;
        }
    }
    return NULL;
}

static void note_change(SmemvPager *p, uint64_t page)
{
    if (p->keeps) {
        g_array_append_val(p->changes, page);
    }
}

static SmemvPeer *peer_at(SmemvPager *p, uint8_t place)
{
    return &p->session->peers[place - SMEMV_REMOTE];
}

/* Peers have @pages pages more, or fewer, that are at @pair. */
static void count(SmemvPager *p, SmemvPair pair, int pages)
{
    peer_at(p, pair.place)->remote += pages;
    if (pair.twin) {
        peer_at(p, pair.twin)->twins += pages;
    }
}

static void count_single(SmemvPager *p, SmemvPair pair, int pages)
{
    if (!pair.twin) {
        peer_at(p, pair.place)->single += pages;
    }
}

static void count_fetching(SmemvPager *p, SmemvPair pair, int pages)
{
    peer_at(p, pair.place)->busy += pages;
    peer_at(p, pair.place)->fetching += pages;
    if (pair.twin) {
        peer_at(p, pair.twin)->busy += pages;
        peer_at(p, pair.twin)->fetching += pages;
    }
}

void smemv_pager_set(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    SmemvPair before = smemv_page_map_get(p->map, page);

    count(p, before, -1);
    count_single(p, before, -1);
    count(p, pair, 1);
    count_single(p, pair, 1);
    smemv_page_map_set(p->map, page, pair);
    note_change(p, page);
}

void smemv_pager_set_home(SmemvPager *p, uint64_t page, SmemvPair home)
{
    if (p->home[page] && smemv_digest_known(&p->digest[page])) {
        p->digest[page] = (SmemvDigest) { };
    }
    p->homes += !!home.place;
    p->homes -= !!p->home[page];
    p->home[page] = home.place;
    if (p->home_twin) {
        p->home_twin[page] = home.twin;
    }
}

void smemv_pager_settle_home(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    SmemvPair home = smemv_pager_home(p, page);

    home = smemv_pair_without(home, pair.place);
    if (pair.twin) {
        home = smemv_pair_without(home, pair.twin);
    }
    if (home.place && !p->keeps) {
        smemv_pager_drop(p, home.place - SMEMV_REMOTE, page);
        if (home.twin) {
            smemv_pager_drop(p, home.twin - SMEMV_REMOTE, page);
        }
        home = (SmemvPair) { 0, 0 };
    }
    smemv_pager_set_home(p, page, home);
}

/* Whether @page is just on its way in or out. */
static bool is_under_way(SmemvPager *p, uint64_t page)
{
    uint64_t index;

    if (p->map->place[page] != SMEMV_STAGED) {
        return p->map->place[page] == SMEMV_FETCHING;
    }
    index = smemv_staging_find(&p->staging, page);
    return smemv_staging_slot(&p->staging, index)->sending;
}

void smemv_pager_tidy(SmemvPager *p)
{
    for (uint64_t page = 0; page < p->map->pages;) {
        uint64_t end = MIN(page + LOOK_PAGES, p->map->pages);

        QEMU_LOCK_GUARD(&p->lock);
        if (!p->homes) {
            break;
        }
        for (; page < end; page++) {
            if (!p->home[page] || is_under_way(p, page)) {
                continue;        /* what moves it looks after it */
            }
            smemv_pager_settle_home(p, page, smemv_page_map_get(p->map, page));
        }
    }
}

void smemv_pager_left_behind(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    SmemvPair home = smemv_pager_home(p, page);

    pair = smemv_twins_alive(p->session, pair);
    if (!pair.place) {
        return;
    }
    if (p->keeps) {
        smemv_pager_set_home(p, page, pair);
        note_change(p, page);
        return;
    }
    smemv_pager_drop(p, pair.place - SMEMV_REMOTE, page);
    home = smemv_pair_without(home, pair.place);
    if (pair.twin) {
        smemv_pager_drop(p, pair.twin - SMEMV_REMOTE, page);
        home = smemv_pair_without(home, pair.twin);
    }
    smemv_pager_set_home(p, page, home);
}

SmemvPair smemv_pager_begin_in(SmemvPager *p, uint64_t page)
{
    SmemvPair pair = smemv_page_map_get(p->map, page);

    smemv_page_map_set(p->map, page, (SmemvPair) { SMEMV_FETCHING, 0 });
    p->resident++;
    if (pair.place == SMEMV_ZERO) {
        p->zero--;
    } else {
        SmemvCopy *copy = smemv_pager_copy_of(p, page);

        count(p, pair, -1);
        count_fetching(p, pair, 1);
        p->pages_in++;
        if (copy) {
            set_bit(page - copy->page, copy->touched);
        }
    }
    return pair;
}

bool smemv_pager_may_keep(const SmemvPager *p, SmemvPair pair)
{
    /* Room for a second copy of another page is worth more. */
    return p->session->replicas == 1 && pair.place != SMEMV_ZERO &&
           !p->keeps && p->may_evict &&
           !smemv_rebalance_active(p->rebalance) && smemv_pager_spare(p);
}

void smemv_pager_end_in(SmemvPager *p, uint64_t page, SmemvPair pair,
                        const SmemvDigest *digest)
{
    if (pair.place != SMEMV_ZERO) {
        SmemvPair alive = smemv_twins_alive(p->session, pair);

        count_fetching(p, pair, -1);
        /* Until here, so that it is not given up while it comes in. */
        count_single(p, pair, -1);
        if (p->keeps && !alive.twin) {
            peer_at(p, alive.place)->needed = true;
        }
        if (smemv_digest_known(digest) && smemv_pager_may_keep(p, pair)) {
            smemv_pager_set_home(p, page, pair);
            p->digest[page] = *digest;
        } else {
            smemv_pager_left_behind(p, page, pair);
        }
    }
    smemv_pager_arrived(p, page);
}

void smemv_pager_went_out(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    smemv_page_map_set(p->map, page, pair);
    p->resident--;
    if (pair.place == SMEMV_ZERO) {
        p->zero++;
    } else {
        count(p, pair, 1);
        count_single(p, pair, 1);
        p->pages_out++;
    }
    smemv_pager_settle_home(p, page, pair);
    note_change(p, page);
}

/*
 * A zero page is copied too, not mapped: the kernel's own zero page would
 * become memory at the first write, without a fault that could be counted.
 */
void smemv_pager_copy_in(SmemvPager *p, uint64_t page, const void *data)
{
    static const uint8_t zeros[SMEMV_PAGE_SIZE];
    struct uffdio_copy c = {
        .dst = (uintptr_t)smemv_page_map_host(p->map, page),
        .src = (uintptr_t)(data ? data : zeros),
        .len = SMEMV_PAGE_SIZE,
    };

    while (ioctl(p->uffd, UFFDIO_COPY, &c)) {
        /* EAGAIN: the memory map is just being changed by another thread. */
        if (errno != EAGAIN) {
            smemv_fatal("smemv: cannot place page 0x%" PRIx64 ": %s",
                        page << SMEMV_PAGE_BITS, strerror(errno));
        }
        c.copy = 0;
    }
}

void smemv_pager_bring_back(SmemvPager *p, uint64_t page)
{
    uint64_t index = smemv_staging_find(&p->staging, page);
    SmemvSlot *slot = smemv_staging_slot(&p->staging, index);
    uint8_t *from = smemv_staging_host(&p->staging, index);
    int ret;

    if (slot->sending) {
        /* The evictor still reads the slot; what it sends is stale then. */
        smemv_pager_copy_in(p, page, from);
        slot->touched = true;
        p->doubled++;
    } else {
        do {
            ret = smemv_pager_move(p, smemv_page_map_host(p->map, page), from,
                                   true);
        } while (ret == -EAGAIN);
        if (ret) {
            smemv_fatal("smemv: cannot move page 0x%" PRIx64 " back: %s",
                        page << SMEMV_PAGE_BITS, strerror(-ret));
        }
        smemv_staging_take(&p->staging, index);
    }
    smemv_pager_arrived(p, page);
}

/* Have @data, or zeros, where it belongs. */
static void place(SmemvPager *p, SmemvFetch *f, const void *data)
{
    smemv_pager_copy_in(p, f->page, data);
    f->here = true;
}

bool smemv_pager_fetch(SmemvPager *p, SmemvConn *c, SmemvFetch *f)
{
    g_autoptr(Error) err = NULL;
    const uint8_t *data = NULL;
    int ret;

    if (c->gets) {
        ret = smemv_conn_receive_get(c, f->page, &data, &err);
    } else {
        ret = c->ioc ? 0 : smemv_conn_attach(c, &err);
        if (!ret) {
            ret = smemv_conn_get(c, f->page, &data, &err);
        }
    }
    if (!ret && !data) {
        g_autofree char *id = smemv_session_id(p->session);

        error_setg(&err, "it is missing on %s (session %s)", c->peer->name,
                   id);
        ret = SMEMV_WIRE_CHECKSUM;
    }
    if (ret && qatomic_read(&p->stop)) {
        return false;
    }
    if (ret && qatomic_read(&p->left) && !runstate_is_running()) {
        /* Nothing of the guest: this process is about to end. */
        place(p, f, NULL);
        return true;
    }
    if (ret == SMEMV_WIRE_STALE && smemv_peer_moved_on(c->peer, c->epoch)) {
        /* The evictor has renewed the claim: attach once more. */
        smemv_conn_close(c);
        return false;
    }
    if (ret && !smemv_source_next(&f->source, ret, err)) {
        smemv_fatal("smemv: page 0x%" PRIx64 " cannot be had, the VM ends: %s",
                    f->page << SMEMV_PAGE_BITS, error_get_pretty(err));
    }
    if (ret) {
        return false;
    }
    place(p, f, data);
    if (f->keep) {
        /* The guest goes on meanwhile: @data is this thread's. */
        f->digest = smemv_digest(data);
    }
    return true;
}

void smemv_pager_end_fetch(SmemvPager *p, const SmemvFetch *f)
{
    uint64_t us = (get_clock() - f->began) / SCALE_US;

    if (f->pair.place != SMEMV_ZERO) {
        p->latency[MIN(64 - clz64(us >> 4), SMEMV_LATENCIES - 1)]++;
    }
    smemv_pager_end_in(p, f->page, f->pair, &f->digest);
}

SmemvConn *smemv_pager_conns(SmemvPager *p)
{
    SmemvConn *conns = g_new(SmemvConn, SMEMV_MAX_PEERS);

    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_init(&conns[i], p->session, &p->session->peers[i]);
        conns[i].impatient = true;
        if (p->session->replicas > 1) {
            conns[i].patience_ms = SMEMV_PATIENCE_MS;
        }
    }
    return conns;
}

static bool has_room(const SmemvPager *p)
{
    return smemv_pager_held(p) < p->limit || !p->may_evict;
}

/* Wait, with the lock held, until a page may come in. */
static bool wait_for_room(SmemvPager *p)
{
    p->room_waits += !has_room(p);
    while (!has_room(p) && !p->stop) {
        qemu_cond_signal(&p->work);
        qemu_cond_wait(&p->room, &p->lock);
    }
    return !p->stop;
}

/* The page that a fault is on. */
static uint64_t page_of(SmemvPager *p, const struct uffd_msg *msg)
{
    void *address = (void *)(uintptr_t)msg->arg.pagefault.address;
    uint64_t page;

    if (msg->event != UFFD_EVENT_PAGEFAULT ||
        !smemv_page_map_find(p->map, address, &page)) {
        smemv_fatal("smemv: page fault at %p, which is no guest RAM", address);
    }
    return page;
}

static bool is_absent(const SmemvPager *p, uint64_t page)
{
    uint8_t place = p->map->place[page];

    return place != SMEMV_MAIN && place != SMEMV_FETCHING &&
           place != SMEMV_STAGED;
}

static SmemvFetch begin_fetch(SmemvPager *p, uint64_t page, int64_t now)
{
    SmemvFetch f = { .page = page, .began = now, .asked = SMEMV_NO_PEER };

    f.pair = smemv_pager_begin_in(p, page);
    if (f.pair.place != SMEMV_ZERO) {
        smemv_source_init(&f.source, p->session, f.pair);
    }
    f.keep = smemv_pager_may_keep(p, f.pair);
    return f;
}

/*
 * Look at the first of @n faults, and do what can be done at once. Their pages
 * that are to be fetched become @fetches. Returns how many faults that were:
 * those that there is no room for wait until what was begun has been fetched.
 */
static size_t begin_faults(SmemvPager *p, const struct uffd_msg *msgs,
                           size_t n, SmemvFetch *fetches, size_t *n_fetches)
{
    int64_t now = get_clock();
    size_t i;

    *n_fetches = 0;
    QEMU_LOCK_GUARD(&p->lock);
    for (i = 0; i < n; i++) {
        uint64_t page = page_of(p, &msgs[i]);

        if (is_absent(p, page)) {
            if (*n_fetches && !has_room(p)) {
                break;
            }
            if (!wait_for_room(p)) {
                return n;
            }
        }
        p->faults++;
        /* Another thread may have fetched it while this one waited. */
        switch (p->map->place[page]) {
        case SMEMV_MAIN:
            /* It came in between; whoever waits may not have seen it. */
            uffd_wakeup(p->uffd, smemv_page_map_host(p->map, page),
                        SMEMV_PAGE_SIZE);
            break;
        case SMEMV_FETCHING:
            /* It may be read ahead, and the guest have caught up. */
            smemv_readahead_fault(p->readahead, page);
            break;
        case SMEMV_STAGED:
            p->second_chances++;
            trace_smemv_second_chance(page);
            smemv_pager_bring_back(p, page);
            break;
        default:
            fetches[(*n_fetches)++] = begin_fetch(p, page, now);
            smemv_readahead_fault(p->readahead, page);
        }
    }
    return i;
}

/*
 * Ask peer @i for those of @fetches that it has. To connect to one that does
 * not answer takes long: that is left to the thread that waits for it.
 */
static void ask(SmemvFaultThread *t, unsigned i, SmemvFetch *fetches, size_t n)
{
    SmemvConn *c = &t->conns[i];
    uint64_t pages[SMEMV_GETS];
    size_t n_pages = 0;

    for (size_t j = 0; j < n; j++) {
        if (fetches[j].pair.place != SMEMV_ZERO &&
            fetches[j].source.peer == i) {
            fetches[j].asked = i;
            trace_smemv_page_in(fetches[j].page, c->peer->name);
            pages[n_pages++] = fetches[j].page;
        }
    }
    if (n_pages && !c->ioc && !qatomic_read(&c->peer->lost) &&
        smemv_conn_attach(c, NULL)) {
        smemv_conn_close(c);
    }
    if (n_pages && c->ioc) {
        smemv_conn_send_gets(c, pages, n_pages, NULL);
    }
}

/* Take the next answer of peer @i, to the first of @fetches that awaits one. */
static void take_answer(SmemvFaultThread *t, int i, SmemvFetch *fetches)
{
    SmemvFetch *f = fetches;

    while (f->asked != i) {
        f++;
    }
    f->asked = SMEMV_NO_PEER;
    smemv_pager_fetch(t->p, &t->conns[i], f);
}

/*
 * Fetch the pages of several faults: those of one peer with one message, and
 * the answers as they come.
 */
static void fetch_all(SmemvFaultThread *t, SmemvFetch *fetches, size_t n)
{
    unsigned n_peers = t->p->session->n_peers;
    int answering;

    for (unsigned i = 0; i < n_peers; i++) {
        ask(t, i, fetches, n);
    }
    for (size_t j = 0; j < n; j++) {
        if (fetches[j].pair.place == SMEMV_ZERO) {
            place(t->p, &fetches[j], NULL);
        }
    }
    while ((answering = smemv_conns_answering(t->conns, n_peers)) >= 0) {
        take_answer(t, answering, fetches);
    }
}

static void serve_faults(SmemvFaultThread *t, const struct uffd_msg *msgs,
                         size_t n)
{
    SmemvFetch fetches[SMEMV_GETS];
    SmemvPager *p = t->p;
    size_t n_fetches;

    for (size_t done = 0; done < n;) {
        done += begin_faults(p, msgs + done, n - done, fetches, &n_fetches);
        fetch_all(t, fetches, n_fetches);

        QEMU_LOCK_GUARD(&p->lock);
        for (size_t i = 0; i < n_fetches; i++) {
            if (fetches[i].here) {
                smemv_pager_end_fetch(p, &fetches[i]);
            } else {
                smemv_waiting_add(p->waiting, &fetches[i]);
            }
        }
    }
}

static void *fault_thread(void *opaque)
{
    SmemvFaultThread *t = opaque;
    SmemvPager *p = t->p;
    struct uffd_msg msgs[SMEMV_GETS];
    struct epoll_event event;

    while (!qatomic_read(&p->stop)) {
        ssize_t n = read(p->uffd, msgs, sizeof(msgs));

        if (n > 0) {
            serve_faults(t, msgs, n / sizeof(msgs[0]));
        } else if (n < 0 && errno == EAGAIN) {
            if (epoll_wait(t->epoll_fd, &event, 1, -1) < 0 && errno != EINTR) {
                smemv_fatal("smemv: cannot wait for page faults: %s",
                            strerror(errno));
            }
        } else if (n == 0 || errno != EINTR) {
            smemv_fatal("smemv: cannot read page faults: %s", strerror(errno));
        }
    }
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_close(&t->conns[i]);
    }
    close(t->epoll_fd);
    return NULL;
}

static SmemvFaultThread *fault_thread_new(SmemvPager *p, Error **errp)
{
    SmemvFaultThread *t = g_new0(SmemvFaultThread, 1);
    /* Exclusive: one fault wakes one thread. */
    struct epoll_event fault = { .events = EPOLLIN | EPOLLEXCLUSIVE };
    struct epoll_event stop = { .events = EPOLLIN };

    t->p = p;
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    t->conns = smemv_pager_conns(p);
    if (t->epoll_fd < 0 ||
        epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, p->uffd, &fault) ||
        epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, p->stop_fd, &stop)) {
        error_setg_errno(errp, errno, "cannot wait for page faults");
        return NULL;
    }
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        if (smemv_conn_attach(&t->conns[i], errp)) {
            return NULL;
        }
    }
    return t;
}

/* The resident pages that are @cold, or not, have arrived. Wants the lock. */
static void note_resident(SmemvPager *p, bool cold)
{
    for (uint64_t page = 0; page < p->map->pages; page++) {
        if (p->map->place[page] == SMEMV_MAIN &&
            test_bit(page, p->cold) == cold) {
            p->resident++;
            smemv_pager_arrived(p, page);
        }
    }
}

/* Empty what is placed elsewhere, and take note of what is resident. */
static bool take_over_ram(SmemvPager *p, Error **errp)
{
    SmemvPageMap *map = p->map;
    uint64_t run;

    for (uint64_t page = 0; page < map->pages; page += run) {
        bool resident = map->place[page] == SMEMV_MAIN;

        run = smemv_page_map_run(map, page, resident);
        if (!resident && madvise(smemv_page_map_host(map, page),
                                 run << SMEMV_PAGE_BITS, MADV_DONTNEED)) {
            error_setg_errno(errp, errno, "cannot empty guest RAM");
            return false;
        }
    }
    for (unsigned i = 0; i < map->n_blocks; i++) {
        SmemvBlock *b = &map->blocks[i];

        if (uffd_register_memory(p->uffd, b->host, b->pages << SMEMV_PAGE_BITS,
                                 UFFDIO_REGISTER_MODE_MISSING, NULL)) {
            error_setg(errp, "cannot register guest RAM %s with userfaultfd",
                       b->name);
            return false;
        }
    }

    QEMU_LOCK_GUARD(&p->lock);
    note_resident(p, true);
    note_resident(p, false);
    g_clear_pointer(&p->cold, g_free);
    for (uint64_t page = 0; page < map->pages; page++) {
        p->zero += map->place[page] == SMEMV_ZERO;
    }
    return true;
}

/* Tell the threads to end. */
static void pager_stop(SmemvPager *p)
{
    uint64_t one = 1;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        qatomic_set(&p->stop, true);
        qemu_cond_broadcast(&p->room);
        qemu_cond_broadcast(&p->work);
        smemv_rebalance_wake(p->rebalance);
        smemv_readahead_wake(p->readahead);
        smemv_waiting_wake(p->waiting);
        smemv_lookout_wake(p->lookout);
        smemv_rebuild_wake(p->rebuild);
    }
    if (write(p->stop_fd, &one, sizeof(one)) != sizeof(one)) {
        error_report("smemv: cannot tell the pager to stop");
    }
}

/* The VM's process ends: so do its sessions. */
static void pager_exit(Notifier *n, void *data)
{
    SmemvPager *p = container_of(n, SmemvPager, exit_notifier);

    pager_stop(p);
    if (p->claimed && !p->left) {
        if (smemv_rebalance_join(p->rebalance)) {
            return;              /* it has no session any more */
        }
        smemv_evictor_join(p->evictor);
        smemv_lookout_join(p->lookout);
        smemv_rebuild_join(p->rebuild);
        smemv_session_close(p->session);
    }
}

SmemvPager *smemv_pager_new(SmemvSession *session, SmemvPageMap *map,
                            uint64_t limit, Error **errp)
{
    SmemvPager *p = g_new0(SmemvPager, 1);

    p->session = session;
    p->map = map;
    p->limit = limit;
    qemu_mutex_init(&p->lock);
    qemu_cond_init(&p->room);
    qemu_cond_init(&p->work);
    qemu_cond_init(&p->quiet);
    p->arrivals = g_new(uint32_t, map->pages);
    p->cold = bitmap_new(map->pages);
    p->home = g_new0(uint8_t, map->pages);
    p->home_twin = map->twin ? g_new0(uint8_t, map->pages) : NULL;
    /* Of pages whose digests are never known it takes no memory. */
    p->digest = g_new0(SmemvDigest, map->pages);
    p->changes = g_array_new(false, false, sizeof(uint64_t));
    p->drops = g_new(GArray *, SMEMV_MAX_PEERS);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        p->drops[i] = g_array_new(false, false, sizeof(uint64_t));
    }
    p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->uffd = uffd_create_fd(UFFD_FEATURE_MOVE, true);
    if (p->uffd < 0 || p->stop_fd < 0) {
        error_setg(errp, "cannot open userfaultfd");
        return NULL;
    }
    if (!smemv_staging_init(&p->staging, p->uffd,
                            smemv_pager_lingering(limit, false), errp)) {
        return NULL;
    }
    for (unsigned i = 0; i < SMEMV_FAULT_THREADS; i++) {
        p->fault_threads[i] = fault_thread_new(p, errp);
        if (!p->fault_threads[i]) {
            return NULL;
        }
    }
    p->readahead = smemv_readahead_new(p);
    p->waiting = smemv_waiting_new(p);
    p->evictor = smemv_evictor_new(p, errp);
    p->rebalance = smemv_rebalance_new(p);
    p->lookout = smemv_lookout_new(p);
    p->rebuild = smemv_rebuild_new(p);
    return p->evictor ? p : NULL;
}

bool smemv_pager_start(SmemvPager *p, Error **errp)
{
    if (!take_over_ram(p, errp)) {
        return false;
    }
    trace_smemv_pager_start(p->limit);
    smemv_waiting_start(p->waiting);
    for (unsigned i = 0; i < SMEMV_FAULT_THREADS; i++) {
        qemu_thread_create(&p->fault_threads[i]->thread, "smemv-fault",
                           fault_thread, p->fault_threads[i],
                           QEMU_THREAD_JOINABLE);
    }
    return true;
}

bool smemv_pager_claim(SmemvPager *p, Error **errp)
{
    if (!smemv_evictor_claim(p->evictor, errp)) {
        return false;
    }
    p->exit_notifier.notify = pager_exit;
    qemu_add_exit_notifier(&p->exit_notifier);

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        p->claimed = p->may_evict = true;
        smemv_evictor_start(p->evictor);
        smemv_readahead_start(p->readahead);
    }
    if (p->session->replicas > 1) {
        smemv_lookout_start(p->lookout);
        smemv_rebuild_start(p->rebuild);
    }
    /* What the source left to be done: it is done beside the guest. */
    smemv_rebalance_start(p->rebalance);
    return true;
}

/* Move back what is in staging. Wants the lock, and gives it up meanwhile. */
static void empty_staging(SmemvPager *p)
{
    SmemvStaging *s = &p->staging;

    for (uint64_t i = s->tail, end = s->head; i < end;
         i = MAX(i + 1, s->tail)) {
        SmemvSlot *slot = smemv_staging_slot(s, i);

        if (slot->page != SMEMV_NO_PAGE && !slot->touched) {
            smemv_pager_bring_back(p, slot->page);
        }
        if (i % SMEMV_MOVES_PER_LOCK == SMEMV_MOVES_PER_LOCK - 1) {
            qemu_mutex_unlock(&p->lock);
            qemu_mutex_lock(&p->lock);
        }
    }
}

/*
 * The destination is to learn of the copies that are kept already. Wants the
 * lock, and gives it up meanwhile.
 */
static void note_homes(SmemvPager *p)
{
    for (uint64_t page = 0; p->homes && page < p->map->pages; page++) {
        if (p->home[page]) {
            note_change(p, page);
        }
        if (page % LOOK_PAGES == LOOK_PAGES - 1) {
            qemu_mutex_unlock(&p->lock);
            qemu_mutex_lock(&p->lock);
        }
    }
}

bool smemv_pager_begin_migration(SmemvPager *p, uint64_t limit, Error **errp)
{
    QEMU_LOCK_GUARD(&p->lock);
    p->keeps = true;
    p->limit = MIN(p->limit, limit);
    note_homes(p);
    empty_staging(p);
    smemv_evictor_flush(p->evictor);
    while (smemv_pager_held(p) > p->limit || p->n_drops ||
           smemv_evictor_drops_any(p->evictor) ||
           smemv_readahead_busy(p->readahead) ||
           smemv_rebalance_fills(p->rebalance) || !QLIST_EMPTY(&p->copies)) {
        if (!migration_is_running()) {
            error_setg(errp, "the migration was cancelled");
            return false;
        }
        qemu_cond_timedwait(&p->quiet, &p->lock, WAKE_MS);
    }
    return true;
}

bool smemv_pager_pause(SmemvPager *p, Error **errp)
{
    int64_t deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PAUSE_MS;
    int64_t left = PAUSE_MS;

    QEMU_LOCK_GUARD(&p->lock);
    p->may_evict = false;
    p->paused = true;
    qemu_cond_broadcast(&p->room);
    while ((p->evicting || p->failing) && left > 0) {
        qemu_cond_timedwait(&p->quiet, &p->lock, left);
        left = deadline - qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    }
    if (p->evicting || p->failing) {
        error_setg(errp, "a memserver does not answer: pages are on their way "
                   "out and cannot be waited for while the VM is paused");
        return false;
    }
    return true;
}

void smemv_pager_end_migration(SmemvPager *p, uint64_t limit, bool left)
{
    QEMU_LOCK_GUARD(&p->lock);
    qatomic_set(&p->left, left);
    p->keeps = p->paused = false;
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        p->session->peers[i].needed = false;
    }
    p->limit = limit;
    p->may_evict = !left;
    g_array_set_size(p->changes, 0);
    qemu_cond_broadcast(&p->room);
    qemu_cond_signal(&p->work);
}

void smemv_pager_dissolve(SmemvPager *p)
{
    pager_stop(p);
    smemv_evictor_join(p->evictor);
    smemv_readahead_join(p->readahead);
    smemv_lookout_join(p->lookout);
    smemv_rebuild_join(p->rebuild);

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        empty_staging(p);
        for (unsigned i = 0; i < p->map->n_blocks; i++) {
            SmemvBlock *b = &p->map->blocks[i];
            size_t size = b->pages << SMEMV_PAGE_BITS;

            /* Wakes who waits: what is not here by now is zero. */
            if (uffd_unregister_memory(p->uffd, b->host, size)) {
                smemv_fatal("smemv: cannot take back guest RAM %s", b->name);
            }
            madvise(b->host, size, MADV_HUGEPAGE);
        }
    }
    for (unsigned i = 0; i < SMEMV_FAULT_THREADS; i++) {
        qemu_thread_join(&p->fault_threads[i]->thread);
    }
    smemv_waiting_join(p->waiting);
}

void smemv_pager_free(SmemvPager *p)
{
    qemu_remove_exit_notifier(&p->exit_notifier);
    for (unsigned i = 0; i < SMEMV_FAULT_THREADS; i++) {
        g_free(p->fault_threads[i]->conns);
        g_free(p->fault_threads[i]);
    }
    smemv_rebalance_free(p->rebalance);
    smemv_evictor_free(p->evictor);
    smemv_readahead_free(p->readahead);
    smemv_waiting_free(p->waiting);
    smemv_lookout_free(p->lookout);
    smemv_rebuild_free(p->rebuild);
    smemv_staging_cleanup(&p->staging);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        g_array_free(p->drops[i], true);
    }
    g_free(p->drops);
    g_array_free(p->changes, true);
    g_free(p->home);
    g_free(p->home_twin);
    g_free(p->digest);
    g_free(p->arrivals);
    g_free(p->cold);
    close(p->stop_fd);
    close(p->uffd);
    qemu_cond_destroy(&p->quiet);
    qemu_cond_destroy(&p->work);
    qemu_cond_destroy(&p->room);
    qemu_mutex_destroy(&p->lock);
    smemv_page_map_free(p->map);
    smemv_session_free(p->session);
    g_free(p);
}

bool smemv_pager_set_limit(SmemvPager *p, uint64_t limit, uint64_t bandwidth,
                           Error **errp)
{
    uint64_t least = p->session->replicas *
                     smemv_least_shares(p->map->pages, limit);
    uint64_t shares = 0;

    QEMU_LOCK_GUARD(&p->lock);
    if (p->keeps) {
        error_setg(errp, "a migration is under way");
        return false;
    }
    if (smemv_rebalance_active(p->rebalance)) {
        error_setg(errp, "pages of this VM are being moved between its "
                   "sub-hosts: smemv-rebalance changes the limit as well");
        return false;
    }
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        SmemvPeer *peer = &p->session->peers[i];

        shares += MIN(peer->share, peer->wanted);
    }
    if (limit < SMEMV_LEAST_LIMIT) {
        error_setg(errp, "the limit must be at least %u MiB",
                   SMEMV_LEAST_LIMIT >> (20 - SMEMV_PAGE_BITS));
        return false;
    }
    if (shares < least) {
        error_setg(errp, "the sub-hosts have reserved %" PRIu64 " bytes, and "
                   "this limit needs %" PRIu64, shares << SMEMV_PAGE_BITS,
                   least << SMEMV_PAGE_BITS);
        return false;
    }
    if (limit > p->limit) {
        smemv_rebalance_set_bandwidth(p->rebalance, bandwidth);
        smemv_rebalance_fill(p->rebalance);
    }
    p->limit = limit;
    qemu_cond_broadcast(&p->room);
    qemu_cond_signal(&p->work);
    return true;
}
