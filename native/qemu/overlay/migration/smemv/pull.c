/*
 * Pull: a run of pages comes in, in one request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "pages.h"
#include "pull.h"
#include "smemv.h"
#include "trace.h"
#include "twins.h"

/* Fetch a run that is marked as coming in, however long that takes. */
static bool fetch_run(SmemvPager *p, SmemvConn *conns, SmemvPair pair,
                      uint64_t page, unsigned n, uint8_t *data)
{
    SmemvSource source;

    smemv_source_init(&source, p->session, pair);
    while (!qatomic_read(&p->stop)) {
        SmemvConn *c = &conns[source.peer];
        g_autoptr(Error) err = NULL;
        int ret;

        c->patience_ms = source.left.twin ? SMEMV_PATIENCE_MS : 0;
        ret = c->ioc ? 0 : smemv_conn_attach(c, &err);
        if (!ret) {
            ret = smemv_conn_get_run(c, page, n, data, &err);
        }
        if (!ret) {
            trace_smemv_pull_run(c->peer->name, page, n);
            return true;
        }
        if (qatomic_read(&p->stop)) {
            break;
        }
        if (smemv_conn_overtaken(c, ret)) {
            smemv_conn_close(c);
            g_usleep(SMEMV_RECONNECT_US);
        } else if (!smemv_source_next(&source, ret, err)) {
            smemv_fatal("smemv: %u pages at 0x%" PRIx64 " cannot be had, the "
                        "VM ends: %s", n, page << SMEMV_PAGE_BITS,
                        error_get_pretty(err));
        } else {
            smemv_source_rest(&source);
        }
    }
    return false;
}

void smemv_pull_run(SmemvPager *p, SmemvConn *conns, uint64_t page, unsigned n,
                    uint8_t *data)
{
    SmemvPair pair = smemv_page_map_get(p->map, page);
    bool keep = smemv_pages_may_keep(p, pair);
    SmemvDigest digests[SMEMV_PULL_PAGES] = { };

    for (unsigned i = 0; i < n; i++) {
        smemv_pages_begin_in(p, page + i);
    }
    qemu_mutex_unlock(&p->lock);
    if (fetch_run(p, conns, pair, page, n, data)) {
        smemv_pages_copy_run_in(p, page, n, data);
        for (unsigned i = 0; keep && i < n; i++) {
            digests[i] = smemv_digest(data + (size_t)i * SMEMV_PAGE_SIZE);
        }
    }
    qemu_mutex_lock(&p->lock);
    for (unsigned i = 0; i < n; i++) {
        smemv_pages_end_in(p, page + i, pair, &digests[i]);
    }
}
