/*
 * Pages of a split VM: where each is, and what is counted of them.
 *
 * A page is in one place at a time; who moves it says so here before and
 * after. Where nothing else is said, calls want the pager's lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PAGES_H
#define SMEMV_PAGES_H

#include "pager.h"

/* @page is resident from now on: the newest arrival. */
void smemv_pages_arrived(SmemvPager *p, uint64_t page);

/* The oldest arrival, which is one no more. False if there is none. */
bool smemv_pages_oldest(SmemvPager *p, uint64_t *page);

/* What peer @i stores of @page is stale. */
void smemv_pages_drop(SmemvPager *p, unsigned i, uint64_t page);

/*
 * @page, which is not here, has its copies at @pair now, and not where it had
 * them.
 */
void smemv_pages_set(SmemvPager *p, uint64_t page, SmemvPair pair);

/* Where @page has copies that it does not need. */
static inline SmemvPair smemv_pages_home(const SmemvPager *p, uint64_t page)
{
    return (SmemvPair) { p->home[page], p->home_twin ? p->home_twin[page] : 0 };
}

void smemv_pages_set_home(SmemvPager *p, uint64_t page, SmemvPair home);

/* Of the copies that @page does not need, those at @pair are its own now. */
void smemv_pages_settle_home(SmemvPager *p, uint64_t page, SmemvPair pair);

/*
 * Whether @page is just on its way in, or out, even if it was touched and is
 * here again: who moves it looks after its copies.
 */
bool smemv_pages_under_way(const SmemvPager *p, uint64_t page);

/*
 * Drop the copies that pages do not need, but of those that are just on their
 * way. Wants the lock not to be held.
 */
void smemv_pages_tidy(SmemvPager *p);

/*
 * @page, which is on a sub-host or zero, is about to come in; or has. The
 * first call returns where it is, which the second is told, and with it the
 * digest, if that is known. There must be room.
 */
SmemvPair smemv_pages_begin_in(SmemvPager *p, uint64_t page);
void smemv_pages_end_in(SmemvPager *p, uint64_t page, SmemvPair pair,
                        const SmemvDigest *digest);

/*
 * Whether what is at @pair may stay there while the page is here, as there is
 * room to spare.
 */
bool smemv_pages_may_keep(const SmemvPager *p, SmemvPair pair);

/*
 * Copy @data, or zeros, to where @page belongs and wake who waits there. The
 * lock need not be held: the page is coming in.
 */
void smemv_pages_copy_in(SmemvPager *p, uint64_t page, const void *data);

/* The same for a run of @n pages: who waits is woken when all are here. */
void smemv_pages_copy_run_in(SmemvPager *p, uint64_t page, unsigned n,
                             const uint8_t *data);

/* @page is at @pair now, and no more here. */
void smemv_pages_went_out(SmemvPager *p, uint64_t page, SmemvPair pair);

/* What is stored at @pair of @page, which is here, is of no use. */
void smemv_pages_left_behind(SmemvPager *p, uint64_t page, SmemvPair pair);

/* @page, which is on a sub-host, is of no use any more: it reads as zero. */
void smemv_pages_forget(SmemvPager *p, uint64_t page);

/* Bring @page back from staging. */
void smemv_pages_bring_back(SmemvPager *p, uint64_t page);

/* The copying under way that @page is part of, or NULL. */
SmemvCopy *smemv_pages_copy_of(SmemvPager *p, uint64_t page);

/*
 * The destination of a migration is to learn of the copies that are kept
 * already. Gives the lock up meanwhile.
 */
void smemv_pages_note_homes(SmemvPager *p);

#endif
