/*
 * Fetch: a page comes in for a fault.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "client.h"
#include "fetch.h"
#include "pages.h"
#include "smemv.h"

SmemvFetch smemv_fetch_begin(SmemvPager *p, uint64_t page, int64_t now)
{
    SmemvFetch f = { .page = page, .began = now, .asked = SMEMV_NO_PEER };

    f.pair = smemv_pages_begin_in(p, page);
    if (f.pair.place != SMEMV_ZERO) {
        smemv_source_init(&f.source, p->session, f.pair);
    }
    f.keep = smemv_pages_may_keep(p, f.pair);
    return f;
}

void smemv_fetch_place(SmemvPager *p, SmemvFetch *f, const void *data)
{
    smemv_pages_copy_in(p, f->page, data);
    f->here = true;
}

/*
 * Whether to give up the page of @f, which cannot be had because of @why. A
 * device of a VM that does not run here yet wants it, and has QEMU's main loop
 * wait: after as long as for a claim it is found that the VM cannot run here.
 */
static bool give_up(SmemvPager *p, const SmemvFetch *f, const Error *why)
{
    int64_t waited = get_clock() - f->began;

    QEMU_LOCK_GUARD(&p->lock);
    if (!p->loading || waited < SMEMV_LOST_MS * (int64_t)SCALE_MS) {
        return false;
    }
    error_report("smemv: page 0x%" PRIx64 ", which a device of the VM wants, "
                 "cannot be had: %s", f->page << SMEMV_PAGE_BITS,
                 error_get_pretty(why));
    p->unfit = true;
    return true;
}

bool smemv_fetch_try(SmemvPager *p, SmemvConn *c, SmemvFetch *f)
{
    g_autoptr(Error) err = NULL;
    const uint8_t *data = NULL;
    int ret;

    if (c->gets) {
        ret = smemv_conn_receive_get(c, f->page, &data, &err);
    } else {
        ret = c->ioc ? 0 : smemv_conn_attach(c, &err);
        if (!ret) {
            ret = smemv_conn_get(c, f->page, &data, &err);
        }
    }
    if (!ret && !data) {
        g_autofree char *id = smemv_session_id(p->session);

        error_setg(&err, "it is missing on %s (session %s)", c->peer->name,
                   id);
        ret = SMEMV_WIRE_CHECKSUM;
    }
    if (ret && qatomic_read(&p->stop)) {
        return false;
    }
    if (ret && ((qatomic_read(&p->left) && !runstate_is_running()) ||
                (ret < 0 && give_up(p, f, err)))) {
        /* Nothing of the guest: this process is about to end. */
        smemv_fetch_place(p, f, NULL);
        return true;
    }
    if (smemv_conn_overtaken(c, ret)) {
        /* The evictor has renewed the claim: attach once more. */
        smemv_conn_close(c);
        return false;
    }
    if (ret && !smemv_source_next(&f->source, ret, err)) {
        smemv_fatal("smemv: page 0x%" PRIx64 " cannot be had, the VM ends: %s",
                    f->page << SMEMV_PAGE_BITS, error_get_pretty(err));
    }
    if (ret) {
        return false;
    }
    smemv_fetch_place(p, f, data);
    if (f->keep) {
        /* The guest goes on meanwhile: @data is this thread's. */
        f->digest = smemv_digest(data);
    }
    return true;
}

void smemv_fetch_end(SmemvPager *p, const SmemvFetch *f)
{
    uint64_t us = (get_clock() - f->began) / SCALE_US;

    if (f->pair.place != SMEMV_ZERO) {
        p->latency[MIN(64 - clz64(us >> 4), SMEMV_LATENCIES - 1)]++;
    }
    smemv_pages_end_in(p, f->page, f->pair, &f->digest);
}

SmemvConn *smemv_fetch_conns(SmemvPager *p)
{
    SmemvConn *conns = g_new(SmemvConn, SMEMV_MAX_PEERS);

    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_init(&conns[i], p->session, &p->session->peers[i]);
        conns[i].impatient = true;
        if (p->session->replicas > 1) {
            conns[i].patience_ms = SMEMV_PATIENCE_MS;
        }
    }
    return conns;
}
