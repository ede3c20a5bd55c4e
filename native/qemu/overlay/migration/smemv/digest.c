/*
 * Digest: whether a page is still as it was.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include "qemu/guest-random.h"
#include "digest.h"
#include "page-map.h"
#include "smemv.h"

#define KEY_SIZE 16
#define NONCE_SIZE 12

/* The key of this process: random, and chosen once. */
static uint8_t *key_of_process(void)
{
    static uint8_t key[KEY_SIZE];
    static gsize chosen;

    if (g_once_init_enter(&chosen)) {
        qemu_guest_getrandom_nofail(key, sizeof(key));
        g_once_init_leave(&chosen, 1);
    }
    return key;
}

/* Each thread has a cipher of its own, which ends with it. */
static gnutls_aead_cipher_hd_t cipher_of_thread(void)
{
    static GPrivate of_thread =
        G_PRIVATE_INIT((GDestroyNotify)gnutls_aead_cipher_deinit);
    gnutls_aead_cipher_hd_t cipher = g_private_get(&of_thread);

    if (!cipher) {
        gnutls_datum_t key = { key_of_process(), KEY_SIZE };
        int ret = gnutls_aead_cipher_init(&cipher, GNUTLS_CIPHER_AES_128_GCM,
                                          &key);

        if (ret < 0) {
            smemv_fatal("smemv: pages cannot be compared: %s",
                        gnutls_strerror(ret));
        }
        g_private_set(&of_thread, cipher);
    }
    return cipher;
}

/* The page is what is authenticated, and nothing is encrypted. */
SmemvDigest smemv_digest(const void *data)
{
    static const uint8_t nonce[NONCE_SIZE];
    SmemvDigest digest;
    size_t size = sizeof(digest);
    int ret = gnutls_aead_cipher_encrypt(cipher_of_thread(),
                                         nonce, sizeof(nonce),
                                         data, SMEMV_PAGE_SIZE, size, "", 0,
                                         &digest, &size);

    if (ret < 0) {
        smemv_fatal("smemv: pages cannot be compared: %s",
                    gnutls_strerror(ret));
    }
    return digest;
}
