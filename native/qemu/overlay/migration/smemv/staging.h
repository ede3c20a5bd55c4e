/*
 * Staging: where pages lie on their way out.
 *
 * A ring of slots in memory of their own. A page is moved in at the head
 * (UFFDIO_MOVE: no copy, and refused for a page that a device has pinned),
 * lingers, and leaves from the tail in the order it came. While it lingers, a
 * touch brings it back without the network: a second chance, which makes
 * first-in-first-out nearly least-recently-used.
 *
 * All calls want the pager's lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_STAGING_H
#define SMEMV_STAGING_H

#include "qapi/error.h"

/* A slot that holds no page: the page was moved back. */
#define SMEMV_NO_PAGE UINT64_MAX

typedef struct SmemvSlot {
    uint64_t page;               /* or SMEMV_NO_PAGE */
    bool sending;                /* must stay until the memserver has it */
    bool touched;                /* while sending: copied back, so stale */
} SmemvSlot;

typedef struct SmemvStaging {
    uint8_t *memory;
    size_t capacity;             /* slots */
    SmemvSlot *slots;
    uint64_t head, tail;         /* slot i lies at i % capacity */
    GHashTable *slot_of;         /* page → index of its slot */
} SmemvStaging;

/* Memory for @capacity pages, registered with @uffd. */
bool smemv_staging_init(SmemvStaging *s, int uffd, size_t capacity,
                        Error **errp);
void smemv_staging_cleanup(SmemvStaging *s);

static inline uint8_t *smemv_staging_host(const SmemvStaging *s, uint64_t index)
{
    return s->memory + index % s->capacity * SMEMV_PAGE_SIZE;
}

static inline SmemvSlot *smemv_staging_slot(const SmemvStaging *s,
                                            uint64_t index)
{
    return &s->slots[index % s->capacity];
}

/* The slot of @page, which must be staged. */
uint64_t smemv_staging_find(const SmemvStaging *s, uint64_t page);

/* Whether a slot holds @page that is being sent. */
bool smemv_staging_sends(const SmemvStaging *s, uint64_t page);

/* The slot at the head now holds @page. */
void smemv_staging_push(SmemvStaging *s, uint64_t page);

/* The page of slot @index has left it. */
void smemv_staging_take(SmemvStaging *s, uint64_t index);

/* Give back the @n slots at the tail, whatever they hold, and their memory. */
void smemv_staging_release(SmemvStaging *s, size_t n);

#endif
