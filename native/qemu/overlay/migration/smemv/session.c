/*
 * Session: a VM's memory on memservers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "crypto/tlscredsx509.h"
#include "qom/object_interfaces.h"
#include "client.h"
#include "page-map.h"
#include "trace.h"

/* Between two attempts to give back what is reserved on a memserver, in s. */
#define LONGEST_DELAY 10

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

SmemvSession *smemv_session_new_empty(void)
{
    SmemvSession *s = g_new0(SmemvSession, 1);

    s->peers = g_new0(SmemvPeer, SMEMV_MAX_PEERS);
    s->replicas = 1;
    return s;
}

SmemvPeer *smemv_session_add_peer(SmemvSession *s, const char *name,
                                  const char *host, uint16_t port)
{
    SmemvPeer *peer;

    if (s->n_peers == SMEMV_MAX_PEERS) {
        return NULL;
    }
    peer = &s->peers[s->n_peers];
    qemu_mutex_init(&peer->claim_lock);
    qemu_mutex_init(&peer->lock);
    smemv_holder(peer->holder);
    peer->name = g_strdup(name);
    peer->host = g_strdup(host);
    peer->port = port;
    peer->domain = g_intern_string(name);
    s->n_peers++;
    return peer;
}

SmemvPeer *smemv_session_find_peer(SmemvSession *s, const char *name)
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (!s->peers[i].closing && !strcmp(s->peers[i].name, name)) {
            return &s->peers[i];
        }
    }
    return NULL;
}

SmemvPeer *smemv_session_arbiter(SmemvSession *s)
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        if (!s->peers[i].gone && !s->peers[i].failed) {
            return &s->peers[i];
        }
    }
    g_assert_not_reached();
}

void smemv_peer_set_failed(SmemvPeer *peer)
{
    peer->wanted = 0;
    peer->closing = true;
    qatomic_set(&peer->failed, true);
}

/* Whether what a peer that failed held may still be there. */
static bool may_hold_old_pages(const SmemvSession *s, const SmemvSubHost *h)
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        const SmemvPeer *peer = &s->peers[i];

        if (peer->failed && !peer->gone && !strcmp(peer->host, h->host) &&
            peer->port == h->port) {
            return true;
        }
    }
    return false;
}

bool smemv_session_accepts(SmemvSession *s, SmemvSubHostList *sub_hosts,
                           Error **errp)
{
    unsigned n_new = 0;

    for (SmemvSubHostList *l = sub_hosts; l; l = l->next) {
        SmemvSubHost *h = l->value;
        SmemvPeer *peer = smemv_session_find_peer(s, h->name);

        if (peer && (strcmp(peer->host, h->host) || peer->port != h->port)) {
            error_setg(errp, "the memserver of %s is at %s:%u, not at %s:%u",
                       h->name, peer->host, peer->port, h->host, h->port);
            return false;
        }
        if (may_hold_old_pages(s, h)) {
            error_setg(errp, "sub-host %s has failed, and is not free of what "
                       "it held of this VM yet", h->name);
            return false;
        }
        n_new += !peer;
    }
    if (n_new > SMEMV_MAX_PEERS - s->n_peers) {
        error_setg(errp, "this process has known %u sub-hosts, and cannot "
                   "know more: move the VM to another main host first",
                   s->n_peers);
        return false;
    }
    return true;
}

void smemv_session_aim(SmemvSession *s, SmemvSubHostList *sub_hosts)
{
    for (unsigned i = 0; i < s->n_peers; i++) {
        s->peers[i].wanted = 0;
    }
    for (SmemvSubHostList *l = sub_hosts; l; l = l->next) {
        SmemvSubHost *h = l->value;
        SmemvPeer *peer = smemv_session_find_peer(s, h->name);

        if (!peer) {
            peer = smemv_session_add_peer(s, h->name, h->host, h->port);
        }
        peer->wanted = h->share >> SMEMV_PAGE_BITS;
        peer->domain = g_intern_string(h->failure_domain ?: h->name);
    }
}

SmemvSession *smemv_session_new(const char *name, SmemvSubHostList *sub_hosts,
                                unsigned replicas)
{
    SmemvSession *s = smemv_session_new_empty();

    s->name = g_strdup(name);
    s->replicas = replicas;
    qemu_guest_getrandom_nofail(s->id, sizeof(s->id));
    qemu_guest_getrandom_nofail(s->token, sizeof(s->token));
    smemv_session_aim(s, sub_hosts);
    for (unsigned i = 0; i < s->n_peers; i++) {
        s->peers[i].share = s->peers[i].wanted;
    }
    return s;
}

bool smemv_session_use_tls(SmemvSession *s, const char *tls_creds,
                           Error **errp)
{
    Object *obj = object_resolve_path_component(object_get_objects_root(),
                                                tls_creds);

    if (!obj || !object_dynamic_cast(obj, TYPE_QCRYPTO_TLS_CREDS_X509)) {
        error_setg(errp, "there are no TLS credentials '%s' (tls-creds-x509) "
                   "here", tls_creds);
        return false;
    }
    if (!qcrypto_tls_creds_check_endpoint(QCRYPTO_TLS_CREDS(obj),
                                          QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT,
                                          errp)) {
        return false;
    }
    s->tls_dir = object_property_get_str(obj, "dir", errp);
    s->tls_creds = g_strdup(tls_creds);
    return s->tls_dir;
}

QCryptoTLSCreds *smemv_session_credentials(const SmemvSession *s, Error **errp)
{
    Object *obj = object_new(TYPE_QCRYPTO_TLS_CREDS_X509);

    if (!object_property_set_str(obj, "dir", s->tls_dir, errp) ||
        !object_property_set_str(obj, "endpoint", "client", errp) ||
        !object_property_set_bool(obj, "verify-peer", true, errp) ||
        !user_creatable_complete(USER_CREATABLE(obj), errp)) {
        object_unref(obj);
        return NULL;
    }
    return QCRYPTO_TLS_CREDS(obj);
}

void smemv_session_free(SmemvSession *s)
{
    if (!s) {
        return;
    }
    for (unsigned i = 0; i < s->n_peers; i++) {
        qemu_mutex_destroy(&s->peers[i].claim_lock);
        qemu_mutex_destroy(&s->peers[i].lock);
        g_free(s->peers[i].name);
        g_free(s->peers[i].host);
    }
    g_free(s->peers);
    g_free(s->name);
    g_free(s->tls_creds);
    g_free(s->tls_dir);
    smemv_seal_free(s->seal);
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

int smemv_peer_open(SmemvSession *s, SmemvPeer *peer, uint64_t pages,
                    Error **errp)
{
    SmemvConn c;
    int ret;

    smemv_conn_init(&c, s, peer);
    ret = smemv_conn_send_open(&c, pages, 0, errp);
    if (!ret) {
        ret = smemv_conn_await_open(&c, errp);
    }
    smemv_conn_close(&c);
    trace_smemv_session_open(peer->name, pages, ret);
    return ret;
}

/*
 * Attach to change the session. One whose memserver was away when this process
 * took the VM over is claimed now.
 */
static int attach_as_holder(SmemvConn *c, Error **errp)
{
    bool unclaimed;

    WITH_QEMU_LOCK_GUARD(&c->peer->lock) {
        unclaimed = c->peer->claiming;
    }
    return unclaimed ? smemv_conn_claim(c, false, errp) :
                       smemv_conn_attach(c, errp);
}

int smemv_peer_reserve(SmemvSession *s, SmemvPeer *peer, uint64_t pages,
                       Error **errp)
{
    SmemvConn c;
    int ret;

    smemv_conn_init(&c, s, peer);
    ret = attach_as_holder(&c, errp);
    if (!ret) {
        ret = smemv_conn_reserve(&c, pages, errp);
    }
    smemv_conn_close(&c);
    trace_smemv_session_reserve(peer->name, pages, ret);
    return ret;
}

int smemv_session_claim(SmemvSession *s, Error **errp)
{
    SmemvConn c;
    int ret;

    smemv_conn_init(&c, s, smemv_session_arbiter(s));
    ret = smemv_conn_claim_vm(&c, errp);
    smemv_conn_close(&c);
    return ret;
}

int smemv_peer_close(SmemvSession *s, SmemvPeer *peer, Error **errp)
{
    g_autoptr(Error) err = NULL;
    SmemvConn c;
    int ret;

    smemv_conn_init(&c, s, peer);
    ret = attach_as_holder(&c, &err);
    if (!ret) {
        ret = smemv_conn_close_session(&c, &err);
    }
    smemv_conn_close(&c);
    trace_smemv_session_close(peer->name, ret);
    /* A memserver that does not know the session has nothing to free. */
    if (ret == SMEMV_WIRE_NO_SESSION) {
        ret = SMEMV_WIRE_OK;
    }
    if (ret) {
        error_propagate(errp, g_steal_pointer(&err));
    }
    return ret;
}

int smemv_peer_close_failed(SmemvSession *s, SmemvPeer *peer)
{
    SmemvConn c;
    int ret;

    smemv_conn_init(&c, s, peer);
    c.patience_ms = SMEMV_PATIENCE_MS;
    /* As a holder of its own: what comes late closes no later session. */
    ret = smemv_conn_claim(&c, true, NULL);
    if (!ret) {
        ret = smemv_conn_close_session(&c, NULL);
    }
    smemv_conn_close(&c);
    trace_smemv_session_close(peer->name, ret);
    return ret == SMEMV_WIRE_NO_SESSION ? SMEMV_WIRE_OK : ret;
}

/* Close it where it is open still, and @tell of what cannot be done. */
static bool close_all(SmemvSession *s, bool tell)
{
    bool complete = true;

    for (unsigned i = 0; i < s->n_peers; i++) {
        SmemvPeer *peer = &s->peers[i];
        g_autoptr(Error) err = NULL;
        int ret = peer->gone ? 0 : smemv_peer_close(s, peer, &err);

        if (ret && tell) {
            error_report("smemv: reservation not released: %s",
                         error_get_pretty(err));
        }
        peer->gone = ret >= 0;
        complete = complete && peer->gone;
    }
    return complete;
}

bool smemv_session_close(SmemvSession *s)
{
    return close_all(s, true);
}

static void *release_thread(void *opaque)
{
    SmemvSession *s = opaque;
    bool told = false;

    for (unsigned delay = 1; !close_all(s, !told);
         delay = MIN(2 * delay, LONGEST_DELAY)) {
        told = true;
        g_usleep(delay * G_USEC_PER_SEC);
    }
    smemv_session_free(s);
    return NULL;
}

void smemv_session_release(SmemvSession *s)
{
    QemuThread thread;

    qemu_thread_create(&thread, "smemv-release", release_thread, s,
                       QEMU_THREAD_DETACHED);
}
