/*
 * Discard: a split VM's guest has given memory back, by its balloon or by
 * free-page reporting.
 *
 * What was given back reads as zero from then on. It leaves the main host's
 * memory, and the sub-hosts drop what they store of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "migration/smemv.h"
#include "pages.h"
#include "readahead.h"
#include "smemv.h"
#include "trace.h"

/* Pages looked at while the pager's lock is held. */
#define LOOK_PAGES 64

/* How many of the @n pages from @page on are here for good. Wants the lock. */
static unsigned resident_run(const SmemvPager *p, uint64_t page, unsigned n)
{
    unsigned run = 0;

    while (run < n && p->map->place[page + run] == SMEMV_MAIN &&
           !smemv_pages_under_way(p, page + run)) {
        run++;
    }
    return run;
}

/* Give up the @n pages from @page on, which are resident. Wants the lock. */
static void empty_run(SmemvPager *p, uint64_t page, unsigned n)
{
    if (madvise(smemv_page_map_host(p->map, page), n << SMEMV_PAGE_BITS,
                MADV_DONTNEED)) {
        return;                  /* they stay as they are */
    }
    for (unsigned i = 0; i < n; i++) {
        smemv_readahead_forget(p->readahead, page + i);
        smemv_pages_went_out(p, page + i, (SmemvPair) { SMEMV_ZERO, 0 });
    }
}

/*
 * Discard the @n pages from @page on, which lie in one block, but for those
 * that are under way. Wants the lock.
 */
static void discard_pages(SmemvPager *p, uint64_t page, unsigned n)
{
    unsigned run;

    for (unsigned i = 0; i < n; i++) {
        uint8_t place = p->map->place[page + i];

        if (smemv_pages_under_way(p, page + i)) {
            continue;
        }
        if (place == SMEMV_STAGED) {
            smemv_pages_bring_back(p, page + i);
        } else if (place >= SMEMV_REMOTE) {
            smemv_pages_forget(p, page + i);
        }
    }
    for (unsigned i = 0; i < n; i += run + 1) {
        run = resident_run(p, page + i, n - i);
        if (run) {
            empty_run(p, page + i, run);
        }
    }
    qemu_cond_broadcast(&p->room);
}

bool smemv_discard_range(RAMBlock *rb, uint64_t start, uint64_t length)
{
    SmemvPager *p = smemv_pager();
    SmemvBlock *b = p ? smemv_page_map_block(p->map, rb) : NULL;
    uint64_t page, end;

    if (!b) {
        return false;
    }
    page = b->first + (start >> SMEMV_PAGE_BITS);
    end = page + (length >> SMEMV_PAGE_BITS);
    trace_smemv_discard(page, end - page);
    while (page < end) {
        unsigned n = MIN(end - page, LOOK_PAGES);

        QEMU_LOCK_GUARD(&p->lock);
        /* What the destination was told at the switch-over must hold. */
        if (!p->paused && !p->left) {
            discard_pages(p, page, n);
        }
        page += n;
    }
    return true;
}
