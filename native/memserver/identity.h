/*
 * Who this host is to others, and which hosts it knows: certificates, in a
 * folder with the names that QEMU's tls-creds-x509 has for them, and a list of
 * names.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_IDENTITY_H
#define SMEMV_IDENTITY_H

#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

/* Never changes. Lives as long as somebody keeps it. */
struct identity {
    atomic_uint references;
    gnutls_certificate_credentials_t server;
    gnutls_certificate_credentials_t client;
    time_t expires; /* the first of its certificates */
    char **known;   /* names of hosts, NULL behind the last */
};

/*
 * Whom a TLS session is with: the pointer of its GnuTLS session. The rest is
 * filled when the other end's certificate is refused.
 */
struct identity_check {
    const struct identity *identity;
    const char *host; /* the one that is wanted; NULL: any that is known */
    gnutls_alert_description_t alert;
    char text[256];
};

/*
 * Reads ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem,
 * client-key.pem and, where it is there, ca-crl.pem from @folder, and the
 * names of the hosts that may connect from @peers, one a line. NULL: it has
 * told the journal why not.
 */
struct identity *identity_load(const char *folder, const char *peers);

struct identity *identity_keep(struct identity *identity);
void identity_drop(struct identity *identity);

#endif
