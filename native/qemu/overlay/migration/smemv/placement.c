/*
 * Placement: which pages stay on the main host at a split migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
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

SmemvPlacement *smemv_placement_new(uint64_t pages, uint64_t main_pages,
                                    SmemvPolicy policy, const SmemvHeat *heat)
{
    SmemvPlacement *p = g_new0(SmemvPlacement, 1);

    p->pages = pages;
    choose_main(p, pages, MIN(main_pages, pages), policy, heat);
    return p;
}

void smemv_placement_free(SmemvPlacement *p)
{
    if (p) {
        g_free(p->main);
        g_free(p);
    }
}

bool smemv_placement_is_main(const SmemvPlacement *p, uint64_t page)
{
    return test_bit(page, p->main);
}

uint64_t smemv_placement_next_remote(const SmemvPlacement *p, uint64_t page)
{
    return find_next_zero_bit(p->main, p->pages, page);
}
