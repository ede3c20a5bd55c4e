/*
 * What QEMU's own header of this name has for the one file of the overlay that
 * is tested without QEMU.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef QEMU_OSDEP_H
#define QEMU_OSDEP_H

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>

/* Headers of before Linux 6.8 do not have it. */
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#define UFFDIO_MOVE_MODE_DONTWAKE ((uint64_t)1 << 0)

struct uffdio_move {
    uint64_t dst, src, len, mode;
    int64_t move;
};
#endif

#endif
