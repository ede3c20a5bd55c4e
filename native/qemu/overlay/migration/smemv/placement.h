/*
 * Placement: which page goes where at a split migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PLACEMENT_H
#define SMEMV_PLACEMENT_H

#include "session.h"

/*
 * Policy "threshold", the paper's: the lowest addresses stay on the main
 * host, the ranges above them go to the sub-hosts in turn, in proportion to
 * their shares.
 */
typedef struct SmemvPlacement {
    unsigned n_peers;
    /* The first page beyond those of the main host, sub-host 0, ... */
    uint64_t *ends;
} SmemvPlacement;

/* Place @pages pages of which @main_pages stay on the main host. */
SmemvPlacement *smemv_placement_new(const SmemvSession *s, uint64_t pages,
                                    uint64_t main_pages);
void smemv_placement_free(SmemvPlacement *p);

/* SMEMV_MAIN, or SMEMV_REMOTE + sub-host. Always the same for a page. */
uint8_t smemv_placement_of(const SmemvPlacement *p, uint64_t page);

#endif
