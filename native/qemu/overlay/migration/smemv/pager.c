/*
 * Pager: from the start to the end of a split VM on this host.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include "qemu/bitmap.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "qemu/userfaultfd.h"
#include "migration/misc.h"
#include "qemu/error-report.h"
#include "system/system.h"
#include "evictor.h"
#include "faults.h"
#include "lookout.h"
#include "pages.h"
#include "readahead.h"
#include "rebalance.h"
#include "rebuild.h"
#include "smemv.h"
#include "trace.h"
#include "waiting.h"

/* How often a wait looks up, in ms: a migration can be cancelled. */
#define WAKE_MS 100

/* What the evictor may take to end its round, in ms, while the VM is paused. */
#define PAUSE_MS 1000

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

bool smemv_pager_register_ram(const SmemvPageMap *map, int uffd, uint64_t mode,
                              Error **errp)
{
    for (unsigned i = 0; i < map->n_blocks; i++) {
        SmemvBlock *b = &map->blocks[i];

        if (uffd_register_memory(uffd, b->host, b->pages << SMEMV_PAGE_BITS,
                                 mode, NULL)) {
            error_setg(errp, "cannot register guest RAM %s with userfaultfd",
                       b->name);
            return false;
        }
    }
    return true;
}

/*
 * Empty what is placed elsewhere, and see what is touched of it. The VM is
 * paused: what takes time for each page is done before, or after.
 */
static bool take_over_ram(SmemvPager *p, Error **errp)
{
    SmemvPageMap *map = p->map;
    uint64_t run;

    for (uint64_t page = find_first_bit(p->stale, map->pages);
         page < map->pages;
         page = find_next_bit(p->stale, map->pages, page + run)) {
        bool resident = map->place[page] == SMEMV_MAIN;

        run = smemv_page_map_run(map, page, resident);
        if (!resident && madvise(smemv_page_map_host(map, page),
                                 run << SMEMV_PAGE_BITS, MADV_DONTNEED)) {
            error_setg_errno(errp, errno, "cannot empty guest RAM");
            return false;
        }
    }
    g_clear_pointer(&p->stale, g_free);
    return smemv_pager_register_ram(map, p->uffd, UFFDIO_REGISTER_MODE_MISSING,
                                    errp);
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
    /* Those of a VM that may run elsewhere are that one's. */
    if (p->claimed && !p->left && !smemv_is_handed_over()) {
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
    qemu_mutex_init(&p->reserving);
    qemu_mutex_init(&p->lock);
    qemu_cond_init(&p->room);
    qemu_cond_init(&p->work);
    qemu_cond_init(&p->quiet);
    p->arrivals = g_new(uint32_t, map->pages);
    p->queued = bitmap_new(map->pages);
    p->cold = bitmap_new(map->pages);
    p->stale = bitmap_new(map->pages);
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
    /* What is missing is not waited for yet: see smemv_pager_load(). */
    if (!smemv_pager_register_ram(map, p->uffd, UFFDIO_REGISTER_MODE_WP,
                                  errp)) {
        return NULL;
    }
    if (!smemv_staging_init(&p->staging, p->uffd,
                            smemv_pager_lingering(limit, false), errp)) {
        return NULL;
    }
    p->fault_threads = smemv_faults_new(p, errp);
    if (!p->fault_threads) {
        return NULL;
    }
    p->readahead = smemv_readahead_new(p);
    p->waiting = smemv_waiting_new(p);
    p->evictor = smemv_evictor_new(p, errp);
    p->rebalance = smemv_rebalance_new(p);
    p->lookout = smemv_lookout_new(p);
    p->rebuild = smemv_rebuild_new(p);
    return p->evictor ? p : NULL;
}

void smemv_pager_load(SmemvPager *p, void *host, const void *data)
{
    struct uffdio_copy c = {
        .dst = (uintptr_t)host,
        .src = (uintptr_t)data,
        .len = SMEMV_PAGE_SIZE,
    };

    if (ioctl(p->uffd, UFFDIO_COPY, &c)) {
        memcpy(host, data, SMEMV_PAGE_SIZE);
    }
}

bool smemv_pager_start(SmemvPager *p, Error **errp)
{
    if (!take_over_ram(p, errp)) {
        return false;
    }
    trace_smemv_pager_start(p->limit);
    p->loading = true;
    smemv_waiting_start(p->waiting);
    smemv_faults_start(p->fault_threads);
    return true;
}

bool smemv_pager_claim(SmemvPager *p, Error **errp)
{
    WITH_QEMU_LOCK_GUARD(&p->lock) {
        p->loading = false;
    }
    if (p->unfit) {
        error_setg(errp, "not all that its devices want of its memory can be "
                   "had");
        return false;
    }
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
            smemv_pages_bring_back(p, slot->page);
        }
        if (i % SMEMV_MOVES_PER_LOCK == SMEMV_MOVES_PER_LOCK - 1) {
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
    smemv_pages_note_homes(p);
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
    smemv_faults_join(p->fault_threads);
    smemv_waiting_join(p->waiting);
}

void smemv_pager_free(SmemvPager *p)
{
    qemu_remove_exit_notifier(&p->exit_notifier);
    smemv_faults_free(p->fault_threads);
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
    g_free(p->queued);
    g_free(p->cold);
    g_free(p->stale);
    close(p->stop_fd);
    close(p->uffd);
    qemu_cond_destroy(&p->quiet);
    qemu_cond_destroy(&p->work);
    qemu_cond_destroy(&p->room);
    qemu_mutex_destroy(&p->lock);
    qemu_mutex_destroy(&p->reserving);
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
