/*
 * What the C test programs share.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_CHECK_H
#define SMEMV_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program with the place and the expression if it does not hold. */
#define CHECK(expression)                                                  \
    do {                                                                   \
        if (!(expression)) {                                               \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expression); \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

/* Random numbers that a seed brings back: xorshift64*. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* Below @limit, from the command line's seed on. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return (random_next(state) >> 16) % limit;
}

static inline uint64_t seed_from(int argc, char **argv)
{
    CHECK(argc == 2);
    return strtoull(argv[1], NULL, 10) * 2 + 1;
}

#endif
