/*
 * Relook: the dirty log is read amid a pass of precopy.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "hw/virtio/virtio-balloon.h"
#include "relook.h"
#include "trace.h"

/* How often it is read, in us; it takes no more than one part of so many. */
#define EACH_US 250000
#define PART 64

static int64_t next_us;          /* the migration thread's */

/*
 * The guest tells which pages it has free. One that it told of before the log
 * is read may be in use again by then, and would be taken for free.
 */
static bool is_told_of_free_pages(void)
{
    Object *o = object_resolve_path_type("", TYPE_VIRTIO_BALLOON, NULL);
    VirtIOBalloon *b = o ? VIRTIO_BALLOON(o) : NULL;

    if (!b) {
        return false;
    }
    QEMU_LOCK_GUARD(&b->free_page_lock);
    return b->free_page_hint_status == FREE_PAGE_HINT_S_REQUESTED ||
           b->free_page_hint_status == FREE_PAGE_HINT_S_START;
}

/*
 * Returns how many pages were in the log and are still to be sent: those of
 * precopy's bitmap, which is this thread's while the guest tells of nothing.
 */
static uint64_t forget_unsent(const SmemvBlock *b)
{
    RAMBlock *rb = b->rb;
    DirtyMemoryBlocks *dirty =
        qatomic_rcu_read(&ram_list.dirty_memory[DIRTY_MEMORY_MIGRATION]);
    /* Each block of RAM begins with a word of the log. */
    uint64_t first = rb->offset >> TARGET_PAGE_BITS;
    uint64_t forgotten = 0;

    for (uint64_t page = 0; page < b->pages; page += BITS_PER_LONG) {
        uint64_t at = first + page;
        unsigned long *log = &dirty->blocks[at / DIRTY_MEMORY_BLOCK_SIZE]
                                 [BIT_WORD(at % DIRTY_MEMORY_BLOCK_SIZE)];
        unsigned long unsent = qatomic_read(log) & rb->bmap[BIT_WORD(page)];

        if (unsent) {
            qatomic_and(log, ~unsent);
            forgotten += ctpopl(unsent);
        }
    }
    if (forgotten) {
        cpu_physical_memory_dirty_bits_cleared(rb->offset, rb->used_length);
    }
    /* The accelerator's log is cleared just before a page there is sent. */
    clear_bmap_set(rb, 0, b->pages);
    return forgotten;
}

static uint64_t read_dirty_log(const SmemvPageMap *map)
{
    uint64_t forgotten = 0;

    BQL_LOCK_GUARD();
    RCU_READ_LOCK_GUARD();
    if (is_told_of_free_pages()) {
        return 0;
    }
    memory_global_dirty_log_sync(false);
    for (unsigned i = 0; i < map->n_blocks; i++) {
        forgotten += forget_unsent(&map->blocks[i]);
    }
    /* What is not logged any more is written before its page is sent. */
    memory_global_after_dirty_log_sync();
    return forgotten;
}

void smemv_relook_begin(void)
{
    next_us = g_get_monotonic_time() + EACH_US;
}

void smemv_relook(const SmemvPageMap *map)
{
    int64_t start = g_get_monotonic_time(), took;
    uint64_t forgotten;

    if (start >= next_us) {
        forgotten = read_dirty_log(map);
        took = g_get_monotonic_time() - start;
        next_us = start + MAX(EACH_US, PART * took);
        trace_smemv_relook(forgotten, took);
    }
}
