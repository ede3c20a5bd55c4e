/*
 * Relook: the dirty log is read amid precopy's first pass.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "hw/virtio/virtio-balloon.h"
#include "migration/ram.h"
#include "migration/smemv.h"
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

/* As at the end of a pass, but that none is counted. */
static void read_dirty_log(void)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    memory_global_dirty_log_sync(false);
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        smemv_note_dirty_pages(rb);
    }
    memory_global_after_dirty_log_sync();
}

void smemv_relook_begin(void)
{
    next_us = g_get_monotonic_time() + EACH_US;
}

void smemv_relook(void)
{
    int64_t start = g_get_monotonic_time(), took;

    if (start < next_us) {
        return;
    }
    BQL_LOCK_GUARD();
    if (!is_told_of_free_pages()) {
        read_dirty_log();
    }
    took = g_get_monotonic_time() - start;
    next_us = start + MAX(EACH_US, PART * took);
    trace_smemv_relook(took);
}
