/*
 * Pull: a run of pages comes in, in one request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "pull.h"
#include "smemv.h"
#include "trace.h"

/* Fetch a run that is marked as coming in, however long that takes. */
static bool fetch_run(SmemvPager *p, SmemvConn *c, uint64_t page, unsigned n,
                      uint8_t *data)
{
    while (!qatomic_read(&p->stop)) {
        g_autoptr(Error) err = NULL;
        int ret = c->ioc ? 0 : smemv_conn_attach(c, &err);

        if (!ret) {
            ret = smemv_conn_get_run(c, page, n, data, &err);
        }
        if (!ret) {
            return true;
        }
        if (qatomic_read(&p->stop)) {
            break;
        }
        if (ret == SMEMV_WIRE_STALE && smemv_peer_moved_on(c->peer, c->epoch)) {
            smemv_conn_close(c);
        } else if (ret > 0) {
            smemv_fatal("smemv: %u pages at 0x%" PRIx64 " cannot be had, the "
                        "VM ends: %s", n, page << SMEMV_PAGE_BITS,
                        error_get_pretty(err));
        }
        g_usleep(SMEMV_RECONNECT_US);
    }
    return false;
}

void smemv_pull_run(SmemvPager *p, SmemvConn *c, uint64_t page, unsigned n,
                    uint8_t *data)
{
    uint8_t place = p->map->place[page];

    for (unsigned i = 0; i < n; i++) {
        smemv_pager_begin_in(p, page + i);
    }
    qemu_mutex_unlock(&p->lock);
    if (fetch_run(p, c, page, n, data)) {
        for (unsigned i = 0; i < n; i++) {
            smemv_pager_copy_in(p, page + i,
                                data + (size_t)i * SMEMV_PAGE_SIZE);
        }
        trace_smemv_pull_run(c->peer->name, page, n);
    }
    qemu_mutex_lock(&p->lock);
    for (unsigned i = 0; i < n; i++) {
        smemv_pager_end_in(p, page + i, place);
    }
}
