/*
 * A guest program that fills memory and then reads, checks and rewrites it for
 * ever. It is the init of a Linux guest; parameters.h says what can be set.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Each report interval it prints on the console
 *
 *   smemv-guest: t=SECONDS phase=fill|run accesses=N rate=N/s wrong=N pages=N
 *                maxgap_ms=N sweeps=N filled=N transfers=N rounds=N
 *
 * (one line; rate and maxgap since the line before: maxgap is the longest time
 * between two accesses of one thread), every few seconds a line "config …",
 * and for each wrong page a line "wrong …". Times are the guest's own: its
 * clock stands still while the VM is stopped.
 */
#define _GNU_SOURCE
#include "../pattern.h"
#include "churn.h"
#include "disk.h"
#include "machine.h"
#include "order.h"
#include "parameters.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)
#define DESCRIBE_INTERVAL (5 * SECOND)

/* Kept free for the kernel when all memory is to be filled. */
#define KERNEL_RESERVE (UINT64_C(48) << 20)

/* A worker that is late by more than this does not catch up. */
#define RATE_SLACK (100 * MILLISECOND)

struct worker {
    pthread_t thread;
    unsigned cpu;
    struct order order;         /* of its share of the pages */
    uint64_t interval;          /* ns between two accesses; 0: no limit */
    uint64_t due;               /* when the next access is due */
    uint64_t last;              /* when the last access ended */
    atomic_bool running;        /* filled, and checking */
    _Atomic uint64_t filled;    /* pages */
    _Atomic uint64_t accesses;
    _Atomic uint64_t wrong;
    _Atomic uint64_t gap;       /* longest since the last report, ns */
    _Atomic uint64_t sweeps;
};

static struct parameters parameters;
static uint64_t *memory;
static uint32_t *versions;

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void sleep_until(uint64_t when)
{
    struct timespec t = { when / SECOND, when % SECOND };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) {
        continue;
    }
}

/* Wait until the next access is due, after one that just ended. */
static void pace(struct worker *w)
{
    uint64_t t = now();
    uint64_t gap = t - w->last;

    if (gap > atomic_load(&w->gap)) {
        atomic_store(&w->gap, gap);
    }
    w->last = t;
    if (!w->interval) {
        return;
    }
    w->due += w->interval;
    if (w->due + RATE_SLACK < t) {
        w->due = t;
    } else if (w->due > t + parameters.sleep * MILLISECOND) {
        sleep_until(w->due);
    }
}

static uint64_t *page_at(uint64_t number)
{
    return memory + number * PAGE_WORDS;
}

static void fill(struct worker *w)
{
    const struct order *o = &w->order;

    for (uint64_t i = o->first; i < o->first + o->pages; i++) {
        versions[i] = 1;
        pattern_write(page_at(i), i, 1);
        atomic_fetch_add(&w->filled, 1);
    }
}

static void access_page(struct worker *w, uint64_t number, bool rewrite)
{
    uint64_t *page = page_at(number);
    struct difference d;
    bool right = true;

    for (unsigned i = 0; right && i < parameters.checks; i++) {
        right = pattern_check(page, number, versions[number], &d);
    }
    if (!right) {
        atomic_fetch_add(&w->wrong, 1);
        say("wrong page=%" PRIu64 " address=%p physical=0x%" PRIx64
            " version=%" PRIu32 " word=%u expected=0x%" PRIx64
            " found=0x%" PRIx64 " page_found=%" PRIu64
            " version_found=%" PRIu64, number, (void *)page,
            machine_physical(page), versions[number], d.word, d.expected,
            d.found, page[0], page[1]);
        /* So that one wrong page counts once. */
        rewrite = true;
    }
    if (rewrite) {
        versions[number]++;
        pattern_write(page, number, versions[number]);
    }
    atomic_fetch_add(&w->accesses, 1);
    pace(w);
}

static void sweep(struct worker *w)
{
    const struct order *o = &w->order;

    for (uint64_t i = o->first; i < o->first + o->pages; i++) {
        access_page(w, i, false);
    }
    atomic_fetch_add(&w->sweeps, 1);
}

static void *work(void *opaque)
{
    struct worker *w = opaque;
    uint64_t next_sweep;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(w->cpu, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus)) {
        give_up("cannot run on CPU %u: %s", w->cpu, strerror(errno));
    }
    fill(w);
    w->last = w->due = now();
    atomic_store(&w->running, true);
    next_sweep = w->last + parameters.sweep * SECOND;
    for (;;) {
        if (parameters.sweep && w->last >= next_sweep) {
            sweep(w);
            next_sweep = w->last + parameters.sweep * SECOND;
        }
        access_page(w, order_next(&w->order),
                    order_random(&w->order, 100) < parameters.writes);
    }
    return NULL;
}

static void *allocate(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        give_up("no %" PRIu64 " bytes: %s", bytes, strerror(errno));
    }
    return p;
}

/* Memory that is written once: free, it still holds what was written. */
static void *use_once(uint64_t bytes)
{
    uint64_t *p = allocate(bytes);

    for (uint64_t i = 0; i < bytes / PAGE_SIZE; i++) {
        pattern_write(p + i * PAGE_WORDS, i, 1);
    }
    return p;
}

static void give_back(void **once)
{
    if (*once) {
        munmap(*once, parameters.once);
        *once = NULL;
    }
}

/* As much as can be filled, leaving the kernel and the versions their own. */
static uint64_t all_memory(void)
{
    struct sysinfo info;
    uint64_t bytes;

    sysinfo(&info);
    bytes = (uint64_t)info.freeram * info.mem_unit;
    if (bytes <= 2 * KERNEL_RESERVE) {
        give_up("only %" PRIu64 " bytes are free", bytes);
    }
    bytes -= KERNEL_RESERVE;
    /* A page costs 4 bytes of version and 8 of page table. */
    return bytes / (PAGE_SIZE + 12) * PAGE_SIZE;
}

static struct worker *start(uint64_t pages, unsigned threads)
{
    struct worker *workers = calloc(threads, sizeof(*workers));

    for (unsigned i = 0; i < threads; i++) {
        struct worker *w = &workers[i];

        w->cpu = i % sysconf(_SC_NPROCESSORS_ONLN);
        order_init(&w->order, &parameters, i, pages * i / threads,
                   pages * (i + 1) / threads);
        w->interval = parameters.rate ? SECOND * threads / parameters.rate : 0;
        if (pthread_create(&w->thread, NULL, work, w)) {
            give_up("cannot start thread %u", i);
        }
    }
    return workers;
}

/* The longest time between two accesses since the last report, in ns. */
static uint64_t take_gap(struct worker *w, uint64_t time)
{
    uint64_t gap = atomic_exchange(&w->gap, 0);
    uint64_t last = w->last;

    /* An access that waits for its page has a gap that is not over yet. */
    if (atomic_load(&w->running) && time > last && time - last > gap) {
        gap = time - last;
    }
    return gap;
}

static void report(struct worker *workers, unsigned threads, uint64_t pages,
                   uint64_t began)
{
    static uint64_t last_done, last_time;
    uint64_t filled = 0, accesses = 0, gap = 0, sweeps = UINT64_MAX;
    uint64_t wrong = disk_wrong() + churn_wrong(), time = now();

    for (unsigned i = 0; i < threads; i++) {
        uint64_t its_gap = take_gap(&workers[i], time);
        uint64_t its_sweeps = atomic_load(&workers[i].sweeps);

        gap = its_gap > gap ? its_gap : gap;
        sweeps = its_sweeps < sweeps ? its_sweeps : sweeps;
        filled += atomic_load(&workers[i].filled);
        accesses += atomic_load(&workers[i].accesses);
        wrong += atomic_load(&workers[i].wrong);
    }
    say("t=%.3f phase=%s accesses=%" PRIu64 " rate=%" PRIu64 "/s wrong=%"
        PRIu64 " pages=%" PRIu64 " maxgap_ms=%" PRIu64 " sweeps=%" PRIu64
        " filled=%" PRIu64 " transfers=%" PRIu64 " rounds=%" PRIu64,
        (double)(time - began) / SECOND,
        filled < pages ? "fill" : "run", accesses,
        last_time ? (filled + accesses - last_done) * SECOND /
                    (time - last_time) : 0,
        wrong, pages, gap / MILLISECOND, sweeps, filled, disk_transfers(),
        churn_rounds());
    last_done = filled + accesses;
    last_time = time;
}

static void read_parameters(void)
{
    static char line[4096];
    FILE *file = fopen("/proc/cmdline", "re");
    const char *bad;

    if (!file || !fgets(line, sizeof(line), file)) {
        give_up("cannot read the kernel command line");
    }
    fclose(file);
    bad = parameters_parse(line, &parameters);
    if (bad) {
        give_up("parameter not understood: %s", bad);
    }
}

int main(void)
{
    struct worker *workers;
    uint64_t began, bytes, described = 0, next;
    void *once;
    unsigned threads;

    machine_set_up();
    read_parameters();
    once = parameters.once ? use_once(parameters.once) : NULL;
    if (!parameters.keep) {
        give_back(&once);
    }
    threads = parameters.threads ? parameters.threads
                                 : sysconf(_SC_NPROCESSORS_ONLN);
    bytes = parameters.fill ? parameters.fill : all_memory();
    bytes -= bytes % PAGE_SIZE;
    if (bytes / PAGE_SIZE < threads) {
        give_up("less than a page for each of %u threads", threads);
    }
    memory = allocate(bytes);
    versions = allocate(bytes / PAGE_SIZE * sizeof(*versions));
    began = next = now();
    workers = start(bytes / PAGE_SIZE, threads);
    if (parameters.disk) {
        disk_start(parameters.disk);
    }
    if (parameters.churn) {
        churn_start(parameters.churn);
    }
    for (;;) {
        if (!described || now() - described >= DESCRIBE_INTERVAL) {
            machine_describe();
            described = now();
        }
        if (now() - began >= parameters.keep * SECOND) {
            give_back(&once);
        }
        next += parameters.report * MILLISECOND;
        sleep_until(next);
        report(workers, threads, bytes / PAGE_SIZE, began);
    }
}
