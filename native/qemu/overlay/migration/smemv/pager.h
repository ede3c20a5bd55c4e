/*
 * Pager: pages in and out of a split VM.
 *
 * Fault threads serve the userfaultfd; each has connections of its own to
 * every sub-host, so that a fault waits for nobody else's transfer. One
 * evictor thread keeps resident memory under the limit, ahead of need. No
 * thread here takes QEMU's big lock, and the pager's lock is never held over
 * the network.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PAGER_H
#define SMEMV_PAGER_H

#include "qemu/notify.h"
#include "qemu/thread.h"
#include "page-map.h"
#include "session.h"
#include "staging.h"

/* Faults that can wait for the network at once. */
#define SMEMV_FAULT_THREADS 4

typedef struct SmemvPager {
    SmemvSession *session;
    int uffd;
    int stop_fd;                 /* an eventfd that tells threads to end */
    struct SmemvFaultThread *fault_threads[SMEMV_FAULT_THREADS];
    struct SmemvEvictor *evictor;
    Notifier exit_notifier;
    Error *migration_blocker;

    QemuMutex lock;              /* guards what follows */
    QemuCond room;               /* memory was freed */
    QemuCond work;               /* the evictor has something to do */
    bool may_evict;              /* the session is claimed */
    bool stop;
    SmemvPageMap *map;
    SmemvStaging staging;
    uint32_t *arrivals;          /* ring: resident pages, oldest first */
    uint64_t arrivals_head, arrivals_tail;
    GArray **drops;              /* of each peer: uint64_t pages to drop */
    size_t n_drops;              /* in all of them */

    uint64_t limit;              /* pages that may be held here */
    uint64_t resident;           /* pages whose only copy is here, or coming */
    uint64_t doubled;            /* of these, held in staging as well */
    uint64_t zero;
    uint64_t pages_in, pages_out, faults, second_chances;
} SmemvPager;

/* How long to wait before a lost memserver is tried again. */
#define SMEMV_RECONNECT_US 100000

/* Eviction begins above the high watermark, and ends at the low one. */
static inline uint64_t smemv_pager_high(uint64_t limit)
{
    return limit - limit / 64;
}

static inline uint64_t smemv_pager_low(uint64_t limit)
{
    return limit - limit / 32;
}

/* Whether this host's kernel has what paging needs. */
bool smemv_pager_supported(Error **errp);

/*
 * A pager that is connected to each sub-host, for a VM that will have @limit
 * pages resident at the most. What takes time is done here, before the
 * switch-over. NULL on an error: this process can but end then.
 */
SmemvPager *smemv_pager_new(SmemvSession *session, SmemvPageMap *map,
                            uint64_t limit, Error **errp);

/* Take over the guest's RAM, as the map says: pages come in from now on. */
bool smemv_pager_start(SmemvPager *p, Error **errp);

/* Claim the session; pages may go out from now on. */
bool smemv_pager_claim(SmemvPager *p, Error **errp);

/* Change the limit, in pages. */
bool smemv_pager_set_limit(SmemvPager *p, uint64_t limit, Error **errp);

/*
 * Pages held here. Wants the lock. Staging is part of it: of a page that was
 * touched while it was sent there are two.
 */
static inline uint64_t smemv_pager_held(const SmemvPager *p)
{
    return p->resident + p->doubled;
}

/* @page is resident from now on: the newest arrival. Wants the lock. */
void smemv_pager_arrived(SmemvPager *p, uint64_t page);

/* The oldest arrival, which is one no more. False if there is none. */
bool smemv_pager_oldest(SmemvPager *p, uint64_t *page);

/* What peer @i stores of @page is stale. Wants the lock. */
void smemv_pager_drop(SmemvPager *p, unsigned i, uint64_t page);

/* UFFDIO_MOVE of one page. Returns 0 or -errno. */
int smemv_pager_move(SmemvPager *p, void *to, void *from, bool wake);

#endif
