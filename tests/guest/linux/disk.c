/*
 * Direct I/O, checked.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "disk.h"
#include "../pattern.h"
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages of one transfer, at the most. */
#define MOST 16

static int fd;
static uint8_t *buffer;
static uint64_t buffer_pages, disk_pages;
static uint32_t *versions;      /* of each page of the disk; 0: not written */
static _Atomic uint64_t transfers, wrong;

static uint64_t random_below(uint64_t limit)
{
    static uint64_t random = UINT64_C(0x2545f4914f6cdd1d);

    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random % limit;
}

static void check(uint64_t *data, uint64_t page)
{
    struct difference d;

    if (versions[page] &&
        !pattern_check(data, page, versions[page], &d)) {
        atomic_fetch_add(&wrong, 1);
        say("wrong disk page=%" PRIu64 " address=%p version=%" PRIu32
            " word=%u expected=0x%" PRIx64 " found=0x%" PRIx64, page,
            (void *)data, versions[page], d.word, d.expected, d.found);
    }
}

/* One transfer, of any pages of the disk from or to any pages of the buffer. */
static void transfer(void)
{
    uint64_t n = 1 + random_below(MOST);
    uint64_t first = random_below(disk_pages - n + 1);
    uint8_t *data = buffer + random_below(buffer_pages - n + 1) * PAGE_SIZE;
    ssize_t size = n * PAGE_SIZE, done;
    bool writes = random_below(2);

    for (uint64_t i = 0; writes && i < n; i++) {
        pattern_write((uint64_t *)(data + i * PAGE_SIZE), first + i,
                      ++versions[first + i]);
    }
    done = writes ? pwrite(fd, data, size, first * PAGE_SIZE)
                  : pread(fd, data, size, first * PAGE_SIZE);
    if (done != size) {
        give_up("transfer of %zd bytes: %zd, %s", size, done, strerror(errno));
    }
    for (uint64_t i = 0; !writes && i < n; i++) {
        check((uint64_t *)(data + i * PAGE_SIZE), first + i);
    }
    atomic_fetch_add(&transfers, 1);
}

static void *transfer_for_ever(void *opaque)
{
    (void)opaque;
    for (;;) {
        transfer();
    }
    return NULL;
}

void disk_start(uint64_t bytes)
{
    pthread_t thread;

    fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
    disk_pages = fd < 0 ? 0 : lseek(fd, 0, SEEK_END) / PAGE_SIZE;
    buffer_pages = bytes / PAGE_SIZE;
    if (disk_pages < MOST || buffer_pages < MOST) {
        give_up("no disk, or disk or buffer too small: %s", strerror(errno));
    }
    versions = calloc(disk_pages, sizeof(*versions));
    buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!versions || buffer == MAP_FAILED ||
        pthread_create(&thread, NULL, transfer_for_ever, NULL)) {
        give_up("cannot start transfers: %s", strerror(errno));
    }
}

uint64_t disk_transfers(void)
{
    return atomic_load(&transfers);
}

uint64_t disk_wrong(void)
{
    return atomic_load(&wrong);
}
