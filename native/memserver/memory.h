/*
 * What kind of memory the pages are kept in, and whether the host has it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_MEMORY_H
#define SMEMV_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum memory_kind {
    MEMORY_LOCKED = 1, /* never swapped out */
    MEMORY_HUGE = 2,   /* in huge pages of 2 MiB */
};

/*
 * Can the host give @pages of 4 KiB of that kind, a sum of enum memory_kind?
 * If not, the journal says why.
 */
bool memory_is_possible(unsigned kind, uint64_t pages);

#endif
