/*
 * What a page of a checking guest holds.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Word 0 is the page's number, word 1 its version, and every other word
 * follows from both, so that a stale page, another page's content and a
 * single wrong bit are all seen, and can be told apart.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdint.h>

#define PAGE_SIZE  4096u
#define PAGE_WORDS (PAGE_SIZE / sizeof(uint64_t))

/* Where a page differs from what it should hold. */
struct difference {
    unsigned word;
    uint64_t expected;
    uint64_t found;
};

/* Fill @page (4096 bytes) with the content of page @number at @version. */
void pattern_write(uint64_t *page, uint64_t number, uint64_t version);

/*
 * Check every word of @page. Returns 1 if it is right; else 0, and the first
 * wrong word in @d.
 */
int pattern_check(const uint64_t *page, uint64_t number, uint64_t version,
                  struct difference *d);

#endif
