/*
 * Heat: which pages of a whole VM are in use.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "migration/migration.h"
#include "system/tcg.h"
#include "heat.h"
#include "trace.h"
#include "watch.h"

#define GIB_PAGES ((1ull << 30) / SMEMV_PAGE_SIZE)

/* A region of which some pages stand for the others. */
#define REGION 512

/* How often a wait looks up, in ms: a migration can be cancelled. */
#define WAKE_MS 50

/* The dirty log is read after a 64th of the time, a 32nd, ... */
#define FIRST_READ 64

/* Of the dirty log that is cleared at once, in bytes. */
#define CLEAR_SIZE (1ull << 30)

/*
 * From the hottest to the coldest: what was touched, soon first; what nothing
 * is known of, by what its region is like; what was watched and not touched,
 * for a short time first; what is not there, or free.
 */
enum {
    COLD_UNKNOWN = SMEMV_SEEN_LAST + 1,
    COLD_WATCHED = 190,
    COLD_ABSENT = 255,
};

struct SmemvHeat {
    SmemvPageMap *map;
    uint8_t *cold;               /* of each page; as watch.h until the end */
    unsigned ms;
    bool sampling;               /* (atomic) */
    /* Pages: what is told of it when it is over. */
    uint64_t watched, faults, used, absent;
};

unsigned smemv_heat_default_time(uint64_t pages)
{
    return MIN(MAX(250 * pages / GIB_PAGES, 4000), 30000);
}

/* Returns how many pages are not. */
static uint64_t find_absent(SmemvHeat *h)
{
    uint64_t present = h->map->pages;

    for (unsigned i = 0; i < h->map->n_blocks; i++) {
        SmemvBlock *b = &h->map->blocks[i];
        uint8_t *cold = h->cold + b->first;

        /* A byte a page: the lowest bit says that it is there. */
        if (mincore(b->host, b->pages << SMEMV_PAGE_BITS, cold)) {
            memset(cold, SMEMV_SEEN_NOTHING, b->pages);
            continue;
        }
        for (uint64_t page = 0; page < b->pages; page++) {
            present -= !(cold[page] & 1);
            cold[page] = cold[page] & 1 ? SMEMV_SEEN_NOTHING :
                                          SMEMV_SEEN_ABSENT;
        }
    }
    return present;
}

SmemvHeat *smemv_heat_new(SmemvPageMap *map)
{
    SmemvHeat *h = g_new0(SmemvHeat, 1);

    h->map = map;
    h->cold = g_new(uint8_t, map->pages);
    memset(h->cold, COLD_UNKNOWN, map->pages);
    return h;
}

void smemv_heat_free(SmemvHeat *h)
{
    if (h) {
        g_free(h->cold);
        g_free(h);
    }
}

/*
 * KVM may have begun with every page dirty, and then looks at a page only
 * once that was cleared. What is cleared here was told before, so each of the
 * pages is still to be sent.
 */
static void arm_dirty_log(SmemvHeat *h)
{
    RCU_READ_LOCK_GUARD();
    for (unsigned i = 0; i < h->map->n_blocks; i++) {
        RAMBlock *rb = h->map->blocks[i].rb;

        for (uint64_t at = 0; at < rb->used_length; at += CLEAR_SIZE) {
            memory_region_clear_dirty_bitmap(
                rb->mr, at, MIN(CLEAR_SIZE, rb->used_length - at));
        }
    }
}

/* The page was written, and whether it was before is not known. */
static void mark_written(SmemvHeat *h, uint64_t page, uint8_t when)
{
    uint8_t seen = qatomic_read(&h->cold[page]);

    if (seen == SMEMV_SEEN_NOTHING || seen == SMEMV_SEEN_ABSENT) {
        qatomic_cmpxchg(&h->cold[page], seen, when);
    }
}

/*
 * The bits are only read: who writes first is seen, and the migration finds
 * them as it would have.
 */
static void mark_block(SmemvHeat *h, const SmemvBlock *b, uint8_t when)
{
    DirtyMemoryBlocks *dirty =
        qatomic_rcu_read(&ram_list.dirty_memory[DIRTY_MEMORY_MIGRATION]);
    uint64_t first = b->rb->offset >> SMEMV_PAGE_BITS;
    uint64_t page = first, end = first + b->pages;

    while (page < end) {
        uint64_t base = QEMU_ALIGN_DOWN(page, DIRTY_MEMORY_BLOCK_SIZE);
        uint64_t size = MIN(end - base, DIRTY_MEMORY_BLOCK_SIZE);
        unsigned long *bits = dirty->blocks[base / DIRTY_MEMORY_BLOCK_SIZE];

        page = base + find_next_bit(bits, size, page - base);
        if (page < base + size) {
            mark_written(h, b->first + page - first, when);
            page++;
        }
    }
}

static void read_dirty_log(SmemvHeat *h, uint8_t when)
{
    bql_lock();
    memory_global_dirty_log_sync(false);
    bql_unlock();

    RCU_READ_LOCK_GUARD();
    for (unsigned i = 0; i < h->map->n_blocks; i++) {
        mark_block(h, &h->map->blocks[i], when);
    }
}

/*
 * What the guest has said meanwhile that it has free is not sent, and of no
 * use, though it was touched to be told of.
 */
static void find_free(SmemvHeat *h)
{
    for (unsigned i = 0; i < h->map->n_blocks; i++) {
        SmemvBlock *b = &h->map->blocks[i];

        for (uint64_t page = find_first_zero_bit(b->rb->bmap, b->pages);
             page < b->pages;
             page = find_next_zero_bit(b->rb->bmap, b->pages, page + 1)) {
            h->cold[b->first + page] = SMEMV_SEEN_ABSENT;
        }
    }
}

/*
 * An emulated processor runs what it has translated once, and does not read
 * that memory again. At the destination it will.
 */
static void mark_translated(SmemvHeat *h, const SmemvBlock *b)
{
    DirtyMemoryBlocks *no_code =
        qatomic_rcu_read(&ram_list.dirty_memory[DIRTY_MEMORY_CODE]);
    uint64_t first = b->rb->offset >> SMEMV_PAGE_BITS;

    for (uint64_t page = first; page < first + b->pages; page++) {
        uint8_t *seen = &h->cold[b->first + page - first];

        if ((*seen == SMEMV_SEEN_NOTHING || *seen == SMEMV_SEEN_WATCHED) &&
            !test_bit(page % DIRTY_MEMORY_BLOCK_SIZE,
                      no_code->blocks[page / DIRTY_MEMORY_BLOCK_SIZE])) {
            *seen = SMEMV_SEEN_LAST;
        }
    }
}

static void find_translated(SmemvHeat *h)
{
    if (tcg_enabled()) {
        RCU_READ_LOCK_GUARD();
        for (unsigned i = 0; i < h->map->n_blocks; i++) {
            mark_translated(h, &h->map->blocks[i]);
        }
    }
}

static void look(SmemvHeat *h)
{
    int64_t start = g_get_monotonic_time(), us = 0;
    int64_t next = h->ms * 1000ll / FIRST_READ;

    while (us < h->ms * 1000ll && migration_is_running() &&
           migrate_get_current()->state == MIGRATION_STATUS_SETUP) {
        g_usleep(MIN(MAX(next - us, 0), WAKE_MS * 1000));
        us = g_get_monotonic_time() - start;
        if (us >= next) {
            read_dirty_log(h, smemv_seen_after(us, h->ms));
            next = MIN(2 * next, h->ms * 1000ll);
        }
    }
}

/* What is told of the pages from @page to @end, in the end. */
static void count_region(SmemvHeat *h, uint64_t page, uint64_t end,
                         unsigned *used, unsigned *known)
{
    *used = *known = 0;
    for (; page < end; page++) {
        uint8_t seen = h->cold[page];

        *used += seen >= SMEMV_SEEN_FIRST && seen <= SMEMV_SEEN_LAST;
        *known += seen != SMEMV_SEEN_NOTHING && seen != SMEMV_SEEN_ABSENT;
        h->absent += seen == SMEMV_SEEN_ABSENT;
    }
    h->used += *used;
}

/* From what was seen of each page to how cold it is. */
static void rank_region(SmemvHeat *h, const SmemvWatch *w, uint64_t first,
                        uint64_t end)
{
    unsigned used, known, span = COLD_WATCHED - 1 - COLD_UNKNOWN;

    count_region(h, first, end, &used, &known);
    for (uint64_t page = first; page < end; page++) {
        switch (h->cold[page]) {
        case SMEMV_SEEN_NOTHING:
            h->cold[page] = COLD_UNKNOWN +
                            (known ? span * (known - used) / known : span);
            break;
        case SMEMV_SEEN_WATCHED:
            h->cold[page] = MIN(COLD_WATCHED + smemv_watch_time(w, page) / 2,
                                COLD_ABSENT - 1);
            break;
        case SMEMV_SEEN_ABSENT:
            h->cold[page] = COLD_ABSENT;
            break;
        }
    }
}

void smemv_heat_sample(SmemvHeat *h, unsigned ms, uint64_t stay)
{
    g_autoptr(Error) err = NULL;
    uint64_t present;
    SmemvWatch *w;

    h->ms = ms;
    qatomic_set(&h->sampling, true);
    present = find_absent(h);
    arm_dirty_log(h);
    w = smemv_watch_start(h->map, h->cold, ms, present - MIN(stay, present),
                          &err);
    if (!w) {
        warn_report("smemv: pages that are only read are not known as such: "
                    "%s", error_get_pretty(err));
    }
    look(h);
    if (w) {
        smemv_watch_end(w);
        h->watched = smemv_watch_pages(w);
        h->faults = smemv_watch_faults(w);
    }
    find_translated(h);
    find_free(h);
    for (uint64_t page = 0; page < h->map->pages; page += REGION) {
        rank_region(h, w, page, MIN(page + REGION, h->map->pages));
    }
    if (w) {
        smemv_watch_free(w);
    }
    trace_smemv_heat(h->used, h->watched, h->absent);
    qatomic_set(&h->sampling, false);
}

void smemv_heat_hottest(const SmemvHeat *h, uint64_t n, unsigned long *bitmap)
{
    uint64_t counts[256] = { 0 };
    unsigned last = 0;

    for (uint64_t page = 0; page < h->map->pages; page++) {
        counts[h->cold[page]]++;
    }
    for (uint64_t left = n; last < 255 && counts[last] <= left; last++) {
        left -= counts[last];
        n = left;
    }
    /* All that are hotter than @last, and of those like it the first @n. */
    for (uint64_t page = 0; page < h->map->pages; page++) {
        if (h->cold[page] < last) {
            set_bit(page, bitmap);
        } else if (h->cold[page] == last && n) {
            set_bit(page, bitmap);
            n--;
        }
    }
}

uint64_t smemv_heat_used(const SmemvHeat *h, uint64_t first, uint64_t n)
{
    uint64_t used = 0;

    for (uint64_t page = first; page < first + n; page++) {
        uint8_t cold = qatomic_read(&h->cold[page]);

        used += cold >= SMEMV_SEEN_FIRST && cold <= SMEMV_SEEN_LAST;
    }
    return used;
}

SmemvHeatInfo *smemv_heat_info(const SmemvHeat *h)
{
    SmemvHeatInfo *info = g_new0(SmemvHeatInfo, 1);

    info->sampling = qatomic_read(&h->sampling);
    info->time = h->ms;
    if (!info->sampling) {
        info->used = h->used << SMEMV_PAGE_BITS;
        info->watched = h->watched << SMEMV_PAGE_BITS;
        info->absent = h->absent << SMEMV_PAGE_BITS;
        info->faults = h->faults;
    }
    return info;
}
