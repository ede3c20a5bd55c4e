/*
 * Senders: those of a split migration together.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/migration.h"
#include "client.h"
#include "page-map.h"
#include "sender.h"
#include "senders.h"

/*
 * Batches that can wait to be sent: 8 MiB, by which sub-hosts are busy while
 * the migration thread waits for the main host, and 2 MiB for each sender at
 * the least.
 */
#define N_BATCHES 32
#define LEAST_BATCHES 8

struct SmemvSenders {
    const SmemvSession *session;
    QemuSemaphore room;          /* somebody has some again */
    unsigned connections;        /* to each sub-host */
    unsigned n;                  /* in all */
    SmemvSender *senders[];      /* one sub-host's, then the next one's */
};

SmemvSenders *smemv_senders_start(SmemvSession *s, unsigned connections,
                                  Error **errp)
{
    unsigned n = s->n_peers * connections;
    SmemvSenders *ss = g_malloc0(sizeof(*ss) + n * sizeof(ss->senders[0]));

    ss->session = s;
    ss->connections = connections;
    qemu_sem_init(&ss->room, 0);
    for (; ss->n < n; ss->n++) {
        ss->senders[ss->n] =
            smemv_sender_start(s, &s->peers[ss->n / connections],
                               MAX(N_BATCHES / n, LEAST_BATCHES), &ss->room,
                               errp);
        if (!ss->senders[ss->n]) {
            smemv_senders_stop(ss);
            return NULL;
        }
    }
    return ss;
}

static SmemvSender *sender_of(SmemvSenders *ss, uint8_t place, uint64_t page)
{
    /* Pages beside each other travel together. */
    unsigned connection = page / SMEMV_BATCH % ss->connections;

    return ss->senders[(place - SMEMV_REMOTE) * ss->connections + connection];
}

bool smemv_senders_put(SmemvSenders *ss, uint8_t place, uint64_t page,
                       const void *data, uint64_t version, Error **errp)
{
    return smemv_sender_put(sender_of(ss, place, page), page, data, version,
                            errp);
}

bool smemv_senders_take(SmemvSenders *ss, uint8_t place, uint64_t page)
{
    return smemv_sender_has_room(sender_of(ss, place, page));
}

bool smemv_senders_have_room(SmemvSenders *ss, uint64_t page)
{
    for (unsigned i = 0; i < ss->session->n_peers; i++) {
        if (smemv_peer_room(&ss->session->peers[i]) &&
            smemv_senders_take(ss, SMEMV_REMOTE + i, page)) {
            return true;
        }
    }
    return false;
}

bool smemv_senders_wait(SmemvSenders *ss)
{
    /* A migration can be cancelled while no memserver answers. */
    qemu_sem_timedwait(&ss->room, SMEMV_LOOK_MS);
    return migration_is_running();
}

unsigned smemv_senders_count(const SmemvSenders *ss)
{
    return ss->n;
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

bool smemv_senders_drain(SmemvSenders *ss, Error **errp)
{
    SmemvSender *last = ss->senders[0];

    for (unsigned i = 1; i < ss->n; i++) {
        if (smemv_sender_backlog(ss->senders[i]) > smemv_sender_backlog(last)) {
            last = ss->senders[i];
        }
    }
    return smemv_sender_drain(last, errp);
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
    if (!ss) {
        return;
    }
    for (unsigned i = 0; i < ss->n; i++) {
        smemv_sender_stop(ss->senders[i]);
    }
    qemu_sem_destroy(&ss->room);
    g_free(ss);
}
