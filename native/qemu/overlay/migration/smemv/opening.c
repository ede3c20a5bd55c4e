/*
 * Opening: a session on its way to being open on all of its sub-hosts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "client.h"
#include "opening.h"
#include "trace.h"

struct SmemvOpening {
    unsigned n;
    unsigned ready;              /* of these, how many are known to be */
    SmemvConn conns[];
};

/* All side by side: 0, or what the first that did not open it returned. */
static int open_all(SmemvOpening *o, Error **errp)
{
    unsigned asked = 0;
    int ret = 0;

    while (!ret && asked < o->n) {
        SmemvConn *c = &o->conns[asked];

        ret = smemv_conn_send_open(c, c->peer->share, SMEMV_WIRE_OPEN_EARLY,
                                   errp);
        asked += !ret;
    }
    /* Each that was asked, or it could open after it was closed. */
    for (unsigned i = 0; i < asked; i++) {
        SmemvConn *c = &o->conns[i];
        int one = smemv_conn_await_open(c, ret ? NULL : errp);

        ret = ret ? ret : one;
        trace_smemv_session_open(c->peer->name, c->peer->share, one);
    }
    return ret;
}

/* Have the peers make the memory ready. */
static int ask_for_memory(SmemvOpening *o, Error **errp)
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < o->n; i++) {
        ret = smemv_conn_attach(&o->conns[i], errp);
        if (!ret) {
            ret = smemv_conn_send_reserve(&o->conns[i],
                                          o->conns[i].peer->share, errp);
        }
    }
    return ret;
}

SmemvOpening *smemv_opening_begin(SmemvSession *s, Error **errp)
{
    SmemvOpening *o = g_malloc0(sizeof(*o) + s->n_peers * sizeof(o->conns[0]));

    for (; o->n < s->n_peers; o->n++) {
        smemv_conn_init(&o->conns[o->n], s, &s->peers[o->n]);
    }
    if (open_all(o, errp) || ask_for_memory(o, errp)) {
        smemv_opening_free(o);
        /* On all of them: also one that was not answered may be open. */
        smemv_session_close(s);
        return NULL;
    }
    return o;
}

bool smemv_opening_look(SmemvOpening *o, int ms, Error **errp)
{
    while (!smemv_opening_is_done(o)) {
        SmemvConn *c = &o->conns[o->ready];

        if (!smemv_conn_answers(c, ms)) {
            break;
        }
        if (smemv_conn_await_reserve(c, errp)) {
            return false;
        }
        o->ready++;
    }
    return true;
}

bool smemv_opening_is_done(const SmemvOpening *o)
{
    return o->ready == o->n;
}

void smemv_opening_free(SmemvOpening *o)
{
    if (!o) {
        return;
    }
    for (unsigned i = 0; i < o->n; i++) {
        smemv_conn_close(&o->conns[i]);
    }
    g_free(o);
}
