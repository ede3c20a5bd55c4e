/*
 * Pager: pages in and out of a split VM, from the start to the end of it.
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

#include "qemu/bitmap.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "client.h"
#include "digest.h"
#include "page-map.h"
#include "session.h"
#include "staging.h"
#include "twins.h"

/* A run that is being copied from one sub-host to another. */
typedef struct SmemvCopy {
    uint64_t page;
    unsigned n;
    unsigned from, to;           /* peers */
    bool second;                 /* it stays at @from, and has a twin then */
    /* Pages that came in meanwhile: what arrives at @to is stale. */
    DECLARE_BITMAP(touched, SMEMV_WIRE_MAX_PAGES);
    QLIST_ENTRY(SmemvCopy) next;
} SmemvCopy;

/* Pages moved while the pager's lock is held, about a microsecond each. */
#define SMEMV_MOVES_PER_LOCK 8

/* Fetches that took less than 16 us, less than 32 us, and so on. */
#define SMEMV_LATENCIES 20

typedef struct SmemvPager {
    SmemvSession *session;
    int uffd;
    int stop_fd;                 /* an eventfd that tells threads to end */
    struct SmemvFaults *fault_threads;
    struct SmemvWaiting *waiting;
    struct SmemvEvictor *evictor;
    struct SmemvReadahead *readahead;
    struct SmemvRebalance *rebalance;
    struct SmemvLookout *lookout;    /* these two where pages have two copies */
    struct SmemvRebuild *rebuild;
    Notifier exit_notifier;

    /* Held while what a peer has reserved is changed: over the network. */
    QemuMutex reserving;

    QemuMutex lock;              /* guards what follows */
    QemuCond room;               /* memory was freed */
    QemuCond work;               /* the evictor has something to do */
    QemuCond quiet;              /* the evictor has ended a round */
    bool loading;                /* the VM's devices: it does not run here */
    bool unfit;                  /* they were given zeros for a page */
    bool claimed;                /* this process holds the session */
    bool may_evict;
    bool evicting;               /* the evictor is at work */
    bool stop;
    bool left;                   /* the VM runs on another host now */
    bool keeps;                  /* it is migrating: nothing is dropped */
    bool paused;                 /* for the switch-over */
    bool failing;                /* what a peer held is being written off */
    SmemvPageMap *map;
    SmemvStaging staging;
    uint32_t *arrivals;          /* ring: resident pages, oldest first */
    uint64_t oldest, n_arrivals;
    unsigned long *queued;       /* pages in that ring, discarded ones too */
    unsigned long *cold;         /* pages to leave first, until they arrived */
    unsigned long *stale;        /* pages to empty, until the pager starts */
    GArray **drops;              /* of each peer: uint64_t pages to drop */
    size_t n_drops;              /* in all of them */
    /*
     * Where each page has a copy that it does not need, as SMEMV_REMOTE + i;
     * or 0. Such copies come from a migration, and are dropped after it; or
     * they are kept where there is room to spare, as the page need not be sent
     * when it leaves unchanged. There may be two, where pages have two.
     */
    uint8_t *home;
    uint8_t *home_twin;
    SmemvDigest *digest;         /* of what is kept there, where known */
    uint64_t homes;              /* pages with a home */
    GArray *changes;             /* uint64_t pages put elsewhere, if @keeps */
    QLIST_HEAD(, SmemvCopy) copies;

    uint64_t limit;              /* pages that may be held here */
    uint64_t resident;           /* pages whose only copy is here, or coming */
    uint64_t doubled;            /* of these, held in staging as well */
    uint64_t zero;
    uint64_t pages_in, pages_out, faults, second_chances;
    uint64_t unsent;             /* of @pages_out, unchanged since they came */
    uint64_t latency[SMEMV_LATENCIES]; /* pages fetched for faults */
    uint64_t room_waits;         /* faults that waited for an eviction */
    uint64_t pinned;             /* times that a page could not leave */
    uint64_t ahead, ahead_used, ahead_unused; /* pages read ahead */
} SmemvPager;

/* Pages that all sub-hosts together must have room for, in one copy. */
uint64_t smemv_pager_promised(const SmemvPager *p);

/*
 * Pages that may be given a second copy: what peers have room for beyond what
 * the first copies of pages may want. Wants the lock.
 */
uint64_t smemv_pager_spare(const SmemvPager *p);

/* Eviction begins above the high watermark, and ends at the low one. */
static inline uint64_t smemv_pager_high(uint64_t limit)
{
    return limit - limit / 64;
}

static inline uint64_t smemv_pager_low(uint64_t limit)
{
    return limit - limit / 32;
}

/*
 * Pages that linger in staging, of those that may be held. The more there are,
 * the nearer eviction is to least-recently-used, and the more pages are
 * touched there, which costs a fault without the network: `make bench
 * ONLY=policy` has the figures. While it migrates pages are read anyway.
 */
static inline uint64_t smemv_pager_lingering(uint64_t limit, bool migrates)
{
    return MAX(migrates ? 0 : limit / 8, 2 * SMEMV_BATCH);
}

/* Whether this host's kernel has what paging needs. */
bool smemv_pager_supported(Error **errp);

/*
 * Register all guest RAM with @uffd, in @mode (UFFDIO_REGISTER_MODE_*). After
 * an error some is, until the descriptor is closed.
 */
bool smemv_pager_register_ram(const SmemvPageMap *map, int uffd, uint64_t mode,
                              Error **errp);

/*
 * A pager that is connected to each sub-host, for a VM that will have @limit
 * pages resident at the most. What takes time is done here, before the
 * switch-over. NULL on an error: this process can but end then.
 */
SmemvPager *smemv_pager_new(SmemvSession *session, SmemvPageMap *map,
                            uint64_t limit, Error **errp);

/*
 * A page of precopy, @data, belongs at @host. Where nothing is yet, the kernel
 * takes memory and copies to it, rather than clear it for a fault first.
 */
void smemv_pager_load(SmemvPager *p, void *host, const void *data);

/*
 * Take over the guest's RAM, as the map says: pages come in from now on. Until
 * the claim they do for the VM's devices, which read some as they are loaded.
 */
bool smemv_pager_start(SmemvPager *p, Error **errp);

/*
 * Claim the session; pages may go out from now on. False also where devices
 * wanted a page that could not be had.
 */
bool smemv_pager_claim(SmemvPager *p, Error **errp);

/*
 * A migration from here begins: from now on what memservers store is kept,
 * so that it can be told to the destination, and the limit is @limit if that
 * is less. Waits until resident memory is under it,
 * and what was to be dropped before is dropped.
 */
bool smemv_pager_begin_migration(SmemvPager *p, uint64_t limit, Error **errp);

/* The switch-over: no page goes out any more. False if that takes too long. */
bool smemv_pager_pause(SmemvPager *p, Error **errp);

/* The migration has ended: with the VM elsewhere (@left), or still here. */
void smemv_pager_end_migration(SmemvPager *p, uint64_t limit, bool left);

/*
 * All pages are here: give up the guest's RAM to this process alone. Not to
 * be called by the pager's own threads. @p is to be freed by
 * smemv_pager_free() then.
 */
void smemv_pager_dissolve(SmemvPager *p);
void smemv_pager_free(SmemvPager *p);

/*
 * Change the limit, in pages. Where it rises, pages come in at @bandwidth
 * bytes a second; 0: as fast as they can.
 */
bool smemv_pager_set_limit(SmemvPager *p, uint64_t limit, uint64_t bandwidth,
                           Error **errp);

/*
 * Pages held here. Wants the lock. Staging is part of it: of a page that was
 * touched while it was sent there are two.
 */
static inline uint64_t smemv_pager_held(const SmemvPager *p)
{
    return p->resident + p->doubled;
}

#endif
