/*
 * Heat: which pages of a whole VM are in use.
 *
 * The heat of a page is how soon it is touched after somebody has begun to
 * look: the dirty log tells of writes, and of pages that are only read
 * watch.c does. Each page is asked about once, so that what it costs is
 * bounded; what is hot is seen soon, what is cold late or never.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_HEAT_H
#define SMEMV_HEAT_H

#include "qapi/qapi-types-smemv.h"
#include "page-map.h"

typedef struct SmemvHeat SmemvHeat;

/* How long to look where nobody says, in ms, by the guest's memory. */
unsigned smemv_heat_default_time(uint64_t pages);

/* Heat of the pages of @map, none of which is known yet. */
SmemvHeat *smemv_heat_new(SmemvPageMap *map);
void smemv_heat_free(SmemvHeat *h);

/*
 * Look for @ms, in the migration thread and without the big lock: the VM runs
 * on. To be called when the dirty log is on and before the first page is
 * sent; ends early where the migration is cancelled. Where @stay pages stay,
 * as many as leave are to be found that are not in use.
 */
void smemv_heat_sample(SmemvHeat *h, unsigned ms, uint64_t stay);

/* Set the bits of the @n hottest pages in @bitmap, which is empty. */
void smemv_heat_hottest(const SmemvHeat *h, uint64_t n, unsigned long *bitmap);

/* How many of the @n pages from @first on were seen in use. */
uint64_t smemv_heat_used(const SmemvHeat *h, uint64_t first, uint64_t n);

/* For query-smemv. */
SmemvHeatInfo *smemv_heat_info(const SmemvHeat *h);

#endif
