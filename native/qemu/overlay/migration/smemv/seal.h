/*
 * Seal: pages that memservers store and cannot read.
 *
 * Each page is encrypted with AES-256-GCM before it is put, and opened after
 * it was fetched. The tag, and the version with which the page was put last,
 * stay in this process: 24 bytes a page. So a page keeps its 4096 bytes on
 * the wire, and a memserver that returns an older content of it, or another
 * page's, or anything but what was put last, returns what does not open.
 *
 * The version is the nonce: it counts all pages that are ever sealed with the
 * key. Its upper 16 bits are the generation: each destination is told a larger
 * one than any before it, and seals nothing until it has claimed the VM, which
 * its source then never seals a page of again. So no nonce is used twice,
 * whichever side of a migration runs on. The session's id and the page's guest
 * memory address are authenticated as well.
 *
 * The key is the session's. It leaves a process in the migration stream only.
 *
 * The table has a lock for what a migration tells of it. A page's tag is read
 * without: where a page is fetched, nobody puts it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_SEAL_H
#define SMEMV_SEAL_H

#include "qapi/error.h"
#include "migration/qemu-file.h"
#include "wire/smemv-wire.h"

#define SMEMV_SEAL_KEY_SIZE 32

/* What makes a seal, as one process tells another. */
typedef struct SmemvSealKey {
    uint8_t key[SMEMV_SEAL_KEY_SIZE];
    uint16_t generation;
} SmemvSealKey;

/* Of a session. */
typedef struct SmemvSeal SmemvSeal;

/* Of one thread at a time: a cipher, and room for a batch of sealed pages. */
typedef struct SmemvSealer SmemvSealer;

/* A new key, for a new session. */
void smemv_seal_new_key(SmemvSealKey *key);

/* It is of no more use: leave nothing of it in memory. */
void smemv_seal_wipe_key(SmemvSealKey *key);

/* For a session of that id, of a VM of @pages. */
SmemvSeal *smemv_seal_new(const SmemvSealKey *key, const uint8_t *id,
                          uint64_t pages);
void smemv_seal_free(SmemvSeal *s);

/* @pages that can be sealed side by side. NULL on an error. */
SmemvSealer *smemv_sealer_new(SmemvSeal *s, unsigned pages, Error **errp);
void smemv_sealer_free(SmemvSealer *sealer);

/* A version for a page that is sealed for two sub-hosts, to be the same. */
uint64_t smemv_seal_version(SmemvSeal *s);

/*
 * Seal @data, which is to be put as @page, with @version, or a new one where
 * that is 0. Returns the 4096 bytes to be put, which stay until @slot is
 * sealed anew; NULL on an error. What is sealed with a version once more must
 * be the same page with the same content.
 */
const void *smemv_sealer_seal(SmemvSealer *sealer, unsigned slot,
                              uint64_t page, const void *data,
                              uint64_t version, Error **errp);

/* Open what was fetched of @page, in place. False if it is not what was put. */
bool smemv_sealer_open(SmemvSealer *sealer, uint64_t page, uint8_t *data);

/*
 * A migration begins: what is sealed from now on is told to its destination,
 * and with @all what was sealed before. False where the VM has moved too
 * often to be told apart from itself.
 */
bool smemv_seal_begin_telling(SmemvSeal *s, bool all, Error **errp);
void smemv_seal_end_telling(SmemvSeal *s);

/* The key, with the destination's generation. */
void smemv_seal_put_key(SmemvSeal *s, QEMUFile *f);
void smemv_seal_get_key(QEMUFile *f, SmemvSealKey *key);

/*
 * Versions and tags that are not told yet: as many as the rate allows, or
 * with @last all of them. They are records of the stream section.
 */
void smemv_seal_put_tags(SmemvSeal *s, QEMUFile *f, bool last);
bool smemv_seal_get_tags(SmemvSeal *s, QEMUFile *f, Error **errp);

/* Bytes that they have in the stream. */
uint64_t smemv_seal_pending(SmemvSeal *s);

#endif
