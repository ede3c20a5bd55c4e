/*
 * Touch pages of another process that are missing there, and take the time.
 *
 * process_vm_readv() faults as a thread of that process would, so the same
 * program measures QEMU and the floor, and no guest is in the way.
 *
 * usage: faults PID ADDRESS PAGES COUNT THREADS random|sequential
 *
 * Of the PAGES at ADDRESS it touches COUNT of those that are missing: strewn,
 * or the first ones in turn. A page that reads as zeros was fetched from
 * nowhere, and is left out. Prints as JSON the times of the touches, in µs, how
 * many there were, and how many a second.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE_SIZE 4096
#define MOST_THREADS 64

struct toucher {
    pthread_t thread;
    const uint64_t *addresses;
    uint64_t *times;
    size_t n;
    size_t counted;             /* of them: those that were fetched */
};

static pid_t pid;

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

/* The addresses of the pages that are missing; returns how many. */
static size_t find_missing(uint64_t address, size_t pages, uint64_t *missing)
{
    uint64_t *entries = malloc(pages * sizeof(*entries));
    size_t size = pages * sizeof(*entries), n = 0;
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
    fd = open(path, O_RDONLY);
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, (char *)entries + done, size - done,
                            address / PAGE_SIZE * sizeof(*entries) + done);

        if (got <= 0) {
            err(1, "%s", path);
        }
        done += got;
    }
    close(fd);
    for (size_t i = 0; i < pages; i++) {
        if (!(entries[i] >> 63)) {
            missing[n++] = address + i * PAGE_SIZE;
        }
    }
    free(entries);
    return n;
}

/* Have @count of the @n addresses first, in a random order. */
static void shuffle(uint64_t *addresses, size_t n, size_t count)
{
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);

    for (size_t i = 0; i < count; i++) {
        uint64_t *other, first = addresses[i];

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        other = &addresses[i + random % (n - i)];
        addresses[i] = *other;
        *other = first;
    }
}

static void *touch(void *opaque)
{
    struct toucher *t = opaque;
    uint64_t words[2];

    for (size_t i = 0; i < t->n; i++) {
        struct iovec local = { words, sizeof(words) };
        struct iovec remote = { (void *)t->addresses[i], sizeof(words) };
        uint64_t began = now();

        if (process_vm_readv(pid, &local, 1, &remote, 1, 0) !=
            sizeof(words)) {
            err(1, "process_vm_readv");
        }
        if (words[0] || words[1]) {
            t->times[t->counted++] = now() - began;
        }
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct toucher touchers[MOST_THREADS];
    uint64_t address, *addresses, *times, took;
    size_t pages, count, threads, n;

    if (argc != 7) {
        errx(1, "usage: faults PID ADDRESS PAGES COUNT THREADS "
             "random|sequential");
    }
    pid = atoi(argv[1]);
    address = strtoull(argv[2], NULL, 0);
    pages = strtoull(argv[3], NULL, 0);
    count = strtoull(argv[4], NULL, 0);
    threads = strtoull(argv[5], NULL, 0);
    addresses = malloc(pages * sizeof(*addresses));
    times = malloc(count * sizeof(*times));
    n = find_missing(address, pages, addresses);
    if (n < count || !count || !threads || threads > MOST_THREADS) {
        errx(1, "%zu pages are missing, for %zu touches", n, count);
    }
    if (!strcmp(argv[6], "random")) {
        shuffle(addresses, n, count);
    }

    took = now();
    for (size_t i = 0; i < threads; i++) {
        size_t first = count * i / threads;

        touchers[i] = (struct toucher) {
            .addresses = addresses + first,
            .times = times + first,
            .n = count * (i + 1) / threads - first,
        };
        if (pthread_create(&touchers[i].thread, NULL, touch, &touchers[i])) {
            err(1, "pthread_create");
        }
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(touchers[i].thread, NULL);
    }
    took = now() - took;

    n = 0;
    for (size_t i = 0; i < threads; i++) {
        memmove(times + n, touchers[i].times,
                touchers[i].counted * sizeof(*times));
        n += touchers[i].counted;
    }
    count = n;
    if (!count) {
        errx(1, "all pages read as zeros");
    }
    qsort(times, count, sizeof(*times), by_size);
    printf("{\"p50\": %.2f, \"p99\": %.2f, \"count\": %zu, \"per_s\": %.0f}\n",
           times[count / 2] / 1e3, times[count - 1 - count / 100] / 1e3, count,
           count * 1e9 / took);
    return 0;
}
