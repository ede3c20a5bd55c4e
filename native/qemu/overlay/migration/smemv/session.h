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

#include "crypto/tlscreds.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "qapi/error.h"
#include "qapi/qapi-types-smemv.h"
#include "seal.h"
#include "wire/smemv-wire.h"

/* A sub-host, as this VM knows it. */
typedef struct SmemvPeer {
    char *name;                  /* of the host, for messages */
    char *host;                  /* address of its memserver */
    uint16_t port;
    uint64_t share;              /* pages reserved there */
    uint64_t wanted;             /* pages it shall have; 0: to be emptied */
    bool closing;                /* emptied for good: nothing is sent there */
    bool gone;                   /* and its session is closed */
    bool failed;                 /* (atomic) what it holds does not count */
    const char *domain;          /* what fails together with it; interned */

    QemuMutex claim_lock;        /* held over a claim, which waits for it */
    QemuMutex lock;              /* guards the next three */
    uint64_t epoch;
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];
    bool claiming;               /* this process is about to change them */

    /* Guarded by the pager's lock, or owned by the migration thread. */
    uint64_t remote;             /* pages whose place it is */
    uint64_t twins;              /* pages of which it has the second copy */
    uint64_t single;             /* pages of which it has the only copy */
    uint64_t stored;             /* pages it stores: these, and stale ones */
    unsigned busy;               /* pages on their way from or to it */
    unsigned fetching;           /* of these, pages that come in */
    bool needed;                 /* a destination may want a copy of its own */

    Stat64 sent;                 /* bytes of pages */
    Stat64 received;             /* bytes of pages */
    Stat64 copied;               /* bytes of pages, to other peers */
    bool lost;                   /* (atomic) its memserver does not answer */
    bool emptied;                /* (atomic) it does not know the session */
} SmemvPeer;

typedef struct SmemvSession {
    char *name;                  /* the VM's */
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint8_t token[SMEMV_WIRE_TOKEN_SIZE];
    char *tls_creds;             /* id of the credentials, or NULL: plain TCP */
    char *tls_dir;               /* where their certificates are, or NULL */
    SmemvSeal *seal;             /* of its pages, or NULL: not sealed */
    unsigned replicas;           /* wanted of each page on sub-hosts: 1 or 2 */
    SmemvPeer *peers;            /* SMEMV_MAX_PEERS of them */
    unsigned n_peers;            /* that are in use; it only grows */
} SmemvSession;

/*
 * A session with a new id and token, to be opened on @sub_hosts, with so many
 * copies of each page.
 */
SmemvSession *smemv_session_new(const char *name, SmemvSubHostList *sub_hosts,
                                unsigned replicas);

/*
 * Speak TLS with the memservers, with the certificates of the credentials (an
 * object tls-creds-x509 of this process, for the client's end) of that id.
 * False where there are none such.
 */
bool smemv_session_use_tls(SmemvSession *s, const char *tls_creds,
                           Error **errp);

/*
 * Credentials for a new connection: read anew, so that renewed certificates
 * are in use at once. NULL on an error.
 */
QCryptoTLSCreds *smemv_session_credentials(const SmemvSession *s,
                                           Error **errp);

/* A session without peers, to be filled from the migration stream. */
SmemvSession *smemv_session_new_empty(void);
void smemv_session_free(SmemvSession *s);

/*
 * One more peer, with nothing reserved yet. NULL where there are too many.
 * The caller keeps others from looking at @n_peers meanwhile.
 */
SmemvPeer *smemv_session_add_peer(SmemvSession *s, const char *name,
                                  const char *host, uint16_t port);

/* The peer of that name that is neither closing nor gone, or NULL. */
SmemvPeer *smemv_session_find_peer(SmemvSession *s, const char *name);

/*
 * Whether @sub_hosts can be peers: not where one is known with another
 * address, or where there are too many.
 */
bool smemv_session_accepts(SmemvSession *s, SmemvSubHostList *sub_hosts,
                           Error **errp);

/*
 * Each of @sub_hosts, which were accepted, is wanted to hold its share from
 * now on, and any other peer nothing. Those not known become new peers.
 */
void smemv_session_aim(SmemvSession *s, SmemvSubHostList *sub_hosts);

/*
 * The first peer that has neither gone nor failed: it decides who runs the
 * VM.
 */
SmemvPeer *smemv_session_arbiter(SmemvSession *s);

/* What the peer holds does not count from now on, and nothing goes there. */
void smemv_peer_set_failed(SmemvPeer *peer);

/* Pages of which the peer has a copy that counts. */
static inline uint64_t smemv_peer_holds(const SmemvPeer *peer)
{
    return peer->remote + peer->twins;
}

/* Pages that the peer may still be given. */
static inline uint64_t smemv_peer_room(const SmemvPeer *peer)
{
    uint64_t most = MIN(peer->share, peer->wanted);

    return most > peer->stored ? most - peer->stored : 0;
}

/* The session's id in hex, for messages and QMP. */
char *smemv_session_id(const SmemvSession *s);

/* This process as a holder: random, and chosen once. */
void smemv_holder(uint8_t *holder);

/*
 * Open, close or change the reservation of the session on one peer. They
 * return as the calls on a connection do.
 */
int smemv_peer_open(SmemvSession *s, SmemvPeer *peer, uint64_t pages,
                    Error **errp);
int smemv_peer_close(SmemvSession *s, SmemvPeer *peer, Error **errp);
int smemv_peer_reserve(SmemvSession *s, SmemvPeer *peer, uint64_t pages,
                       Error **errp);

/* Close the session on a peer that has failed, if it is back. */
int smemv_peer_close_failed(SmemvSession *s, SmemvPeer *peer);

/*
 * Claim the session on its arbiter, on a connection of its own. Returns as
 * smemv_conn_claim_vm().
 */
int smemv_session_claim(SmemvSession *s, Error **errp);

/*
 * Close the session on each peer that is not gone and free its memory there.
 * False where one cannot be reached, which is reported; to be called again
 * then.
 */
bool smemv_session_close(SmemvSession *s);

/*
 * The same beside the caller, however long one cannot be reached; @s is freed
 * then.
 */
void smemv_session_release(SmemvSession *s);

#endif
