/*
 * Move: pages from one place in this process to another (UFFDIO_MOVE).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_MOVE_H
#define SMEMV_MOVE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Move @n pages of 4 KiB from @from to @to, where nothing is, and where only
 * the caller puts pages; with @wake whoever waits there for one is woken.
 * @uffd has both places or one of them registered.
 *
 * Returns how many were moved, which may be fewer, or -errno for none.
 */
int64_t smemv_move(int uffd, void *to, void *from, uint64_t n, bool wake);

#endif
