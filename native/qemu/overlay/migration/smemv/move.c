/*
 * Move: pages from one place in this process to another (UFFDIO_MOVE).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/userfaultfd.h>
#include "move.h"

#define PAGE_SIZE 4096

static bool is_there(void *page)
{
    unsigned char there;

    return mincore(page, PAGE_SIZE, &there) || there & 1;
}

static void wake_up(int uffd, uint8_t *page)
{
    struct uffdio_range range = {
        .start = (uintptr_t)page,
        .len = PAGE_SIZE,
    };

    ioctl(uffd, UFFDIO_WAKE, &range);
}

/*
 * Linux 6.18 tries again where a page is in use just then. If it has moved it
 * at the second try, it forgets that it was successful, tries once more, and
 * finds the page that it has moved: the page is not counted, and EEXIST is
 * what is said of it.
 */
static bool has_moved(const uint8_t *from)
{
    return errno == EEXIST && !is_there((void *)from);
}

int64_t smemv_move(int uffd, void *to, void *from, uint64_t n, bool wake)
{
    uint64_t done = 0;

    while (done < n) {
        struct uffdio_move m = {
            .dst = (uintptr_t)to + done * PAGE_SIZE,
            .src = (uintptr_t)from + done * PAGE_SIZE,
            .len = (n - done) * PAGE_SIZE,
            .mode = wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE,
        };

        if (!ioctl(uffd, UFFDIO_MOVE, &m)) {
            return (int64_t)n;
        }
        if (m.move > 0) {
            /* The next page says why it was not moved; or it was. */
            done += (uint64_t)m.move / PAGE_SIZE;
        } else if (has_moved((uint8_t *)from + done * PAGE_SIZE)) {
            if (wake) {
                wake_up(uffd, (uint8_t *)to + done * PAGE_SIZE);
            }
            done++;
        } else {
            return done ? (int64_t)done : -errno;
        }
    }
    return (int64_t)n;
}
