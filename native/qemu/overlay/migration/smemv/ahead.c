/*
 * Ahead: pages of sub-hosts, sent before the migration thread comes to them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/migration.h"
#include "migration/migration-stats.h"
#include "migration/smemv.h"
#include "ahead.h"
#include "client.h"

/* Pages that are looked at in one go for each sender: most may be clean. */
#define LOOKS 512

struct SmemvAhead {
    SmemvPageMap *map;
    const SmemvPlacement *placement;
    SmemvSenders *senders;
    unsigned calls;
    uint64_t next;               /* page */
};

SmemvAhead *smemv_ahead_new(SmemvPageMap *map, const SmemvPlacement *p,
                            SmemvSenders *ss)
{
    SmemvAhead *a = g_new0(SmemvAhead, 1);

    a->map = map;
    a->placement = p;
    a->senders = ss;
    return a;
}

void smemv_ahead_free(SmemvAhead *a)
{
    g_free(a);
}

int smemv_ahead_send(SmemvAhead *a, uint64_t page, SmemvSendPage *send)
{
    QEMUFile *f = migrate_get_current()->to_dst_file;
    uint64_t looks = LOOKS * smemv_senders_count(a->senders);

    if (a->calls++ % SMEMV_BATCH) {
        return 0;
    }
    a->next = MAX(a->next, page + 1);
    while (looks--) {
        SmemvBlock *b;

        a->next = smemv_placement_next_remote(a->placement, a->next);
        if (a->next == a->map->pages || migration_rate_exceeded(f) ||
            !smemv_senders_have_room(a->senders, a->next)) {
            break;
        }
        b = smemv_page_map_block_of(a->map, a->next);
        if (smemv_take_dirty_page(b->rb, a->next - b->first) &&
            send(a->next, smemv_page_map_host(a->map, a->next)) < 0) {
            return -1;
        }
        a->next++;
    }
    return 0;
}
