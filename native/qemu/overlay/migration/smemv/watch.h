/*
 * Watch: which pages of a whole VM are read.
 *
 * A page is moved out of the guest's RAM, within this process and without a
 * copy, and moved back when it is touched. It is the one way to see that a
 * page is read which wants no more rights than paging itself does: the
 * kernel's own accessed bits cannot be had for a page. /proc's pagemap and
 * PAGEMAP_SCAN do not show them; clear_refs and smaps count them for a whole
 * mapping, and leave out KVM's page tables; page_idle and DAMON are root's,
 * and many kernels are built without the former.
 *
 * A touch costs the guest a page fault that is served within the process, so
 * only so many pages are moved in a second, and fewer where many are touched.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_WATCH_H
#define SMEMV_WATCH_H

#include "page-map.h"

/*
 * What is known of a page: a byte that the watch and who reads the dirty log
 * share. From SMEMV_SEEN_FIRST to SMEMV_SEEN_LAST: it was touched, at once or
 * at the end of the time.
 */
enum {
    SMEMV_SEEN_NOTHING = 0,
    SMEMV_SEEN_FIRST = 1,
    SMEMV_SEEN_LAST = 120,
    SMEMV_SEEN_WATCHED = 254,    /* the watch's until it is touched */
    SMEMV_SEEN_ABSENT = 255,     /* never touched, swapped out, or free */
};

/* What to store of a page that was touched after @us of a time of @ms. */
static inline uint8_t smemv_seen_after(int64_t us, unsigned ms)
{
    uint64_t span = SMEMV_SEEN_LAST - SMEMV_SEEN_FIRST;

    return MIN(SMEMV_SEEN_FIRST + us * span / (1000 * (int64_t)ms),
               SMEMV_SEEN_LAST);
}

typedef struct SmemvWatch SmemvWatch;

/*
 * Watch the pages of @map for @ms from now on, beside the guest, and write
 * into @seen what comes of it; no more of them than it takes to find @wanted
 * that are not touched. NULL on an error.
 */
SmemvWatch *smemv_watch_start(SmemvPageMap *map, uint8_t *seen, unsigned ms,
                              uint64_t wanted, Error **errp);

/* Move all pages back. Not to be called with the big lock. */
void smemv_watch_end(SmemvWatch *w);

/* How long @page, SMEMV_SEEN_WATCHED at the end, was watched: as @seen. */
uint8_t smemv_watch_time(const SmemvWatch *w, uint64_t page);

/* After its end: how many pages were watched, and faults they caused. */
uint64_t smemv_watch_pages(const SmemvWatch *w);
uint64_t smemv_watch_faults(const SmemvWatch *w);
void smemv_watch_free(SmemvWatch *w);

#endif
