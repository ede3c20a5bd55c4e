/*
 * Order: which page a thread accesses next.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef ORDER_H
#define ORDER_H

#include "parameters.h"

struct order {
    const struct parameters *parameters;
    uint64_t first, pages;      /* the thread's share of the pages */
    uint64_t random;
    uint64_t stride;            /* between hot pages that are strewn */
    uint64_t next;              /* of the pattern seq */
    double zeta, zeta_two, eta; /* of the pattern zipf */
};

/* That of the thread @number, which has the pages from @first up to @end. */
void order_init(struct order *o, const struct parameters *p, unsigned number,
                uint64_t first, uint64_t end);

uint64_t order_next(struct order *o);

/* A random number below @limit. */
uint64_t order_random(struct order *o, uint64_t limit);

#endif
