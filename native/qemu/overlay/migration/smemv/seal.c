/*
 * Seal: pages that memservers store and cannot read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include "qemu/bswap.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "migration/migration-stats.h"
#include "page-map.h"
#include "seal.h"
#include "smemv.h"
#include "trace.h"

#define TAG_SIZE 16
#define NONCE_SIZE 12

/* Versions of one generation. */
#define GENERATION_BITS 48

/* Entries in one record of the stream, and while the lock is held. */
#define RUN_ENTRIES 256

/* An entry in the stream, the head of its record included where it is alone. */
#define ENTRY_BYTES (13 + sizeof(SmemvSealEntry))

/* What a page was put with last. */
typedef struct SmemvSealEntry {
    uint64_t version;            /* 0: never */
    uint8_t tag[TAG_SIZE];
} SmemvSealEntry;

/* What is authenticated, and not sent. */
typedef struct SmemvSealWhere {
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint64_t address;            /* big-endian */
} QEMU_PACKED SmemvSealWhere;

struct SmemvSeal {
    uint8_t key[SMEMV_SEAL_KEY_SIZE];
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    SmemvSealEntry *entries;     /* of each page */
    uint64_t pages;

    QemuMutex lock;              /* guards what follows */
    uint64_t version;            /* of the next page that is sealed */
    uint64_t sealed;             /* entries in use */
    bool telling;                /* a migration is under way */
    uint16_t told_generation;    /* of the last destination, or its own */
    GArray *changed;             /* uint64_t pages sealed since */
    uint64_t cursor;             /* pages from here on are to be told of */
    uint64_t untold;             /* about so many of them are in use */
};

struct SmemvSealer {
    SmemvSeal *seal;
    gnutls_aead_cipher_hd_t cipher;
    uint8_t (*slots)[SMEMV_PAGE_SIZE + TAG_SIZE];
};

void smemv_seal_new_key(SmemvSealKey *key)
{
    qemu_guest_getrandom_nofail(key->key, sizeof(key->key));
    key->generation = 0;
}

SmemvSeal *smemv_seal_new(const SmemvSealKey *key, const uint8_t *id,
                          uint64_t pages)
{
    SmemvSeal *s = g_new0(SmemvSeal, 1);

    memcpy(s->key, key->key, sizeof(s->key));
    memcpy(s->id, id, sizeof(s->id));
    /* Of pages that are never sealed it takes no memory. */
    s->entries = g_new0(SmemvSealEntry, pages);
    s->pages = pages;
    s->version = ((uint64_t)key->generation << GENERATION_BITS) + 1;
    s->told_generation = key->generation;
    s->changed = g_array_new(false, false, sizeof(uint64_t));
    qemu_mutex_init(&s->lock);
    return s;
}

void smemv_seal_free(SmemvSeal *s)
{
    if (s) {
        gnutls_memset(s->key, 0, sizeof(s->key));
        qemu_mutex_destroy(&s->lock);
        g_array_free(s->changed, true);
        g_free(s->entries);
        g_free(s);
    }
}

SmemvSealer *smemv_sealer_new(SmemvSeal *s, unsigned pages, Error **errp)
{
    SmemvSealer *sealer = g_new0(SmemvSealer, 1);
    gnutls_datum_t key = { s->key, sizeof(s->key) };
    int ret = gnutls_aead_cipher_init(&sealer->cipher,
                                      GNUTLS_CIPHER_AES_256_GCM, &key);

    if (ret < 0) {
        error_setg(errp, "pages cannot be sealed: %s", gnutls_strerror(ret));
        g_free(sealer);
        return NULL;
    }
    sealer->seal = s;
    sealer->slots = g_malloc(pages * sizeof(*sealer->slots));
    return sealer;
}

void smemv_sealer_free(SmemvSealer *sealer)
{
    if (sealer) {
        gnutls_aead_cipher_deinit(sealer->cipher);
        g_free(sealer->slots);
        g_free(sealer);
    }
}

static SmemvSealWhere where(const SmemvSeal *s, uint64_t page)
{
    SmemvSealWhere w = { .address = cpu_to_be64(page << SMEMV_PAGE_BITS) };

    memcpy(w.id, s->id, sizeof(w.id));
    return w;
}

static void make_nonce(uint8_t *nonce, uint64_t version)
{
    memset(nonce, 0, NONCE_SIZE);
    stq_be_p(nonce + NONCE_SIZE - sizeof(version), version);
}

uint64_t smemv_seal_version(SmemvSeal *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return s->version++;
}

const void *smemv_sealer_seal(SmemvSealer *sealer, unsigned slot,
                              uint64_t page, const void *data,
                              uint64_t version, Error **errp)
{
    SmemvSeal *s = sealer->seal;
    SmemvSealWhere w = where(s, page);
    uint8_t *sealed = sealer->slots[slot];
    size_t size = sizeof(sealer->slots[slot]);
    uint8_t nonce[NONCE_SIZE];
    int ret;

    version = version ?: smemv_seal_version(s);
    make_nonce(nonce, version);
    trace_smemv_seal(page, version);
    ret = gnutls_aead_cipher_encrypt(sealer->cipher, nonce, sizeof(nonce), &w,
                                     sizeof(w), TAG_SIZE, data,
                                     SMEMV_PAGE_SIZE, sealed, &size);
    if (ret < 0) {
        error_setg(errp, "page 0x%" PRIx64 " cannot be sealed: %s",
                   page << SMEMV_PAGE_BITS, gnutls_strerror(ret));
        return NULL;
    }

    QEMU_LOCK_GUARD(&s->lock);
    if (version <= s->entries[page].version) {
        return sealed;           /* for the other sub-host, and maybe late */
    }
    s->sealed += !s->entries[page].version;
    s->entries[page].version = version;
    memcpy(s->entries[page].tag, sealed + SMEMV_PAGE_SIZE, TAG_SIZE);
    if (s->telling) {
        g_array_append_val(s->changed, page);
    }
    return sealed;
}

bool smemv_sealer_open(SmemvSealer *sealer, uint64_t page, uint8_t *data)
{
    const SmemvSealEntry *entry = &sealer->seal->entries[page];
    SmemvSealWhere w = where(sealer->seal, page);
    giovec_t authenticated = { &w, sizeof(w) };
    giovec_t sealed = { data, SMEMV_PAGE_SIZE };
    uint8_t nonce[NONCE_SIZE], tag[TAG_SIZE];

    if (!entry->version) {
        return false;
    }
    make_nonce(nonce, entry->version);
    memcpy(tag, entry->tag, sizeof(tag));
    return gnutls_aead_cipher_decryptv2(sealer->cipher, nonce, sizeof(nonce),
                                        &authenticated, 1, &sealed, 1, tag,
                                        sizeof(tag)) >= 0;
}

bool smemv_seal_begin_telling(SmemvSeal *s, bool all, Error **errp)
{
    QEMU_LOCK_GUARD(&s->lock);
    if (s->told_generation == UINT16_MAX) {
        error_setg(errp, "this VM has moved too often to be sealed with the "
                   "same key: make it whole, and split it anew");
        return false;
    }
    /* Larger than any that a page was sealed in, or that anybody was told. */
    s->told_generation++;
    s->telling = true;
    s->cursor = all ? 0 : s->pages;
    s->untold = all ? s->sealed : 0;
    return true;
}

void smemv_seal_end_telling(SmemvSeal *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    s->telling = false;
    s->untold = 0;
    g_array_set_size(s->changed, 0);
}

void smemv_seal_put_key(SmemvSeal *s, QEMUFile *f)
{
    qemu_put_byte(f, SMEMV_RECORD_SEAL);
    qemu_put_buffer(f, s->key, sizeof(s->key));
    qemu_put_be16(f, s->told_generation);
}

void smemv_seal_wipe_key(SmemvSealKey *key)
{
    gnutls_memset(key, 0, sizeof(*key));
}

void smemv_seal_get_key(QEMUFile *f, SmemvSealKey *key)
{
    qemu_get_buffer(f, key->key, sizeof(key->key));
    key->generation = qemu_get_be16(f);
}

/*
 * Tell of the entries from @page on that are in use, at most RUN_ENTRIES, and
 * not beyond @end. Returns how many those are.
 */
static unsigned put_run(SmemvSeal *s, QEMUFile *f, uint64_t page, uint64_t end)
{
    SmemvSealEntry run[RUN_ENTRIES];
    unsigned n = 0;

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        while (n < RUN_ENTRIES && page + n < end &&
               s->entries[page + n].version) {
            run[n] = s->entries[page + n];
            n++;
        }
    }
    if (n) {
        qemu_put_byte(f, SMEMV_RECORD_TAGS);
        qemu_put_be64(f, page);
        qemu_put_be32(f, n);
        for (unsigned i = 0; i < n; i++) {
            qemu_put_be64(f, run[i].version);
            qemu_put_buffer(f, run[i].tag, sizeof(run[i].tag));
        }
    }
    return n;
}

/* Tell of what was sealed before. */
static void put_old(SmemvSeal *s, QEMUFile *f, bool last)
{
    while (s->cursor < s->pages && (last || !migration_rate_exceeded(f))) {
        /* What comes into use behind a look at it is among the changes. */
        unsigned n = put_run(s, f, s->cursor, s->pages);

        s->cursor += MAX(n, 1);
        QEMU_LOCK_GUARD(&s->lock);
        s->untold -= MIN(n, s->untold);
    }
    if (s->cursor == s->pages) {
        QEMU_LOCK_GUARD(&s->lock);
        s->untold = 0;
    }
}

void smemv_seal_put_tags(SmemvSeal *s, QEMUFile *f, bool last)
{
    g_autoptr(GArray) changed = g_array_new(false, false, sizeof(uint64_t));

    put_old(s, f, last);
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        GArray *empty = changed;

        changed = s->changed;
        s->changed = empty;
    }
    for (unsigned i = 0, n; i < changed->len; i += n) {
        uint64_t page = g_array_index(changed, uint64_t, i);

        for (n = 1; n < RUN_ENTRIES && i + n < changed->len; n++) {
            if (g_array_index(changed, uint64_t, i + n) != page + n) {
                break;
            }
        }
        put_run(s, f, page, page + n);
    }
}

bool smemv_seal_get_tags(SmemvSeal *s, QEMUFile *f, Error **errp)
{
    uint64_t page = qemu_get_be64(f);
    uint32_t n = qemu_get_be32(f);

    if (n > RUN_ENTRIES || page > s->pages || n > s->pages - page) {
        error_setg(errp, "tags of %u pages from 0x%" PRIx64, n, page);
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        SmemvSealEntry *entry = &s->entries[page + i];

        s->sealed += !entry->version;
        entry->version = qemu_get_be64(f);
        qemu_get_buffer(f, entry->tag, sizeof(entry->tag));
    }
    return true;
}

uint64_t smemv_seal_pending(SmemvSeal *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return (s->untold + s->changed->len) * ENTRY_BYTES;
}
