/*
 * What the index of a large VM takes, and how long a page is looked for.
 *
 *   index_bench ADDRESS-GIB STORED-GIB
 *
 * stores that many GiB of pages, strewn over that many GiB of addresses one
 * by one, which is the worst that can be; only the pages themselves are not
 * there. Prints JSON: bytes of index, checksums and bits together, bytes of
 * the pages, and nanoseconds to find one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "../../memserver/radix.h"
#include "../measure.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGES_PER_GIB (UINT64_C(1) << 18)
#define PAGE 4096
#define LOOKUPS 1000000

static void fill(struct radix *radix, uint64_t addresses, uint64_t pages)
{
    uint64_t state = 1;

    for (uint64_t stored = 0; stored < pages;) {
        uint32_t slot = (uint32_t)stored;
        uint32_t old;

        if (!radix_prepare(radix)) {
            fprintf(stderr, "no memory for the index\n");
            exit(1);
        }
        radix_store(radix, random_below(&state, addresses), 1, &slot, &old);
        stored += old == RADIX_NONE;
    }
}

/* Looks for the pages that fill() stored, in its order. */
static double lookup_time(const struct radix *radix, uint64_t addresses)
{
    uint64_t state = 1;
    double start = seconds();

    for (unsigned i = 0; i < LOOKUPS; i++) {
        uint32_t slot;

        radix_find(radix, random_below(&state, addresses), 1, &slot);
        if (slot == RADIX_NONE) {
            fprintf(stderr, "a page that was stored is not there\n");
            exit(1);
        }
    }
    return (seconds() - start) / LOOKUPS;
}

int main(int argc, char **argv)
{
    uint64_t addresses, pages;
    struct radix radix;
    double metadata;

    if (argc != 3) {
        fprintf(stderr, "usage: index_bench ADDRESS-GIB STORED-GIB\n");
        return 2;
    }
    addresses = strtoull(argv[1], NULL, 10) * PAGES_PER_GIB;
    pages = strtoull(argv[2], NULL, 10) * PAGES_PER_GIB;
    if (pages * 2 > addresses || pages < LOOKUPS ||
        radix_init(&radix, pages * PAGE / 16)) {
        fprintf(stderr, "that cannot be\n");
        return 1;
    }
    fill(&radix, addresses, pages);
    metadata = (double)radix_bytes(&radix) +
               (double)pages * (sizeof(uint32_t) + 1 / 8.0);
    printf("{\"metadata_bytes\": %.0f, \"page_bytes\": %.0f, "
           "\"lookup_ns\": %.1f}\n",
           metadata, (double)pages * PAGE,
           lookup_time(&radix, addresses) * 1e9);
    return 0;
}
