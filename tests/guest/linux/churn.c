/*
 * Churn: memory that comes and goes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "churn.h"
#include "../pattern.h"
#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* For how long it has the memory, and is then without: the kernel tells of what has been free for two seconds. */
#define WITH 1
#define WITHOUT 4

static uint64_t size;
static _Atomic uint64_t rounds, wrong;

static void check(uint64_t *data, uint64_t page, uint32_t version)
{
    struct difference d;

    if (!pattern_check(data, page, version, &d)) {
        atomic_fetch_add(&wrong, 1);
        say("wrong churn page=%" PRIu64 " address=%p version=%" PRIu32
            " word=%u expected=0x%" PRIx64 " found=0x%" PRIx64, page,
            (void *)data, version, d.word, d.expected, d.found);
    }
}

static void *churn_for_ever(void *opaque)
{
    (void)opaque;
    for (uint32_t version = 1;; version++) {
        uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED) {
            give_up("no memory to churn: %s", strerror(errno));
        }
        for (uint64_t page = 0; page < size / PAGE_SIZE; page++) {
            pattern_write((uint64_t *)(memory + page * PAGE_SIZE), page,
                          version);
        }
        sleep(WITH);
        for (uint64_t page = 0; page < size / PAGE_SIZE; page++) {
            check((uint64_t *)(memory + page * PAGE_SIZE), page, version);
        }
        munmap(memory, size);
        atomic_fetch_add(&rounds, 1);
        sleep(WITHOUT);
    }
    return NULL;
}

void churn_start(uint64_t bytes)
{
    pthread_t thread;
    int failed;

    size = bytes - bytes % PAGE_SIZE;
    failed = pthread_create(&thread, NULL, churn_for_ever, NULL);
    if (failed) {
        give_up("cannot start churning: %s", strerror(failed));
    }
}

uint64_t churn_rounds(void)
{
    return atomic_load(&rounds);
}

uint64_t churn_wrong(void)
{
    return atomic_load(&wrong);
}
