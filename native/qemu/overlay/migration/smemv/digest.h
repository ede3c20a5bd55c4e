/*
 * Digest: whether a page is still as it was.
 *
 * The digest is a polynomial of the page over GF(2^128) at a secret random
 * point: AES-GMAC (NIST SP 800-38D) with a key of this process, and always the
 * same nonce, as no digest ever leaves the process. Two pages that differ have
 * the same one with a probability of 257 / 2^128, whatever they hold: there is
 * nothing in it for a guest to find.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_DIGEST_H
#define SMEMV_DIGEST_H

/* All zeros: not known. */
typedef struct SmemvDigest {
    uint64_t words[2];
} SmemvDigest;

/* Of the page at @data: half a microsecond. */
SmemvDigest smemv_digest(const void *data);

static inline bool smemv_digest_known(const SmemvDigest *d)
{
    return d->words[0] | d->words[1];
}

static inline bool smemv_digest_equal(const SmemvDigest *a,
                                      const SmemvDigest *b)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1];
}

#endif
