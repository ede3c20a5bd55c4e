/*
 * TLS 1.3 over a socket, either end of it.
 *
 * GnuTLS encrypts and decrypts one record of 16 KiB at a time; here they are
 * gathered to what recv() and send() would have moved. No session is resumed:
 * connections last, and what is not there cannot be stolen.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "tls.h"

#include "log.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* AES-128 first: QEMU's own order begins with AES-256, which takes longer. */
static const char priority[] =
    "NONE:+VERS-TLS1.3:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:"
    "+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+SIGN-ALL:"
    "+CTYPE-X509:+COMP-NULL:%SERVER_PRECEDENCE";

struct tls_session {
    gnutls_session_t gnutls;
    struct identity *identity;
    struct identity_check check;
    const char *error;
    int broken;   /* errno of what ended it; or 0 */
    bool sending; /* a record is on its way that the socket had no room for */
};

bool tls_init(struct tls *tls, const char *folder, const char *peers)
{
    *tls = (struct tls){ .folder = folder, .peers = peers };
    pthread_mutex_init(&tls->lock, NULL);
    tls->identity = identity_load(folder, peers);
    return tls->identity;
}

bool tls_reload(struct tls *tls)
{
    struct identity *loaded = identity_load(tls->folder, tls->peers);
    struct identity *old;

    if (!loaded) {
        return false;
    }
    pthread_mutex_lock(&tls->lock);
    old = tls->identity;
    tls->identity = loaded;
    pthread_mutex_unlock(&tls->lock);
    identity_drop(old);
    return true;
}

time_t tls_expires(struct tls *tls)
{
    time_t expires;

    pthread_mutex_lock(&tls->lock);
    expires = tls->identity->expires;
    pthread_mutex_unlock(&tls->lock);
    return expires;
}

void tls_destroy(struct tls *tls)
{
    identity_drop(tls->identity);
    pthread_mutex_destroy(&tls->lock);
}

static struct tls_session *session_new(struct tls *tls, int fd,
                                       const char *host)
{
    unsigned end = host ? GNUTLS_CLIENT : GNUTLS_SERVER;
    struct tls_session *s = calloc(1, sizeof(*s));

    if (!s) {
        return NULL;
    }
    if (gnutls_init(&s->gnutls, end | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                                    GNUTLS_NO_TICKETS)) {
        free(s);
        return NULL;
    }
    pthread_mutex_lock(&tls->lock);
    s->identity = identity_keep(tls->identity);
    pthread_mutex_unlock(&tls->lock);
    s->check = (struct identity_check){ .identity = s->identity, .host = host };
    gnutls_session_set_ptr(s->gnutls, &s->check);
    gnutls_transport_set_int(s->gnutls, fd);
    if (gnutls_priority_set_direct(s->gnutls, priority, NULL) ||
        gnutls_credentials_set(s->gnutls, GNUTLS_CRD_CERTIFICATE,
                               host ? s->identity->client
                                    : s->identity->server)) {
        tls_free(s);
        return NULL;
    }
    /* The caller's deadline counts, not GnuTLS's. */
    gnutls_handshake_set_timeout(s->gnutls, 0);
    return s;
}

struct tls_session *tls_accept(struct tls *tls, int fd)
{
    struct tls_session *s = session_new(tls, fd, NULL);

    if (s) {
        gnutls_certificate_server_set_request(s->gnutls, GNUTLS_CERT_REQUIRE);
    }
    return s;
}

struct tls_session *tls_connect(struct tls *tls, int fd, const char *host)
{
    return session_new(tls, fd, host);
}

void tls_free(struct tls_session *session)
{
    gnutls_deinit(session->gnutls);
    identity_drop(session->identity);
    free(session);
}

static enum tls_progress fail(struct tls_session *s, int error)
{
    if (s->check.alert) {
        s->error = s->check.text;
        gnutls_alert_send(s->gnutls, GNUTLS_AL_FATAL, s->check.alert);
    } else if (error == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        s->error = gnutls_alert_get_name(gnutls_alert_get(s->gnutls));
        s->error = s->error ? s->error : "an alert";
    } else {
        s->error = gnutls_strerror(error);
        gnutls_alert_send_appropriate(s->gnutls, error);
    }
    return TLS_FAILED;
}

enum tls_progress tls_handshake(struct tls_session *s)
{
    int error;

    do {
        error = gnutls_handshake(s->gnutls);
    } while (error < 0 && error != GNUTLS_E_AGAIN &&
             !gnutls_error_is_fatal(error));
    if (error == GNUTLS_E_AGAIN) {
        return gnutls_record_get_direction(s->gnutls) ? TLS_WANTS_WRITE
                                                      : TLS_WANTS_READ;
    }
    return error ? fail(s, error) : TLS_DONE;
}

const char *tls_error(const struct tls_session *session)
{
    return session->error;
}

/* Sets errno to what GnuTLS's @error comes to, and returns -1. */
static ssize_t set_errno(struct tls_session *s, int error)
{
    if (!gnutls_error_is_fatal(error)) {
        errno = EAGAIN;
        return -1;
    }
    if (error == GNUTLS_E_PREMATURE_TERMINATION ||
        error == GNUTLS_E_PULL_ERROR || error == GNUTLS_E_PUSH_ERROR) {
        /* The connection is gone, or ended without a word. */
        s->broken = ECONNRESET;
    } else {
        fail(s, error);
        s->broken = EPROTO;
    }
    errno = s->broken;
    return -1;
}

ssize_t tls_receive(struct tls_session *s, void *data, size_t size)
{
    size_t received = 0;

    if (s->broken) {
        errno = s->broken;
        return -1;
    }
    while (received < size) {
        ssize_t n = gnutls_record_recv(s->gnutls, (uint8_t *)data + received,
                                       size - received);

        if (n <= 0) {
            if (n < 0) {
                n = set_errno(s, (int)n);
            }
            /* An end, or what broke it, is there the next time too. */
            return received ? (ssize_t)received : n;
        }
        received += (size_t)n;
    }
    return (ssize_t)received;
}

ssize_t tls_send(struct tls_session *s, const void *data, size_t size)
{
    size_t sent = 0;

    if (s->broken) {
        errno = s->broken;
        return -1;
    }
    while (sent < size) {
        ssize_t n = s->sending
                        ? gnutls_record_send(s->gnutls, NULL, 0)
                        : gnutls_record_send(s->gnutls,
                                             (const uint8_t *)data + sent,
                                             size - sent);

        s->sending = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED;
        if (n < 0) {
            n = set_errno(s, (int)n);
            return sent ? (ssize_t)sent : n;
        }
        sent += (size_t)n;
    }
    return (ssize_t)sent;
}

bool tls_has_more(const struct tls_session *session)
{
    return gnutls_record_check_pending(session->gnutls) > 0;
}

void tls_finish(struct tls_session *session)
{
    if (!session->error) {
        gnutls_bye(session->gnutls, GNUTLS_SHUT_WR);
    }
}
