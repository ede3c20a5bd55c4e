/*
 * Ahead: pages of sub-hosts, sent before the migration thread comes to them.
 *
 * Precopy goes through the guest's memory once from end to end, where the main
 * host's pages may lie beside each other: then either its link would be busy,
 * or those of the sub-hosts. So while precopy is at other pages, the senders
 * that have room are given the next of theirs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_AHEAD_H
#define SMEMV_AHEAD_H

#include "page-map.h"
#include "placement.h"
#include "senders.h"

typedef struct SmemvAhead SmemvAhead;

/* Sends page @page, which is at @host; negative on an error. */
typedef int SmemvSendPage(uint64_t page, const uint8_t *host);

/* What is given has to outlive it. */
SmemvAhead *smemv_ahead_new(SmemvPageMap *map, const SmemvPlacement *p,
                            SmemvSenders *ss);

/* NULL is none. */
void smemv_ahead_free(SmemvAhead *a);

/*
 * Send what the senders take without waiting, and the migration's bandwidth
 * allows, of dirty pages behind @page, the last one that precopy came to.
 * Called for each page as smemv_save_page() is; acts now and then. Negative on
 * an error.
 */
int smemv_ahead_send(SmemvAhead *a, uint64_t page, SmemvSendPage *send);

#endif
