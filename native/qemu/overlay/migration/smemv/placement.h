/*
 * Placement: which page goes where at a split migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PLACEMENT_H
#define SMEMV_PLACEMENT_H

#include "heat.h"
#include "session.h"

/*
 * A policy chooses the pages of the main host. The others, by their
 * addresses, go to the sub-hosts in turn, in proportion to their shares.
 */
typedef struct SmemvPlacement {
    unsigned n_peers;
    unsigned long *main;         /* a bit a page */
    /* The first page beyond those of sub-host 0, 1, ... */
    uint64_t *ends;
} SmemvPlacement;

/*
 * Place @pages pages of which @main_pages stay on the main host. @heat, of
 * the policy hot, is only looked at here.
 */
SmemvPlacement *smemv_placement_new(const SmemvSession *s, uint64_t pages,
                                    uint64_t main_pages, SmemvPolicy policy,
                                    const SmemvHeat *heat);
void smemv_placement_free(SmemvPlacement *p);

/* SMEMV_MAIN, or SMEMV_REMOTE + sub-host. Always the same for a page. */
uint8_t smemv_placement_of(const SmemvPlacement *p, uint64_t page);

#endif
