/*
 * What a page of the bare guest holds: writing and checking it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "page.h"

#define HEAD 2u                 /* words for number and version */

/* Spread number and version over 32 bits (the finaliser of murmur3). */
static uint32_t mix(uint32_t number, uint32_t version)
{
    uint32_t x = number * 0x9e3779b1u + version;

    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    return x ^ (x >> 16);
}

uint32_t page_word(uint32_t index, uint32_t number, uint32_t version)
{
    switch (index) {
    case 0:
        return number;
    case 1:
        return version;
    default:
        return mix(number, version);
    }
}

void page_write(uint32_t *page, uint32_t number, uint32_t version)
{
    uint32_t *rest = page + HEAD;
    uint32_t count = PAGE_WORDS - HEAD;

    page[0] = number;
    page[1] = version;
    __asm__ volatile("rep stosl"
                     : "+D" (rest), "+c" (count)
                     : "a" (mix(number, version))
                     : "memory");
}

uint32_t page_check(const uint32_t *page, uint32_t number, uint32_t version)
{
    const uint32_t *rest = page + HEAD;
    uint32_t count = PAGE_WORDS - HEAD;
    uint8_t same;

    if (page[0] != number) {
        return 0;
    }
    if (page[1] != version) {
        return 1;
    }
    __asm__ volatile("repe scasl\n\t"
                     "sete %2"
                     : "+D" (rest), "+c" (count), "=q" (same)
                     : "a" (mix(number, version))
                     : "memory", "cc");
    return same ? PAGE_WORDS : (uint32_t)(rest - page) - 1;
}
