/*
 * What a page of a checking guest holds: writing and checking it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "pattern.h"

#define STEP UINT64_C(0x9e3779b97f4a7c15)

/* Spread number and version over 64 bits (the finaliser of splitmix64). */
static uint64_t seed(uint64_t number, uint64_t version)
{
    uint64_t x = number * STEP + version;

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void pattern_write(uint64_t *page, uint64_t number, uint64_t version)
{
    uint64_t word = seed(number, version);

    page[0] = number;
    page[1] = version;
    for (unsigned i = 2; i < PAGE_WORDS; i++) {
        word += STEP;
        page[i] = word;
    }
}

/* The word that belongs at @index. */
static uint64_t expected_word(unsigned index, uint64_t number,
                              uint64_t version)
{
    switch (index) {
    case 0:
        return number;
    case 1:
        return version;
    default:
        return seed(number, version) + STEP * (index - 1);
    }
}

int pattern_check(const uint64_t *page, uint64_t number, uint64_t version,
                  struct difference *d)
{
    uint64_t wrong = (page[0] ^ number) | (page[1] ^ version);
    uint64_t word = seed(number, version);

    for (unsigned i = 2; i < PAGE_WORDS; i++) {
        word += STEP;
        wrong |= page[i] ^ word;
    }
    if (!wrong) {
        return 1;
    }
    /* All words were right when read again: what was seen was a torn read. */
    *d = (struct difference) { .word = PAGE_WORDS };
    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        uint64_t expected = expected_word(i, number, version);

        if (page[i] != expected) {
            *d = (struct difference) { i, expected, page[i] };
            break;
        }
    }
    return 0;
}
