/*
 * Placement: which pages stay on the main host at a split migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PLACEMENT_H
#define SMEMV_PLACEMENT_H

#include "heat.h"

typedef struct SmemvPlacement {
    uint64_t pages;
    unsigned long *main;         /* a bit a page */
} SmemvPlacement;

/*
 * Of @pages pages choose @main_pages for the main host. @heat, of the policy
 * hot, is only looked at here.
 */
SmemvPlacement *smemv_placement_new(uint64_t pages, uint64_t main_pages,
                                    SmemvPolicy policy, const SmemvHeat *heat);
void smemv_placement_free(SmemvPlacement *p);

/* Whether @page is one of the main host's. */
bool smemv_placement_is_main(const SmemvPlacement *p, uint64_t page);

/* From @page on the first that is not; the number of pages if none is. */
uint64_t smemv_placement_next_remote(const SmemvPlacement *p, uint64_t page);

#endif
