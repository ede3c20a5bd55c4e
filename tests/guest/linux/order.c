/*
 * Order: which page a thread accesses next.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "order.h"

#include <math.h>

/* Of a Zipf distribution: page i has a share as 1 / i^THETA. */
#define THETA 0.99

/* What the first @n pages have in sum, where the first has 1. */
static double zeta(uint64_t n)
{
    double sum = 0;

    for (uint64_t i = 1; i <= n; i++) {
        sum += pow(i, -THETA);
    }
    return sum;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

/* Near the golden section: its multiples are strewn evenly over the pages. */
static uint64_t stride_of(uint64_t pages)
{
    uint64_t stride = pages * 618 / 1000 + 1;

    while (common_divisor(stride, pages) != 1) {
        stride++;
    }
    return stride;
}

void order_init(struct order *o, const struct parameters *p, unsigned number,
                uint64_t first, uint64_t end)
{
    *o = (struct order) {
        .parameters = p,
        .first = first,
        .pages = end - first,
        .random = UINT64_C(0x9e3779b97f4a7c15) * (number + 1),
        .stride = stride_of(end - first),
    };
    if (p->pattern == PATTERN_ZIPF) {
        o->zeta = zeta(o->pages);
        o->zeta_two = zeta(2);
        o->eta = (1 - pow(2.0 / o->pages, 1 - THETA)) /
                 (1 - o->zeta_two / o->zeta);
    }
}

uint64_t order_random(struct order *o, uint64_t limit)
{
    o->random ^= o->random << 13;
    o->random ^= o->random >> 7;
    o->random ^= o->random << 17;
    return o->random % limit;
}

/*
 * The rank of a page, from 0, as Gray and others have it, "Quickly generating
 * billion-record synthetic databases", SIGMOD 1994.
 */
static uint64_t zipf(struct order *o)
{
    double u = order_random(o, UINT64_C(1) << 53) * 0x1p-53;
    uint64_t rank;

    if (u * o->zeta < 1) {
        return 0;
    }
    if (u * o->zeta < o->zeta_two) {
        return 1;
    }
    rank = o->pages * pow(o->eta * u - o->eta + 1, 1 / (1 - THETA));
    return rank < o->pages ? rank : o->pages - 1;
}

/* Of the thread's pages, in an order of which the first ones are hot. */
static uint64_t ordered(const struct order *o, uint64_t i)
{
    return o->first +
           (o->parameters->strewn ? i * o->stride % o->pages : i);
}

uint64_t order_next(struct order *o)
{
    uint64_t hot = o->pages * o->parameters->hot_pages / 100;

    switch (o->parameters->pattern) {
    case PATTERN_SEQ:
        o->next = (o->next + 1) % o->pages;
        return o->first + o->next;
    case PATTERN_HOT:
        if (hot && order_random(o, 100) < o->parameters->hot_accesses) {
            return ordered(o, order_random(o, hot));
        }
        return ordered(o, hot + order_random(o, o->pages - hot));
    case PATTERN_ZIPF:
        return ordered(o, zipf(o));
    case PATTERN_UNIFORM:
        break;
    }
    return o->first + order_random(o, o->pages);
}
