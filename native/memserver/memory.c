/*
 * What kind of memory the pages are kept in, and whether the host has it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "memory.h"

#include "../wire/smemv-wire.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define PAGES_IN_HUGE 512

/* Raises the limit on locked memory as far as it may go. */
static void raise_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_MEMLOCK, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* Tries with addresses alone: MLOCK_ONFAULT takes no memory. */
static bool can_lock(uint64_t pages)
{
    const size_t size = (size_t)pages * SMEMV_WIRE_PAGE_SIZE;
    bool locked = false;
    void *area;
    int error;

    raise_limit();
    area = mmap(NULL, size, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area != MAP_FAILED) {
        locked = mlock2(area, size, MLOCK_ONFAULT) == 0;
        error = errno;
        munmap(area, size);
        errno = error;
    }
    if (!locked) {
        log_line(LOG_ERR, "--lock: %" PRIu64 " pages cannot be locked: %s "
                 "(LimitMEMLOCK= of the unit)", pages, strerror(errno));
    }
    return locked;
}

static bool has_huge_pages(uint64_t pages)
{
    const uint64_t needed = (pages + PAGES_IN_HUGE - 1) / PAGES_IN_HUGE;
    FILE *file = fopen(HUGE_PAGES, "re");
    uint64_t there = 0;

    if (file) {
        if (fscanf(file, "%" SCNu64, &there) != 1) {
            there = 0;
        }
        fclose(file);
    }
    if (there < needed) {
        log_line(LOG_ERR, "--huge-pages: the capacity is %" PRIu64 " huge "
                 "pages of 2 MiB, and the host has %" PRIu64
                 " (vm.nr_hugepages)", needed, there);
    }
    return there >= needed;
}

bool memory_is_possible(unsigned kind, uint64_t pages)
{
    return (!(kind & MEMORY_LOCKED) || can_lock(pages)) &&
           (!(kind & MEMORY_HUGE) || has_huge_pages(pages));
}
