/*
 * The index of a session: from guest memory page number to slot.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_RADIX_H
#define SMEMV_RADIX_H

#include "arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No slot: the page is not stored. */
#define RADIX_NONE UINT32_MAX

/* Pages a call may speak of at once. */
#define RADIX_MAX_RUN 256

struct radix {
    struct arena arena;
    arena_ref root;
};

/*
 * The caller keeps writers apart from each other and from readers. Page
 * numbers are below 2^44. Runs of @count pages begin at @page.
 */

/* An index that may take @limit bytes. Returns 0, or a negative errno. */
int radix_init(struct radix *radix, size_t limit);

/*
 * The index of a process before this one, in its memfd, which is not taken
 * over when it fails. @use is called for each slot that it points at, and says
 * whether there may be one. Returns NULL, or what is wrong.
 */
const char *radix_restore(struct radix *radix, int fd, size_t limit,
                          bool (*use)(void *context, uint32_t slot),
                          void *context);
void radix_destroy(struct radix *radix);

/* Finds the slots of a run; RADIX_NONE for a page that is not stored. */
void radix_find(const struct radix *radix, uint64_t page, unsigned count,
                uint32_t slots[]);

/* Makes sure that the next radix_store() has the memory it may need. */
bool radix_prepare(struct radix *radix);

/*
 * Points a run at @slots and gives what it pointed at before in @old
 * (RADIX_NONE for a new page). Without radix_prepare() only for pages that
 * are all stored.
 */
void radix_store(struct radix *radix, uint64_t page, unsigned count,
                 const uint32_t slots[], uint32_t old[]);

/* Forgets a run and gives what it pointed at in @old. */
void radix_remove(struct radix *radix, uint64_t page, unsigned count,
                  uint32_t old[]);

/* Bytes of memory the index has taken. */
size_t radix_bytes(const struct radix *radix);

#endif
