/*
 * Placement: which page goes where at a split migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "page-map.h"
#include "placement.h"

/* @n of @pages pages, each set of them as likely as another. */
static void choose_random(unsigned long *bitmap, uint64_t pages, uint64_t n)
{
    for (uint64_t page = 0; n; page++) {
        if (g_random_double() * (pages - page) < n) {
            set_bit(page, bitmap);
            n--;
        }
    }
}

static void choose_main(SmemvPlacement *p, uint64_t pages, uint64_t n,
                        SmemvPolicy policy, const SmemvHeat *heat)
{
    p->main = bitmap_new(pages);
    switch (policy) {
    case SMEMV_POLICY_HOT:
        smemv_heat_hottest(heat, n, p->main);
        break;
    case SMEMV_POLICY_THRESHOLD:
        bitmap_set(p->main, 0, n);
        break;
    case SMEMV_POLICY_RANDOM:
        choose_random(p->main, pages, n);
        break;
    default:
        g_assert_not_reached();
    }
}

SmemvPlacement *smemv_placement_new(const SmemvSession *s, uint64_t pages,
                                    uint64_t main_pages, SmemvPolicy policy,
                                    const SmemvHeat *heat)
{
    SmemvPlacement *p = g_new0(SmemvPlacement, 1);
    uint64_t remote, shares = 0, before = 0, page = 0, passed = 0;

    main_pages = MIN(main_pages, pages);
    remote = pages - main_pages;
    choose_main(p, pages, main_pages, policy, heat);
    for (unsigned i = 0; i < s->n_peers; i++) {
        shares += s->peers[i].share;
    }
    p->n_peers = s->n_peers;
    p->ends = g_new(uint64_t, s->n_peers);
    for (unsigned i = 0; i < s->n_peers; i++) {
        uint64_t wanted;

        before += s->peers[i].share;
        wanted = (unsigned __int128)remote * before / shares;
        for (; passed < wanted; page++) {
            passed += !test_bit(page, p->main);
        }
        p->ends[i] = page;
    }
    return p;
}

void smemv_placement_free(SmemvPlacement *p)
{
    if (p) {
        g_free(p->main);
        g_free(p->ends);
        g_free(p);
    }
}

uint8_t smemv_placement_of(const SmemvPlacement *p, uint64_t page)
{
    unsigned low = 0, high = p->n_peers - 1;

    if (test_bit(page, p->main)) {
        return SMEMV_MAIN;
    }
    /* The first end beyond @page. */
    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (page < p->ends[mid]) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return SMEMV_REMOTE + low;
}
