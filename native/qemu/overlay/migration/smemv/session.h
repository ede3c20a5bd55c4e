/*
 * Session: a VM's memory on memservers.
 *
 * A VM has one session, with the same id and token on each of its sub-hosts.
 * Each memserver keeps an epoch and a holder for it, which decide who may
 * write (native/wire/protocol.md, "Fencing").
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_SESSION_H
#define SMEMV_SESSION_H

#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "qapi/error.h"
#include "qapi/qapi-types-smemv.h"
#include "wire/smemv-wire.h"

/* A sub-host, as this VM knows it. */
typedef struct SmemvPeer {
    char *name;                  /* of the host, for messages */
    char *host;                  /* address of its memserver */
    uint16_t port;
    uint64_t share;              /* pages reserved there */

    QemuMutex lock;              /* guards the next three */
    uint64_t epoch;
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];
    bool claiming;               /* this process is about to change them */

    /* Guarded by the pager's lock, or owned by the migration thread. */
    uint64_t remote;             /* pages whose place it is */
    uint64_t stored;             /* pages it stores: these, and stale ones */

    Stat64 sent;                 /* bytes of pages */
    Stat64 received;             /* bytes of pages */
    bool lost;                   /* (atomic) its memserver does not answer */
} SmemvPeer;

typedef struct SmemvSession {
    char *name;                  /* the VM's */
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint8_t token[SMEMV_WIRE_TOKEN_SIZE];
    SmemvPeer *peers;
    unsigned n_peers;
} SmemvSession;

/* A session with a new id and token, to be opened on @sub_hosts. */
SmemvSession *smemv_session_new(const char *name, SmemvSubHostList *sub_hosts);

/* A session for @n_peers peers, to be filled from the migration stream. */
SmemvSession *smemv_session_new_empty(unsigned n_peers);
void smemv_session_free(SmemvSession *s);

/* The session's id in hex, for messages and QMP. */
char *smemv_session_id(const SmemvSession *s);

/* This process as a holder: random, and chosen once. */
void smemv_holder(uint8_t *holder);

/*
 * Open the session on every peer, with its share as the reservation, and
 * with this process as its holder. On a failure those opened are closed.
 */
bool smemv_session_open(SmemvSession *s, Error **errp);

/*
 * Claim the session on the first peer, the arbiter, on a connection of its
 * own. Returns as smemv_conn_claim().
 */
int smemv_session_claim(SmemvSession *s, Error **errp);

/*
 * Whether this process has changed epoch or holder on @peer since @epoch, or
 * is about to: a refusal as STALE says nothing then.
 */
bool smemv_peer_moved_on(SmemvPeer *peer, uint64_t epoch);

/*
 * Close the session on each peer and free its memory there. A peer that
 * cannot be reached is reported and left.
 */
void smemv_session_close(SmemvSession *s);

#endif
