/*
 * Pager: pages in.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include "qemu/lockable.h"
#include "qemu/userfaultfd.h"
#include "exec/memory.h"
#include "migration/blocker.h"
#include "system/system.h"
#include "client.h"
#include "evictor.h"
#include "smemv.h"
#include "trace.h"

/* A fault thread and its connections. */
typedef struct SmemvFaultThread {
    SmemvPager *p;
    int epoll_fd;
    SmemvConn *conns;            /* to each peer */
} SmemvFaultThread;

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

/*
 * Copy @data, or zeros, to where page @page belongs and wake who waits there.
 *
 * A zero page is copied too, not mapped: the kernel's own zero page would
 * become memory at the first write, without a fault that could be counted.
 */
static void copy_in(SmemvPager *p, uint64_t page, const void *data)
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

/* Bring @page back from staging. Wants the lock. */
static void second_chance(SmemvPager *p, uint64_t page)
{
    uint64_t index = smemv_staging_find(&p->staging, page);
    SmemvSlot *slot = smemv_staging_slot(&p->staging, index);
    uint8_t *from = smemv_staging_host(&p->staging, index);
    int ret;

    if (slot->sending) {
        /* The evictor still reads the slot; what it sends is stale then. */
        copy_in(p, page, from);
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
    p->second_chances++;
    trace_smemv_second_chance(page);
    smemv_pager_arrived(p, page);
}

/*
 * Fetch @page from peer @i, however long that takes: the memserver may be
 * restarting, or its link may be down.
 */
static const uint8_t *fetch(SmemvFaultThread *t, unsigned i, uint64_t page)
{
    SmemvPager *p = t->p;
    SmemvConn *c = &t->conns[i];
    const uint8_t *data;
    uint32_t crc;

    trace_smemv_page_in(page, c->peer->name);
    while (true) {
        g_autoptr(Error) err = NULL;
        int ret = c->ioc ? 0 : smemv_conn_attach(c, &err);

        if (!ret) {
            ret = smemv_conn_get(c, page, &data, &crc, &err);
        }
        if (!ret) {
            break;
        }
        if (qatomic_read(&p->stop)) {
            return NULL;
        }
        if (ret == SMEMV_WIRE_STALE && smemv_peer_moved_on(c->peer, c->epoch)) {
            /* The evictor has renewed the claim: attach once more. */
            smemv_conn_close(c);
        } else if (ret > 0) {
            smemv_fatal("smemv: page 0x%" PRIx64 " cannot be had, the VM ends: "
                        "%s", page << SMEMV_PAGE_BITS, error_get_pretty(err));
        }
        g_usleep(SMEMV_RECONNECT_US);
    }
    if (!data || smemv_wire_crc32c(data, SMEMV_PAGE_SIZE) != crc) {
        g_autofree char *id = smemv_session_id(p->session);

        smemv_fatal("smemv: page 0x%" PRIx64 " is %s on %s (session %s), the "
                    "VM ends", page << SMEMV_PAGE_BITS,
                    data ? "damaged" : "missing", c->peer->name, id);
    }
    return data;
}

/* Wait, with the lock held, until a page may come in. */
static bool wait_for_room(SmemvPager *p)
{
    while (smemv_pager_held(p) >= p->limit && p->may_evict && !p->stop) {
        qemu_cond_signal(&p->work);
        qemu_cond_wait(&p->room, &p->lock);
    }
    return !p->stop;
}

static void page_in(SmemvFaultThread *t, uint64_t page)
{
    SmemvPager *p = t->p;
    const uint8_t *data = NULL;
    uint8_t place;

    if (!wait_for_room(p)) {
        return;
    }
    /* Another thread may have fetched it while this one waited. */
    place = p->map->place[page];
    if (place == SMEMV_STAGED) {
        second_chance(p, page);
        return;
    } else if (place == SMEMV_MAIN || place == SMEMV_FETCHING) {
        return;
    }

    p->map->place[page] = SMEMV_FETCHING;
    p->resident++;
    if (place == SMEMV_ZERO) {
        p->zero--;
    } else {
        p->session->peers[place - SMEMV_REMOTE].remote--;
        p->pages_in++;
    }

    qemu_mutex_unlock(&p->lock);
    if (place != SMEMV_ZERO) {
        data = fetch(t, place - SMEMV_REMOTE, page);
    }
    if (place == SMEMV_ZERO || data) {
        copy_in(p, page, data);
    }
    qemu_mutex_lock(&p->lock);

    if (place != SMEMV_ZERO) {
        smemv_pager_drop(p, place - SMEMV_REMOTE, page);
    }
    smemv_pager_arrived(p, page);
}

static void serve_fault(SmemvFaultThread *t, const void *address)
{
    SmemvPager *p = t->p;
    uint64_t page;

    if (!smemv_page_map_find(p->map, address, &page)) {
        smemv_fatal("smemv: page fault at %p, which is no guest RAM", address);
    }

    QEMU_LOCK_GUARD(&p->lock);
    p->faults++;
    switch (p->map->place[page]) {
    case SMEMV_MAIN:
        /* It came in between; whoever waits may not have seen it. */
        uffd_wakeup(p->uffd, smemv_page_map_host(p->map, page),
                    SMEMV_PAGE_SIZE);
        break;
    case SMEMV_FETCHING:
        break;
    case SMEMV_STAGED:
        second_chance(p, page);
        break;
    default:
        page_in(t, page);
    }
}

static void *fault_thread(void *opaque)
{
    SmemvFaultThread *t = opaque;
    SmemvPager *p = t->p;
    struct epoll_event event;
    struct uffd_msg msg;

    while (!qatomic_read(&p->stop)) {
        ssize_t n = read(p->uffd, &msg, sizeof(msg));

        if (n == sizeof(msg)) {
            if (msg.event == UFFD_EVENT_PAGEFAULT) {
                serve_fault(t, (void *)(uintptr_t)msg.arg.pagefault.address);
            }
        } else if (n < 0 && errno == EAGAIN) {
            epoll_wait(t->epoll_fd, &event, 1, -1);
        } else if (n >= 0 || errno != EINTR) {
            smemv_fatal("smemv: cannot read page faults: %s", strerror(errno));
        }
    }
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        smemv_conn_close(&t->conns[i]);
    }
    close(t->epoll_fd);
    g_free(t->conns);
    g_free(t);
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
    t->conns = g_new0(SmemvConn, p->session->n_peers);
    for (unsigned i = 0; i < p->session->n_peers; i++) {
        smemv_conn_init(&t->conns[i], p->session, &p->session->peers[i]);
    }
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
    for (uint64_t page = 0; page < map->pages; page++) {
        if (map->place[page] == SMEMV_MAIN) {
            p->resident++;
            smemv_pager_arrived(p, page);
        } else if (map->place[page] == SMEMV_ZERO) {
            p->zero++;
        }
    }
    return true;
}

/* The VM's process ends: so do its sessions. */
static void pager_exit(Notifier *n, void *data)
{
    SmemvPager *p = container_of(n, SmemvPager, exit_notifier);
    uint64_t one = 1;

    WITH_QEMU_LOCK_GUARD(&p->lock) {
        qatomic_set(&p->stop, true);
        qemu_cond_broadcast(&p->room);
        qemu_cond_broadcast(&p->work);
    }
    if (write(p->stop_fd, &one, sizeof(one)) != sizeof(one)) {
        return;
    }
    if (p->may_evict) {
        smemv_evictor_join(p->evictor);
        smemv_session_close(p->session);
    }
}

SmemvPager *smemv_pager_new(SmemvSession *session, SmemvPageMap *map,
                            uint64_t limit, Error **errp)
{
    SmemvPager *p = g_new0(SmemvPager, 1);
    size_t staging = MIN(MAX(limit / 128, 2 * SMEMV_BATCH), 4096);

    p->session = session;
    p->map = map;
    p->limit = limit;
    qemu_mutex_init(&p->lock);
    qemu_cond_init(&p->room);
    qemu_cond_init(&p->work);
    p->arrivals = g_new(uint32_t, map->pages);
    p->drops = g_new(GArray *, session->n_peers);
    for (unsigned i = 0; i < session->n_peers; i++) {
        p->drops[i] = g_array_new(false, false, sizeof(uint64_t));
    }
    p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->uffd = uffd_create_fd(UFFD_FEATURE_MOVE, true);
    if (p->uffd < 0 || p->stop_fd < 0) {
        error_setg(errp, "cannot open userfaultfd");
        return NULL;
    }
    if (!smemv_staging_init(&p->staging, p->uffd, staging, errp)) {
        return NULL;
    }
    for (unsigned i = 0; i < SMEMV_FAULT_THREADS; i++) {
        p->fault_threads[i] = fault_thread_new(p, errp);
        if (!p->fault_threads[i]) {
            return NULL;
        }
    }
    p->evictor = smemv_evictor_new(p, errp);
    return p->evictor ? p : NULL;
}

bool smemv_pager_start(SmemvPager *p, Error **errp)
{
    if (!take_over_ram(p, errp)) {
        return false;
    }
    trace_smemv_pager_start(p->limit);
    for (unsigned i = 0; i < SMEMV_FAULT_THREADS; i++) {
        QemuThread thread;

        qemu_thread_create(&thread, "smemv-fault", fault_thread,
                           p->fault_threads[i], QEMU_THREAD_DETACHED);
    }
    return true;
}

bool smemv_pager_claim(SmemvPager *p, Error **errp)
{
    if (!smemv_evictor_claim(p->evictor, errp)) {
        return false;
    }
    error_setg(&p->migration_blocker, "the VM's memory is on sub-hosts: moving "
               "it again is not supported yet");
    if (migrate_add_blocker(&p->migration_blocker, errp)) {
        return false;
    }
    p->exit_notifier.notify = pager_exit;
    qemu_add_exit_notifier(&p->exit_notifier);

    QEMU_LOCK_GUARD(&p->lock);
    p->may_evict = true;
    smemv_evictor_start(p->evictor);
    return true;
}

bool smemv_pager_set_limit(SmemvPager *p, uint64_t limit, Error **errp)
{
    uint64_t least = smemv_least_shares(p->map->pages, limit), shares = 0;

    for (unsigned i = 0; i < p->session->n_peers; i++) {
        shares += p->session->peers[i].share;
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

    QEMU_LOCK_GUARD(&p->lock);
    p->limit = limit;
    qemu_cond_broadcast(&p->room);
    qemu_cond_signal(&p->work);
    return true;
}
