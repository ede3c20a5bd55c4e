/*
 * Session: a VM's memory on memservers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "client.h"
#include "page-map.h"
#include "trace.h"

void smemv_holder(uint8_t *holder)
{
    static uint8_t mine[SMEMV_WIRE_HOLDER_SIZE];
    static gsize chosen;

    if (g_once_init_enter(&chosen)) {
        qemu_guest_getrandom_nofail(mine, sizeof(mine));
        g_once_init_leave(&chosen, 1);
    }
    memcpy(holder, mine, sizeof(mine));
}

SmemvSession *smemv_session_new_empty(unsigned n_peers)
{
    SmemvSession *s = g_new0(SmemvSession, 1);

    s->n_peers = n_peers;
    s->peers = g_new0(SmemvPeer, n_peers);
    for (unsigned i = 0; i < n_peers; i++) {
        qemu_mutex_init(&s->peers[i].lock);
        smemv_holder(s->peers[i].holder);
    }
    return s;
}

SmemvSession *smemv_session_new(const char *name, SmemvSubHostList *sub_hosts)
{
    SmemvSession *s = smemv_session_new_empty(QAPI_LIST_LENGTH(sub_hosts));
    SmemvPeer *p = s->peers;

    s->name = g_strdup(name);
    qemu_guest_getrandom_nofail(s->id, sizeof(s->id));
    qemu_guest_getrandom_nofail(s->token, sizeof(s->token));
    for (; sub_hosts; sub_hosts = sub_hosts->next, p++) {
        p->name = g_strdup(sub_hosts->value->name);
        p->host = g_strdup(sub_hosts->value->host);
        p->port = sub_hosts->value->port;
        p->share = sub_hosts->value->share >> SMEMV_PAGE_BITS;
    }
    return s;
}

void smemv_session_free(SmemvSession *s)
{
    if (!s) {
        return;
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        qemu_mutex_destroy(&s->peers[i].lock);
        g_free(s->peers[i].name);
        g_free(s->peers[i].host);
    }
    g_free(s->peers);
    g_free(s->name);
    g_free(s);
}

char *smemv_session_id(const SmemvSession *s)
{
    GString *hex = g_string_new(NULL);

    for (unsigned i = 0; i < sizeof(s->id); i++) {
        g_string_append_printf(hex, "%02x", s->id[i]);
    }
    return g_string_free(hex, false);
}

bool smemv_session_open(SmemvSession *s, Error **errp)
{
    g_autofree SmemvConn *conns = g_new(SmemvConn, s->n_peers);
    int ret = 0;

    for (unsigned i = 0; i < s->n_peers; i++) {
        smemv_conn_init(&conns[i], s, &s->peers[i]);
        ret = ret ? ret : smemv_conn_send_open(&conns[i], errp);
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        ret = ret ? ret : smemv_conn_await_open(&conns[i], errp);
        smemv_conn_close(&conns[i]);
        trace_smemv_session_open(s->peers[i].name, s->peers[i].share, ret);
    }
    if (ret) {
        /* All of them: also one that was not answered may be open. */
        smemv_session_close(s);
    }
    return !ret;
}

int smemv_session_claim(SmemvSession *s, Error **errp)
{
    g_autofree SmemvConn *c = g_new(SmemvConn, 1);
    int ret;

    smemv_conn_init(c, s, &s->peers[0]);
    ret = smemv_conn_claim(c, false, errp);
    smemv_conn_close(c);
    return ret;
}

bool smemv_peer_moved_on(SmemvPeer *peer, uint64_t epoch)
{
    QEMU_LOCK_GUARD(&peer->lock);
    return peer->claiming || peer->epoch != epoch;
}

void smemv_session_close(SmemvSession *s)
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        g_autofree SmemvConn *c = g_new(SmemvConn, 1);
        Error *err = NULL;
        int ret;

        smemv_conn_init(c, s, &s->peers[i]);
        ret = smemv_conn_attach(c, &err);
        if (!ret) {
            ret = smemv_conn_close_session(c, &err);
        }
        /* A memserver that does not know the session has nothing to free. */
        if (ret && ret != SMEMV_WIRE_NO_SESSION) {
            error_reportf_err(err, "smemv: reservation not released: ");
        } else {
            error_free(err);
        }
        trace_smemv_session_close(s->peers[i].name, ret);
        smemv_conn_close(c);
    }
}
