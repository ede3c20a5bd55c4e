/*
 * Who this host is to others, and which hosts it knows.
 *
 * A certificate is welcome if the CA has signed it, for the purpose it is used
 * for, and it is for a known host: one of the names is among its subject
 * alternative names or, where it has none, its common name.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "identity.h"

#include "log.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define NAME_SIZE 256
#define CHAIN_MAX 16

/* A file as a whole. False: it has told the journal why not. */
static bool read_file(const char *path, gnutls_datum_t *data)
{
    if (gnutls_load_file(path, data)) {
        log_line(LOG_ERR, "cannot read %s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool read_from(const char *folder, const char *name,
                      gnutls_datum_t *data)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return read_file(path, data);
}

/* What keys were in may not stay in memory. */
static void forget(gnutls_datum_t *data)
{
    if (data->data) {
        gnutls_memset(data->data, 0, data->size);
        gnutls_free(data->data);
    }
}

static bool set_trust(gnutls_certificate_credentials_t credentials,
                      const char *folder)
{
    gnutls_datum_t ca = { 0 };
    char path[PATH_SIZE];
    int count;

    if (!read_from(folder, "ca-cert.pem", &ca)) {
        return false;
    }
    count = gnutls_certificate_set_x509_trust_mem(credentials, &ca,
                                                  GNUTLS_X509_FMT_PEM);
    gnutls_free(ca.data);
    if (count < 1) {
        log_line(LOG_ERR, "%s/ca-cert.pem: %s", folder,
                 count ? gnutls_strerror(count) : "no certificate in it");
        return false;
    }
    snprintf(path, sizeof(path), "%s/ca-crl.pem", folder);
    if (access(path, F_OK) == 0) {
        count = gnutls_certificate_set_x509_crl_file(credentials, path,
                                                     GNUTLS_X509_FMT_PEM);
        if (count < 1) {
            log_line(LOG_ERR, "%s: %s", path, gnutls_strerror(count));
            return false;
        }
    }
    return true;
}

/* This host's own certificate, its chain behind it, and its key. */
struct pair {
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned count;
    gnutls_x509_privkey_t key;
};

static int import_pair(struct pair *pair, const gnutls_datum_t *certificate,
                       const gnutls_datum_t *key)
{
    unsigned count = CHAIN_MAX;
    int error = gnutls_x509_crt_list_import(pair->chain, &count, certificate,
                                            GNUTLS_X509_FMT_PEM, 0);

    if (error < 0) {
        return error;
    }
    pair->count = count;
    error = gnutls_x509_privkey_init(&pair->key);
    if (error) {
        return error;
    }
    return gnutls_x509_privkey_import2(pair->key, key, GNUTLS_X509_FMT_PEM,
                                       NULL, 0);
}

static void free_pair(struct pair *pair)
{
    for (unsigned i = 0; i < pair->count; i++) {
        gnutls_x509_crt_deinit(pair->chain[i]);
    }
    gnutls_x509_privkey_deinit(pair->key);
}

/* Would others let it in as @purpose? False: it has told the journal. */
static bool is_welcome(gnutls_certificate_credentials_t credentials,
                       struct pair *pair, const char *purpose, const char *name)
{
    gnutls_typed_vdata_st wanted = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)purpose };
    gnutls_x509_trust_list_t trust;
    gnutls_datum_t text = { 0 };
    unsigned status;
    int error;

    gnutls_certificate_get_trust_list(credentials, &trust);
    error = gnutls_x509_trust_list_verify_crt2(trust, pair->chain, pair->count,
                                               &wanted, 1, 0, &status, NULL);
    if (!error && !status) {
        return true;
    }
    gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text,
                                                 0);
    log_line(LOG_ERR, "%s: %s", name,
             error || !text.data ? gnutls_strerror(error) : (char *)text.data);
    gnutls_free(text.data);
    return false;
}

static bool set_pair(gnutls_certificate_credentials_t credentials,
                     const char *folder, const char *role, const char *purpose,
                     time_t *expires)
{
    gnutls_datum_t certificate = { 0 };
    gnutls_datum_t key = { 0 };
    struct pair pair = { .count = 0 };
    char name[64], key_name[64];
    bool set = false;
    int error;

    snprintf(name, sizeof(name), "%s-cert.pem", role);
    snprintf(key_name, sizeof(key_name), "%s-key.pem", role);
    if (read_from(folder, name, &certificate) &&
        read_from(folder, key_name, &key)) {
        error = import_pair(&pair, &certificate, &key);
        if (!error) {
            error = gnutls_certificate_set_x509_key(
                credentials, pair.chain, (int)pair.count, pair.key);
        }
        if (error < 0) {
            log_line(LOG_ERR, "%s/%s and %s: %s", folder, name, key_name,
                     gnutls_strerror(error));
        } else if (is_welcome(credentials, &pair, purpose, name)) {
            *expires = gnutls_x509_crt_get_expiration_time(pair.chain[0]);
            set = true;
        }
    }
    free_pair(&pair);
    gnutls_free(certificate.data);
    forget(&key);
    return set;
}

/* Refuses the other end, with an alert for it and a text for the journal. */
static int refuse(struct identity_check *check,
                  gnutls_alert_description_t alert, const char *text,
                  const char *name)
{
    check->alert = alert;
    snprintf(check->text, sizeof(check->text), "%s%s%s", text,
             *name ? ": " : "", name);
    return GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
}

static bool has_alternative_names(gnutls_x509_crt_t certificate)
{
    char name[NAME_SIZE];
    size_t size = sizeof(name);

    return gnutls_x509_crt_get_subject_alt_name(certificate, 0, name, &size,
                                                NULL) !=
           GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;
}

static bool is_for(gnutls_x509_crt_t certificate, const char *common_name,
                   const char *host)
{
    if (has_alternative_names(certificate)) {
        return gnutls_x509_crt_check_hostname2(
            certificate, host, GNUTLS_VERIFY_DO_NOT_ALLOW_WILDCARDS);
    }
    return strcasecmp(common_name, host) == 0;
}

static int check_name(struct identity_check *check,
                      gnutls_x509_crt_t certificate)
{
    char common_name[NAME_SIZE] = "";
    size_t size = sizeof(common_name);

    gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0,
                                  0, common_name, &size);
    if (check->host) {
        if (is_for(certificate, common_name, check->host)) {
            return 0;
        }
        return refuse(check, GNUTLS_A_BAD_CERTIFICATE,
                      "its certificate is for another host", common_name);
    }
    for (char **name = check->identity->known; *name; name++) {
        if (is_for(certificate, common_name, *name)) {
            return 0;
        }
    }
    return refuse(check, GNUTLS_A_ACCESS_DENIED,
                  "its certificate is for no known host", common_name);
}

/* GnuTLS asks, in the handshake, when it has the other end's certificates. */
static int verify(gnutls_session_t session)
{
    struct identity_check *check = gnutls_session_get_ptr(session);
    const char *purpose = check->host ? GNUTLS_KP_TLS_WWW_SERVER
                                      : GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st wanted = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)purpose };
    const gnutls_datum_t *chain;
    gnutls_x509_crt_t certificate;
    gnutls_datum_t text = { 0 };
    unsigned count, status;
    int error = gnutls_certificate_verify_peers(session, &wanted, 1, &status);

    if (error) {
        return refuse(check, GNUTLS_A_CERTIFICATE_REQUIRED,
                      gnutls_strerror(error), "");
    }
    if (status) {
        gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509,
                                                     &text, 0);
        error = refuse(check,
                       status & (GNUTLS_CERT_SIGNER_NOT_FOUND |
                                 GNUTLS_CERT_SIGNATURE_FAILURE)
                           ? GNUTLS_A_UNKNOWN_CA
                           : GNUTLS_A_BAD_CERTIFICATE,
                       text.data ? (char *)text.data : "not trusted", "");
        gnutls_free(text.data);
        return error;
    }
    chain = gnutls_certificate_get_peers(session, &count);
    if (gnutls_x509_crt_init(&certificate)) {
        return GNUTLS_E_MEMORY_ERROR;
    }
    error = gnutls_x509_crt_import(certificate, chain, GNUTLS_X509_FMT_DER);
    if (!error) {
        error = check_name(check, certificate);
    }
    gnutls_x509_crt_deinit(certificate);
    return error;
}

static gnutls_certificate_credentials_t
load_pair(const char *folder, const char *role, const char *purpose,
          time_t *expires)
{
    gnutls_certificate_credentials_t credentials;

    if (gnutls_certificate_allocate_credentials(&credentials)) {
        log_line(LOG_ERR, "no memory for certificates");
        return NULL;
    }
    gnutls_certificate_set_verify_function(credentials, verify);
    if (!set_trust(credentials, folder) ||
        !set_pair(credentials, folder, role, purpose, expires)) {
        gnutls_certificate_free_credentials(credentials);
        return NULL;
    }
    return credentials;
}

/* The lines of a file, less white space, comments and empty ones; or NULL. */
static char **read_names(const char *path)
{
    gnutls_datum_t file;
    char **names = NULL;
    size_t count = 0;
    char *line, *rest;

    if (!read_file(path, &file)) {
        return NULL;
    }
    /* GnuTLS puts a NUL behind what it has loaded. */
    for (rest = (char *)file.data; (line = strsep(&rest, "\n"));) {
        char **more;

        line += strspn(line, " \t");
        line[strcspn(line, " \t\r#")] = '\0';
        if (!*line) {
            continue;
        }
        more = reallocarray(names, count + 2, sizeof(*names));
        if (!more) {
            abort();
        }
        names = more;
        names[count] = strdup(line);
        names[++count] = NULL;
    }
    gnutls_free(file.data);
    if (!names) {
        log_line(LOG_ERR, "%s names no host: nobody could connect", path);
    }
    return names;
}

static void free_identity(struct identity *identity)
{
    if (identity->server) {
        gnutls_certificate_free_credentials(identity->server);
    }
    if (identity->client) {
        gnutls_certificate_free_credentials(identity->client);
    }
    for (char **name = identity->known; name && *name; name++) {
        free(*name);
    }
    free(identity->known);
    free(identity);
}

struct identity *identity_load(const char *folder, const char *peers)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    time_t client_expires = 0;

    if (!identity) {
        log_line(LOG_ERR, "no memory for certificates");
        return NULL;
    }
    identity->references = 1;
    identity->server = load_pair(folder, "server", GNUTLS_KP_TLS_WWW_SERVER,
                                 &identity->expires);
    identity->client = identity->server
                           ? load_pair(folder, "client",
                                       GNUTLS_KP_TLS_WWW_CLIENT,
                                       &client_expires)
                           : NULL;
    identity->known = identity->client ? read_names(peers) : NULL;
    if (!identity->known) {
        free_identity(identity);
        return NULL;
    }
    if (client_expires < identity->expires) {
        identity->expires = client_expires;
    }
    return identity;
}

struct identity *identity_keep(struct identity *identity)
{
    atomic_fetch_add(&identity->references, 1);
    return identity;
}

void identity_drop(struct identity *identity)
{
    if (atomic_fetch_sub(&identity->references, 1) == 1) {
        free_identity(identity);
    }
}
