/*
 * Direct I/O: a thread that writes to the first disk and reads back, past the
 * kernel's cache, from and to a buffer of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef DISK_H
#define DISK_H

#include <stdint.h>

/* Start it, with a buffer of @bytes, on the disk /dev/vda, which it overwrites. */
void disk_start(uint64_t bytes);

/* Transfers so far, and pages that were read and not what had been written. */
uint64_t disk_transfers(void);
uint64_t disk_wrong(void);

#endif
