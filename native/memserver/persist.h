/*
 * Stores into memory that outlives the process.
 *
 * Whatever ends a process, its threads have made all stores up to some
 * instruction and none behind it, so the next process finds what the order of
 * the stores promises. Only the compiler could change that order.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_PERSIST_H
#define SMEMV_PERSIST_H

#include <stdint.h>

/* Stores @value in one piece, after all that was stored before. */
static inline void persist_u32(uint32_t *place, uint32_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(place, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void persist_u64(uint64_t *place, uint64_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(place, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

#endif
