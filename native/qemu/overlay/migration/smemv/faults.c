/*
 * Faults: the guest touches a page that is not here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/epoll.h>
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "qemu/userfaultfd.h"
#include "client.h"
#include "faults.h"
#include "fetch.h"
#include "pages.h"
#include "readahead.h"
#include "smemv.h"
#include "trace.h"
#include "waiting.h"

/* Faults that can wait for the network at once. */
#define THREADS 4

/* As long as KVM waits for a processor that is halted (halt_poll_ns). */
#define SPIN_NS (200 * SCALE_US)

/*
 * Who serves faults, or goes on after one, wants a processor for less than
 * this at a time. Where giving way takes longer, others want it: for a while a
 * thread sleeps then rather than giving way, as who wakes up has precedence.
 */
#define CROWDED_NS (1 * SCALE_MS)
#define CROWDED_LASTS_NS (100 * SCALE_MS)

/* A thread and its connections. */
typedef struct SmemvFaultThread {
    SmemvPager *p;
    SmemvFaults *all;
    QemuThread thread;
    int epoll_fd;
    SmemvConn *conns;            /* to each peer, SMEMV_MAX_PEERS of them */
} SmemvFaultThread;

struct SmemvFaults {
    SmemvFaultThread threads[THREADS];
    unsigned serving;            /* (atomic) threads that serve faults now */
    int64_t crowded_until;       /* (atomic) by get_clock() */
};

/* Let others have the processor, unless too many want it; false if so. */
static bool give_way(SmemvFaults *f)
{
    int64_t began = get_clock(), ended;

    if (began < qatomic_read_i64(&f->crowded_until)) {
        return false;
    }
    sched_yield();
    ended = get_clock();
    if (ended - began > CROWDED_NS) {
        qatomic_set_i64(&f->crowded_until, ended + CROWDED_LASTS_NS);
    }
    return true;
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
            smemv_pages_bring_back(p, page);
            break;
        default:
            fetches[(*n_fetches)++] = smemv_fetch_begin(p, page, now);
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

/* Wait a moment without sleeping: to wake up takes longer than an answer. */
static void spin(SmemvFaults *f, const SmemvConn *c)
{
    int64_t end = get_clock() + SPIN_NS;

    while (!smemv_conn_answers(c, 0) && get_clock() < end && give_way(f)) {
        continue;
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
    smemv_fetch_try(t->p, &t->conns[i], f);
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
            smemv_fetch_place(t->p, &fetches[j], NULL);
        }
    }
    if (n == 1 && fetches->asked != SMEMV_NO_PEER &&
        qatomic_read(&t->all->serving) == 1) {
        /* The processor of who waits for the page has nothing else to do. */
        spin(t->all, &t->conns[fetches->asked]);
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
                smemv_fetch_end(p, &fetches[i]);
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
        ssize_t n;

        if (qatomic_read(&t->all->serving)) {
            /* Who gets a page of them goes on; its next fault comes as well. */
            give_way(t->all);
        }
        n = read(p->uffd, msgs, sizeof(msgs));
        if (n > 0) {
            qatomic_inc(&t->all->serving);
            serve_faults(t, msgs, n / sizeof(msgs[0]));
            qatomic_dec(&t->all->serving);
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

static bool prepare(SmemvFaultThread *t, SmemvPager *p, Error **errp)
{
    /* Exclusive: one fault wakes one thread. */
    struct epoll_event fault = { .events = EPOLLIN | EPOLLEXCLUSIVE };
    struct epoll_event stop = { .events = EPOLLIN };

    t->p = p;
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    t->conns = smemv_fetch_conns(p);
    if (t->epoll_fd < 0 ||
        epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, p->uffd, &fault) ||
        epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, p->stop_fd, &stop)) {
        error_setg_errno(errp, errno, "cannot wait for page faults");
        return false;
    }
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        if (smemv_conn_attach(&t->conns[i], errp)) {
            return false;
        }
    }
    return true;
}

SmemvFaults *smemv_faults_new(SmemvPager *p, Error **errp)
{
    SmemvFaults *f = g_new0(SmemvFaults, 1);

    for (unsigned i = 0; i < THREADS; i++) {
        f->threads[i].all = f;
        if (!prepare(&f->threads[i], p, errp)) {
            return NULL;
        }
    }
    return f;
}

void smemv_faults_free(SmemvFaults *f)
{
    for (unsigned i = 0; i < THREADS; i++) {
        g_free(f->threads[i].conns);
    }
    g_free(f);
}

void smemv_faults_start(SmemvFaults *f)
{
    for (unsigned i = 0; i < THREADS; i++) {
        qemu_thread_create(&f->threads[i].thread, "smemv-fault", fault_thread,
                           &f->threads[i], QEMU_THREAD_JOINABLE);
    }
}

void smemv_faults_join(SmemvFaults *f)
{
    for (unsigned i = 0; i < THREADS; i++) {
        qemu_thread_join(&f->threads[i].thread);
    }
}
