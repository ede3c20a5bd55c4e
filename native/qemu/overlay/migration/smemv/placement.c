/*
 * Placement: which page goes where at a split migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "page-map.h"
#include "placement.h"

SmemvPlacement *smemv_placement_new(const SmemvSession *s, uint64_t pages,
                                    uint64_t main_pages)
{
    SmemvPlacement *p = g_new0(SmemvPlacement, 1);
    uint64_t shares = 0, before = 0;

    for (unsigned i = 0; i < s->n_peers; i++) {
        shares += s->peers[i].share;
    }
    p->n_peers = s->n_peers;
    p->ends = g_new(uint64_t, s->n_peers + 1);
    p->ends[0] = MIN(main_pages, pages);
    for (unsigned i = 0; i < s->n_peers; i++) {
        before += s->peers[i].share;
        p->ends[i + 1] = p->ends[0] + (uint64_t)
            ((unsigned __int128)(pages - p->ends[0]) * before / shares);
    }
    return p;
}

void smemv_placement_free(SmemvPlacement *p)
{
    if (p) {
        g_free(p->ends);
        g_free(p);
    }
}

uint8_t smemv_placement_of(const SmemvPlacement *p, uint64_t page)
{
    unsigned low = 0, high = p->n_peers;

    /* The first end beyond @page: 0 is the main host's. */
    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (page < p->ends[mid]) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return SMEMV_MAIN + low;
}
