/*
 * Senders: those of a split migration together.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "client.h"
#include "page-map.h"
#include "sender.h"
#include "senders.h"

struct SmemvSenders {
    unsigned connections;        /* to each sub-host */
    unsigned n;                  /* in all */
    SmemvSender *senders[];      /* one sub-host's, then the next one's */
};

SmemvSenders *smemv_senders_start(SmemvSession *s, unsigned connections,
                                  Error **errp)
{
    unsigned n = s->n_peers * connections;
    SmemvSenders *ss = g_malloc0(sizeof(*ss) + n * sizeof(ss->senders[0]));

    ss->connections = connections;
    for (; ss->n < n; ss->n++) {
        ss->senders[ss->n] =
            smemv_sender_start(s, &s->peers[ss->n / connections], errp);
        if (!ss->senders[ss->n]) {
            smemv_senders_stop(ss);
            return NULL;
        }
    }
    return ss;
}

bool smemv_senders_put(SmemvSenders *ss, uint8_t place, uint64_t page,
                       const void *data, uint64_t version, Error **errp)
{
    /* Pages beside each other travel together. */
    unsigned connection = page / SMEMV_BATCH % ss->connections;
    unsigned i = (place - SMEMV_REMOTE) * ss->connections + connection;

    return smemv_sender_put(ss->senders[i], page, data, version, errp);
}

void smemv_senders_flush(SmemvSenders *ss)
{
    for (unsigned i = 0; i < ss->n; i++) {
        smemv_sender_flush(ss->senders[i]);
    }
}

uint64_t smemv_senders_backlog(SmemvSenders *ss)
{
    uint64_t backlog = 0;

    for (unsigned i = 0; i < ss->n; i++) {
        backlog += smemv_sender_backlog(ss->senders[i]);
    }
    return backlog;
}

bool smemv_senders_barrier(SmemvSenders *ss, Error **errp)
{
    smemv_senders_flush(ss);
    for (unsigned i = 0; i < ss->n; i++) {
        if (!smemv_sender_barrier(ss->senders[i], errp)) {
            return false;
        }
    }
    return true;
}

void smemv_senders_stop(SmemvSenders *ss)
{
    for (unsigned i = 0; ss && i < ss->n; i++) {
        smemv_sender_stop(ss->senders[i]);
    }
    g_free(ss);
}
