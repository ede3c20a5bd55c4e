/*
 * What a worker counts for the metrics. It alone writes; who wants to know
 * reads and adds up. So counting takes no lock, and no cache line from
 * another worker.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_COUNTERS_H
#define SMEMV_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* More than the wire has; 0 is for what is none of its opcodes. */
#define COUNTERS_OPCODES 16
#define COUNTERS_STATUSES 16

/* Up to 1.024 us, 4.096 us, ... 4.3 s; and above. */
#define COUNTERS_BUCKETS 12
#define COUNTERS_FIRST_BITS 10
#define COUNTERS_BUCKET_BITS 2

typedef _Atomic uint64_t counter;

struct counters {
    counter received; /* bytes of the protocol, without TLS's own */
    counter sent;
    counter handshakes;   /* of TLS, that succeeded */
    counter tls_failures; /* in a handshake or behind it */
    counter answers[COUNTERS_OPCODES][COUNTERS_STATUSES];
    counter nanoseconds[COUNTERS_OPCODES]; /* that requests took, in all */
    counter took[COUNTERS_OPCODES][COUNTERS_BUCKETS + 1];
};

static inline void count(counter *c, uint64_t more)
{
    uint64_t old = atomic_load_explicit(c, memory_order_relaxed);

    atomic_store_explicit(c, old + more, memory_order_relaxed);
}

static inline uint64_t counted(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

static inline void count_answer(struct counters *counters, unsigned opcode,
                                unsigned status)
{
    count(&counters->answers[opcode < COUNTERS_OPCODES ? opcode : 0]
                            [status < COUNTERS_STATUSES ? status : 0],
          1);
}

/* Nanoseconds of a clock that only goes on. */
static inline uint64_t counters_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A request was worked on from @start until now. */
static inline void count_time(struct counters *counters, unsigned opcode,
                              uint64_t start)
{
    uint64_t took = counters_clock() - start;
    unsigned bits = took ? 64 - (unsigned)__builtin_clzll(took) : 0;
    unsigned bucket = 0;

    if (bits > COUNTERS_FIRST_BITS) {
        bucket = (bits - COUNTERS_FIRST_BITS + COUNTERS_BUCKET_BITS - 1) /
                 COUNTERS_BUCKET_BITS;
    }
    if (bucket > COUNTERS_BUCKETS) {
        bucket = COUNTERS_BUCKETS;
    }
    count(&counters->nanoseconds[opcode], took);
    count(&counters->took[opcode][bucket], 1);
}

#endif
