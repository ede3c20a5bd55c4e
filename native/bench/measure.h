/*
 * What the benchmarks in C have in common: numbers at random that are the same
 * each time, and a clock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <time.h>

/* The next number below @limit, by xorshift64*; @state begins with any but 0. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * UINT64_C(2685821657736338717) >> 16) % limit;
}

/* Of a clock that is never set. */
static inline double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#endif
