/*
 * The index against a model: random runs stored, found and removed, in a few
 * regions far apart, from a seed, by one process after the other. Afterwards
 * all is removed, and the memory must serve again. And the index of 4 GiB of pages strewn over 64 GiB must
 * take less than 1 % of them, the checksums counted in.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "check.h"

#include "radix.h"

#include <stdbool.h>
#include <unistd.h>

#define REGIONS 5
#define REGION_PAGES 2048
#define OPERATIONS 30000
#define ROUNDS 3

static const uint64_t regions[REGIONS] = {
    0,
    UINT64_C(40000) * 64 - 1000, /* across two nodes */
    (UINT64_C(1) << 33) - 1024,  /* across two nodes higher up */
    (UINT64_C(1) << 42) - 1024,  /* across two children of the root */
    (UINT64_C(1) << 44) - REGION_PAGES,
};

static uint32_t model[REGIONS][REGION_PAGES];

static void random_run(uint64_t *state, unsigned *region, unsigned *first,
                       unsigned *count)
{
    *region = (unsigned)random_below(state, REGIONS);
    *first = (unsigned)random_below(state, REGION_PAGES);
    *count = (unsigned)random_below(state, random_below(state, 4) ? 16 : 256) + 1;
    if (*count > REGION_PAGES - *first) {
        *count = REGION_PAGES - *first;
    }
}

static void check_run(const struct radix *radix, unsigned region,
                      unsigned first, unsigned count)
{
    uint32_t slots[RADIX_MAX_RUN];

    radix_find(radix, regions[region] + first, count, slots);
    for (unsigned i = 0; i < count; i++) {
        CHECK(slots[i] == model[region][first + i]);
    }
}

static void store_run(struct radix *radix, uint64_t *state, unsigned region,
                      unsigned first, unsigned count)
{
    uint32_t slots[RADIX_MAX_RUN], old[RADIX_MAX_RUN];

    for (unsigned i = 0; i < count; i++) {
        slots[i] = (uint32_t)random_below(state, RADIX_NONE);
    }
    CHECK(radix_prepare(radix));
    radix_store(radix, regions[region] + first, count, slots, old);
    for (unsigned i = 0; i < count; i++) {
        CHECK(old[i] == model[region][first + i]);
        model[region][first + i] = slots[i];
    }
}

static void remove_run(struct radix *radix, unsigned region, unsigned first,
                       unsigned count)
{
    uint32_t old[RADIX_MAX_RUN];

    radix_remove(radix, regions[region] + first, count, old);
    for (unsigned i = 0; i < count; i++) {
        CHECK(old[i] == model[region][first + i]);
        model[region][first + i] = RADIX_NONE;
    }
}

static void random_operations(struct radix *radix, uint64_t *state)
{
    for (int i = 0; i < OPERATIONS; i++) {
        unsigned region, first, count;

        random_run(state, &region, &first, &count);
        switch (random_below(state, 3)) {
        case 0:
            store_run(radix, state, region, first, count);
            break;
        case 1:
            remove_run(radix, region, first, count);
            break;
        default:
            check_run(radix, region, first, count);
        }
    }
}

static bool use_slot(void *context, uint32_t slot)
{
    *(uint64_t *)context += slot != RADIX_NONE;
    return true;
}

/* What the next process would do, with the same memfd. */
static void restart(struct radix *radix)
{
    uint64_t stored = 0;
    uint64_t used = 0;
    int fd = dup(radix->arena.fd);

    for (unsigned region = 0; region < REGIONS; region++) {
        for (unsigned i = 0; i < REGION_PAGES; i++) {
            stored += model[region][i] != RADIX_NONE;
        }
    }
    radix_destroy(radix);
    CHECK(!radix_restore(radix, fd, 1 << 20, use_slot, &used));
    CHECK(used == stored);
}

static void remove_all(struct radix *radix)
{
    for (unsigned region = 0; region < REGIONS; region++) {
        for (unsigned first = 0; first < REGION_PAGES; first += 256) {
            check_run(radix, region, first, 256);
            remove_run(radix, region, first, 256);
        }
    }
}

static void check_model(uint64_t *state)
{
    struct radix radix;
    size_t peak = 0;

    for (unsigned region = 0; region < REGIONS; region++) {
        for (unsigned i = 0; i < REGION_PAGES; i++) {
            model[region][i] = RADIX_NONE;
        }
    }
    CHECK(radix_init(&radix, 1 << 20) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        random_operations(&radix, state);
        restart(&radix);
        random_operations(&radix, state);
        if (round == 0) {
            peak = radix_bytes(&radix);
        }
        /* What one round took serves the next. */
        CHECK(radix_bytes(&radix) <= peak + peak / 4);
        remove_all(&radix);
        if (round == 1) {
            restart(&radix);
        }
    }
    radix_destroy(&radix);
}

/* At its limit it says so, and what is stored stays and can be replaced. */
static void check_limit(void)
{
    struct radix radix;
    uint64_t stored = 0;
    uint32_t slot, old;

    CHECK(radix_init(&radix, 1 << 18) == 0);
    while (radix_prepare(&radix)) {
        slot = (uint32_t)stored;
        radix_store(&radix, stored << 36, 1, &slot, &old);
        if (++stored == 256) {
            break;
        }
    }
    CHECK(stored > 10 && stored < 256);
    for (uint64_t i = 0; i < stored; i++) {
        slot = 1000;
        radix_store(&radix, i << 36, 1, &slot, &old);
        CHECK(old == i);
    }
    CHECK(arena_set_limit(&radix.arena, 1 << 20) == 0);
    CHECK(radix_prepare(&radix));
    radix_find(&radix, 0, 1, &slot);
    CHECK(slot == 1000);
    radix_destroy(&radix);
}

static void check_overhead(uint64_t *state)
{
    const uint64_t addresses = UINT64_C(1) << 24; /* 64 GiB */
    const uint64_t pages = UINT64_C(1) << 20;     /* 4 GiB */
    const size_t data = (size_t)pages * 4096;
    struct radix radix;
    uint64_t stored = 0;
    size_t bytes;

    CHECK(radix_init(&radix, data) == 0);
    while (stored < pages) {
        uint32_t slot = (uint32_t)stored;
        uint32_t old;

        CHECK(radix_prepare(&radix));
        radix_store(&radix, random_below(state, addresses), 1, &slot, &old);
        stored += old == RADIX_NONE;
    }
    bytes = radix_bytes(&radix) + (size_t)pages * sizeof(uint32_t);
    printf("metadata: %.3f %% of the data\n",
           100.0 * (double)bytes / (double)data);
    CHECK(bytes * 100 <= data);
    radix_destroy(&radix);
}

int main(int argc, char **argv)
{
    uint64_t state = seed_from(argc, argv);

    check_model(&state);
    check_limit();
    check_overhead(&state);
    return 0;
}
