/*
 * How fast a page's checksum is, by three interleaved chains (what the wire
 * uses) and by one, each also held against the table.
 *
 * Prints JSON. Exit status 1: they do not agree.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "../../wire/crc32c.c"

#include <stdio.h>
#include <time.h>

#define PAGES 256
#define ROUNDS 1000

#ifdef __x86_64__
__attribute__((target("sse4.2")))
#endif
static uint32_t one_chain(const uint8_t *p, size_t size)
{
#ifdef __x86_64__
    uint64_t crc = UINT32_MAX;

    for (; size; size -= 8, p += 8) {
        crc = _mm_crc32_u64(crc, load_u64(p));
    }
    return ~(uint32_t)crc;
#else
    return ~crc32c_table(UINT32_MAX, p, size);
#endif
}

static uint32_t wire(const uint8_t *p, size_t size)
{
    return smemv_wire_crc32c(p, size);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Gigabytes a second over @pages, with the sum of the checksums in @sum. */
static double rate(uint32_t (*crc)(const uint8_t *, size_t),
                   const uint8_t *pages, uint32_t *sum)
{
    double start = seconds();

    *sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < PAGES; i++) {
            *sum += crc(pages + i * SMEMV_WIRE_PAGE_SIZE, SMEMV_WIRE_PAGE_SIZE);
        }
    }
    return (double)ROUNDS * PAGES * SMEMV_WIRE_PAGE_SIZE / 1e9 /
           (seconds() - start);
}

int main(void)
{
    static uint8_t pages[PAGES * SMEMV_WIRE_PAGE_SIZE];
    uint32_t expected = 0;
    uint32_t sum_three, sum_one;
    double three, one;

    for (size_t i = 0; i < sizeof(pages); i++) {
        pages[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    for (size_t i = 0; i < PAGES; i++) {
        expected += ~crc32c_table(UINT32_MAX, pages + i * SMEMV_WIRE_PAGE_SIZE,
                                  SMEMV_WIRE_PAGE_SIZE);
    }
    expected *= ROUNDS;
    three = rate(wire, pages, &sum_three);
    one = rate(one_chain, pages, &sum_one);
    printf("{\"crc32c_gb_per_s\": %.2f, \"one_chain_gb_per_s\": %.2f}\n", three,
           one);
    return sum_three == expected && sum_one == expected ? 0 : 1;
}
