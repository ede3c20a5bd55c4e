/*
 * Staging: where pages lie on their way out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "qemu/userfaultfd.h"
#include "page-map.h"
#include "staging.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

bool smemv_staging_init(SmemvStaging *s, int uffd, size_t capacity,
                        Error **errp)
{
    size_t size = capacity * SMEMV_PAGE_SIZE;

    s->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->memory == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map %zu bytes of staging", size);
        s->memory = NULL;
        return false;
    }
    madvise(s->memory, size, MADV_NOHUGEPAGE);
    madvise(s->memory, size, MADV_DONTFORK);
    /* For people who look at smaps; kernels without it need not mind. */
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, s->memory, size, "smemv-staging");
    if (uffd_register_memory(uffd, s->memory, size,
                             UFFDIO_REGISTER_MODE_MISSING, NULL)) {
        error_setg(errp, "cannot register staging with userfaultfd");
        munmap(s->memory, size);
        s->memory = NULL;
        return false;
    }
    s->capacity = capacity;
    s->slots = g_new0(SmemvSlot, capacity);
    s->slot_of = g_hash_table_new(g_direct_hash, g_direct_equal);
    return true;
}

void smemv_staging_cleanup(SmemvStaging *s)
{
    if (s->memory) {
        munmap(s->memory, s->capacity * SMEMV_PAGE_SIZE);
        g_free(s->slots);
        g_hash_table_destroy(s->slot_of);
        s->memory = NULL;
    }
}

uint64_t smemv_staging_find(const SmemvStaging *s, uint64_t page)
{
    gpointer index;
    bool found = g_hash_table_lookup_extended(
        s->slot_of, (gconstpointer)(uintptr_t)page, NULL, &index);

    assert(found);
    return (uintptr_t)index;
}

bool smemv_staging_sends(const SmemvStaging *s, uint64_t page)
{
    gpointer index;

    return g_hash_table_lookup_extended(
               s->slot_of, (gconstpointer)(uintptr_t)page, NULL, &index) &&
           smemv_staging_slot(s, (uintptr_t)index)->sending;
}

void smemv_staging_push(SmemvStaging *s, uint64_t page)
{
    *smemv_staging_slot(s, s->head) = (SmemvSlot) { .page = page };
    g_hash_table_insert(s->slot_of, (gpointer)(uintptr_t)page,
                        (gpointer)(uintptr_t)s->head);
    s->head++;
}

void smemv_staging_take(SmemvStaging *s, uint64_t index)
{
    SmemvSlot *slot = smemv_staging_slot(s, index);

    g_hash_table_remove(s->slot_of, (gconstpointer)(uintptr_t)slot->page);
    slot->page = SMEMV_NO_PAGE;
}

void smemv_staging_release(SmemvStaging *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (smemv_staging_slot(s, s->tail + i)->page != SMEMV_NO_PAGE) {
            smemv_staging_take(s, s->tail + i);
        }
    }
    while (n) {
        size_t run = MIN(n, s->capacity - s->tail % s->capacity);

        madvise(smemv_staging_host(s, s->tail), run * SMEMV_PAGE_SIZE,
                MADV_DONTNEED);
        s->tail += run;
        n -= run;
    }
}
