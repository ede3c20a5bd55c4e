/*
 * Pages that are moved while they are written: none is lost, and each that was
 * moved is counted.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "qemu/osdep.h"
#include "../../../native/qemu/overlay/migration/smemv/move.h"
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define PAGES ((size_t)8192)
#define ROUNDS 96
#define MOST 16

static uint8_t *source, *target;
static _Atomic size_t next;
static atomic_bool ends;

static void pause_for(uint64_t turns)
{
    for (volatile uint64_t i = 0; i < turns; i++) {
    }
}

/* Write to each page as it is moved: the kernel finds it in use then. */
static void *write_pages(void *opaque)
{
    uint64_t random = *(uint64_t *)opaque;
    size_t last = PAGES;

    while (!atomic_load(&ends)) {
        size_t page = atomic_load(&next);

        if (page != last && page < PAGES) {
            pause_for(random_below(&random, 300));
            ((volatile uint8_t *)source)[page * PAGE + 1] = 1;
            last = page;
        }
    }
    return NULL;
}

static uint8_t *map(void)
{
    void *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    CHECK(!madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE));
    return memory;
}

/* A userfaultfd that has the target registered; -1 where there is none. */
static int open_uffd(void)
{
    struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };
    struct uffdio_register place = {
        .range = { (uintptr_t)target, PAGES * PAGE },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
        return -1;
    }
    CHECK(!ioctl(fd, UFFDIO_REGISTER, &place));
    return fd;
}

/* Not accessed lately, by the page table, so that a write changes it. */
static void fill(size_t page, size_t n)
{
    for (size_t i = page; i < page + n; i++) {
        memset(source + i * PAGE, (int)(i % 251 + 2), PAGE);
    }
    CHECK(!madvise(source + page * PAGE, n * PAGE, MADV_COLD));
}

/*
 * All pages, up to MOST at once. What is pinned or in use may stay. The target
 * holds what the source has held, and nothing else.
 */
static void move_all(int uffd, uint64_t *random)
{
    for (size_t page = 0; page < PAGES;) {
        size_t n = 1 + random_below(random, MOST);
        int64_t moved;

        n = n < PAGES - page ? n : PAGES - page;
        fill(page, n);
        atomic_store(&next, page + random_below(random, n));
        pause_for(random_below(random, 300));
        moved = smemv_move(uffd, target + page * PAGE, source + page * PAGE, n,
                           false);
        CHECK(moved == -EAGAIN || moved == -EBUSY || moved > 0);
        for (size_t end = page + (moved > 0 ? (size_t)moved : 0); page < end;
             page++) {
            CHECK(target[page * PAGE] == page % 251 + 2);
        }
    }
    CHECK(!madvise(source, PAGES * PAGE, MADV_DONTNEED));
    CHECK(!madvise(target, PAGES * PAGE, MADV_DONTNEED));
}

int main(int argc, char **argv)
{
    uint64_t random = seed_from(argc, argv), other = random + 2;
    pthread_t writer;
    int uffd;

    source = map();
    target = map();
    uffd = open_uffd();
    if (uffd < 0) {
        return 77;               /* it cannot be had here */
    }
    atomic_store(&next, PAGES);
    CHECK(!pthread_create(&writer, NULL, write_pages, &other));
    for (int i = 0; i < ROUNDS; i++) {
        move_all(uffd, &random);
    }
    atomic_store(&ends, true);
    CHECK(!pthread_join(writer, NULL));
    return 0;
}
