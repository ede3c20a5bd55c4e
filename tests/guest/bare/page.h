/*
 * What a page of the bare guest holds.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Word 0 is the page's number, word 1 its version, and every other word a
 * mixture of both. It is written and checked by one string instruction
 * each, because some hosts' /dev/kvm interprets 32-bit code: a loop over the
 * words is eight times slower there.
 */
#ifndef PAGE_H
#define PAGE_H

#include <stdint.h>

#define PAGE_SIZE  4096u
#define PAGE_WORDS (PAGE_SIZE / sizeof(uint32_t))

/* Fill @page (4096 bytes) with the content of page @number at @version. */
void page_write(uint32_t *page, uint32_t number, uint32_t version);

/*
 * Check every word of @page. Returns the index of the first wrong word, or
 * PAGE_WORDS if all are right.
 */
uint32_t page_check(const uint32_t *page, uint32_t number, uint32_t version);

/* What belongs at the word @index. */
uint32_t page_word(uint32_t index, uint32_t number, uint32_t version);

#endif
