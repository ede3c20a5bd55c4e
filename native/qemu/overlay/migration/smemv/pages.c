/*
 * Pages of a split VM: where each is, and what is counted of them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/userfaultfd.h>
#include "qemu/bitmap.h"
#include "qemu/lockable.h"
#include "move.h"
#include "pages.h"
#include "rebalance.h"
#include "smemv.h"
#include "twins.h"

/* Pages looked at while the pager's lock is held. */
#define LOOK_PAGES (1 << 16)

/* Where @index, less than twice around, is in the ring of arrivals. */
static uint64_t in_ring(const SmemvPager *p, uint64_t index)
{
    return index < p->map->pages ? index : index - p->map->pages;
}

void smemv_pages_arrived(SmemvPager *p, uint64_t page)
{
    p->map->place[page] = SMEMV_MAIN;
    /* One that was discarded and is back so soon keeps its turn. */
    if (!test_and_set_bit(page, p->queued)) {
        p->arrivals[in_ring(p, p->oldest + p->n_arrivals++)] = page;
    }
    if (smemv_pager_held(p) > smemv_pager_high(p->limit)) {
        qemu_cond_signal(&p->work);
    }
}

bool smemv_pages_oldest(SmemvPager *p, uint64_t *page)
{
    while (p->n_arrivals) {
        *page = p->arrivals[p->oldest];
        p->oldest = in_ring(p, p->oldest + 1);
        p->n_arrivals--;
        clear_bit(*page, p->queued);
        if (p->map->place[*page] == SMEMV_MAIN) {
            return true;
        }
    }
    return false;
}

void smemv_pages_drop(SmemvPager *p, unsigned i, uint64_t page)
{
    if (p->session->peers[i].failed) {
        return;
    }
    g_array_append_val(p->drops[i], page);
    if (++p->n_drops >= SMEMV_BATCH) {
        qemu_cond_signal(&p->work);
    }
}

SmemvCopy *smemv_pages_copy_of(SmemvPager *p, uint64_t page)
{
    SmemvCopy *c;

    QLIST_FOREACH(c, &p->copies, next) {
        if (page - c->page < c->n) {
            return c;
        }
    }
    return NULL;
}

/* What a copying under way brings of @page, if any does, is stale. */
static void outdate_copy(SmemvPager *p, uint64_t page)
{
    SmemvCopy *copy = smemv_pages_copy_of(p, page);

    if (copy) {
        set_bit(page - copy->page, copy->touched);
    }
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

/* The same of pages that are there, and not on their way in. */
static void count_stored(SmemvPager *p, SmemvPair pair, int pages)
{
    count(p, pair, pages);
    count_single(p, pair, pages);
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

void smemv_pages_set(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    SmemvPair before = smemv_page_map_get(p->map, page);

    count_stored(p, before, -1);
    count_stored(p, pair, 1);
    smemv_page_map_set(p->map, page, pair);
    note_change(p, page);
}

void smemv_pages_set_home(SmemvPager *p, uint64_t page, SmemvPair home)
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

void smemv_pages_settle_home(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    SmemvPair home = smemv_pages_home(p, page);

    home = smemv_pair_without(home, pair.place);
    if (pair.twin) {
        home = smemv_pair_without(home, pair.twin);
    }
    if (home.place && !p->keeps) {
        smemv_pages_drop(p, home.place - SMEMV_REMOTE, page);
        if (home.twin) {
            smemv_pages_drop(p, home.twin - SMEMV_REMOTE, page);
        }
        home = (SmemvPair) { 0, 0 };
    }
    smemv_pages_set_home(p, page, home);
}

bool smemv_pages_under_way(const SmemvPager *p, uint64_t page)
{
    uint8_t place = p->map->place[page];

    return place == SMEMV_FETCHING ||
           ((place == SMEMV_STAGED || (place == SMEMV_MAIN && p->doubled)) &&
            smemv_staging_sends(&p->staging, page));
}

void smemv_pages_tidy(SmemvPager *p)
{
    for (uint64_t page = 0; page < p->map->pages;) {
        uint64_t end = MIN(page + LOOK_PAGES, p->map->pages);

        QEMU_LOCK_GUARD(&p->lock);
        if (!p->homes) {
            break;
        }
        for (; page < end; page++) {
            if (!p->home[page] || smemv_pages_under_way(p, page)) {
                continue;        /* what moves it looks after it */
            }
            smemv_pages_settle_home(p, page, smemv_page_map_get(p->map, page));
        }
    }
}

void smemv_pages_left_behind(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    SmemvPair home = smemv_pages_home(p, page);

    pair = smemv_twins_alive(p->session, pair);
    if (!pair.place) {
        return;
    }
    if (p->keeps) {
        smemv_pages_set_home(p, page, pair);
        note_change(p, page);
        return;
    }
    smemv_pages_drop(p, pair.place - SMEMV_REMOTE, page);
    home = smemv_pair_without(home, pair.place);
    if (pair.twin) {
        smemv_pages_drop(p, pair.twin - SMEMV_REMOTE, page);
        home = smemv_pair_without(home, pair.twin);
    }
    smemv_pages_set_home(p, page, home);
}

SmemvPair smemv_pages_begin_in(SmemvPager *p, uint64_t page)
{
    SmemvPair pair = smemv_page_map_get(p->map, page);

    smemv_page_map_set(p->map, page, (SmemvPair) { SMEMV_FETCHING, 0 });
    p->resident++;
    if (pair.place == SMEMV_ZERO) {
        p->zero--;
    } else {
        outdate_copy(p, page);
        count(p, pair, -1);
        count_fetching(p, pair, 1);
        p->pages_in++;
    }
    return pair;
}

bool smemv_pages_may_keep(const SmemvPager *p, SmemvPair pair)
{
    /* Room for a second copy of another page is worth more. */
    return p->session->replicas == 1 && pair.place != SMEMV_ZERO &&
           !p->keeps && p->may_evict &&
           !smemv_rebalance_active(p->rebalance) && smemv_pager_spare(p);
}

void smemv_pages_end_in(SmemvPager *p, uint64_t page, SmemvPair pair,
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
        if (smemv_digest_known(digest) && smemv_pages_may_keep(p, pair)) {
            smemv_pages_set_home(p, page, pair);
            p->digest[page] = *digest;
        } else {
            smemv_pages_left_behind(p, page, pair);
        }
    }
    smemv_pages_arrived(p, page);
}

void smemv_pages_went_out(SmemvPager *p, uint64_t page, SmemvPair pair)
{
    smemv_page_map_set(p->map, page, pair);
    p->resident--;
    if (pair.place == SMEMV_ZERO) {
        p->zero++;
    } else {
        count_stored(p, pair, 1);
        p->pages_out++;
    }
    smemv_pages_settle_home(p, page, pair);
    note_change(p, page);
}

void smemv_pages_forget(SmemvPager *p, uint64_t page)
{
    SmemvPair pair = smemv_page_map_get(p->map, page);

    outdate_copy(p, page);
    count_stored(p, pair, -1);
    smemv_page_map_set(p->map, page, (SmemvPair) { SMEMV_ZERO, 0 });
    p->zero++;
    smemv_pages_left_behind(p, page, pair);
    smemv_pages_settle_home(p, page, (SmemvPair) { SMEMV_ZERO, 0 });
    note_change(p, page);
}

/* Copy @n pages of one block to where none of them is. */
static void copy_in(SmemvPager *p, uint64_t page, unsigned n, const void *data)
{
    uintptr_t to = (uintptr_t)smemv_page_map_host(p->map, page);
    size_t size = (size_t)n << SMEMV_PAGE_BITS, done = 0;

    while (done < size) {
        struct uffdio_copy c = {
            .dst = to + done,
            .src = (uintptr_t)data + done,
            .len = size - done,
        };

        if (!ioctl(p->uffd, UFFDIO_COPY, &c)) {
            break;
        }
        /* EAGAIN: the memory map is just being changed by another thread. */
        if (errno != EAGAIN) {
            smemv_fatal("smemv: cannot place page 0x%" PRIx64 ": %s",
                        page << SMEMV_PAGE_BITS, strerror(errno));
        }
        done += MAX(c.copy, 0);
    }
}

/*
 * A zero page is copied too, not mapped: the kernel's own zero page would
 * become memory at the first write, without a fault that could be counted.
 */
void smemv_pages_copy_in(SmemvPager *p, uint64_t page, const void *data)
{
    static const uint8_t zeros[SMEMV_PAGE_SIZE];

    copy_in(p, page, 1, data ? data : zeros);
}

void smemv_pages_copy_run_in(SmemvPager *p, uint64_t page, unsigned n,
                             const uint8_t *data)
{
    while (n) {
        SmemvBlock *b = smemv_page_map_block_of(p->map, page);
        unsigned here = MIN(n, b->first + b->pages - page);

        copy_in(p, page, here, data);
        data += (size_t)here << SMEMV_PAGE_BITS;
        page += here;
        n -= here;
    }
}

void smemv_pages_bring_back(SmemvPager *p, uint64_t page)
{
    uint64_t index = smemv_staging_find(&p->staging, page);
    SmemvSlot *slot = smemv_staging_slot(&p->staging, index);
    uint8_t *from = smemv_staging_host(&p->staging, index);
    int64_t moved;

    if (slot->sending) {
        /* The evictor still reads the slot; what it sends is stale then. */
        smemv_pages_copy_in(p, page, from);
        slot->touched = true;
        p->doubled++;
    } else {
        do {
            moved = smemv_move(p->uffd, smemv_page_map_host(p->map, page),
                               from, 1, true);
        } while (moved == -EAGAIN);
        if (moved < 0) {
            smemv_fatal("smemv: cannot move page 0x%" PRIx64 " back: %s",
                        page << SMEMV_PAGE_BITS, strerror(-moved));
        }
        smemv_staging_take(&p->staging, index);
    }
    smemv_pages_arrived(p, page);
}

void smemv_pages_note_homes(SmemvPager *p)
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
