/*
 * The numbers and layouts of the S-memV wire protocol, version 1.
 * protocol.md beside this file is the normative text.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_WIRE_H
#define SMEMV_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define SMEMV_WIRE_VERSION        1
#define SMEMV_WIRE_MAGIC_REQUEST  0x53
#define SMEMV_WIRE_MAGIC_RESPONSE 0x73
#define SMEMV_WIRE_HEADER_SIZE    16
#define SMEMV_WIRE_ENTRY_SIZE     8
#define SMEMV_WIRE_PAGE_BITS      12
#define SMEMV_WIRE_PAGE_SIZE      4096
#define SMEMV_WIRE_MAX_PAGES      256
#define SMEMV_WIRE_ADDRESS_LIMIT  (UINT64_C(1) << 56)
#define SMEMV_WIRE_ID_SIZE        16
#define SMEMV_WIRE_TOKEN_SIZE     32
#define SMEMV_WIRE_HOLDER_SIZE    16
#define SMEMV_WIRE_NAME_SIZE      80
#define SMEMV_WIRE_HOST_SIZE      256
#define SMEMV_WIRE_TEXT_SIZE      512

#define SMEMV_WIRE_HELLO_SIZE     16
#define SMEMV_WIRE_OPEN_SIZE      160
#define SMEMV_WIRE_ATTACH_SIZE    72
#define SMEMV_WIRE_CLOSE_SIZE     48
#define SMEMV_WIRE_COPY_SIZE      280

/* The largest payload in either direction, and of any request or response. */
#define SMEMV_WIRE_MAX_PAYLOAD \
    (SMEMV_WIRE_MAX_PAGES * (SMEMV_WIRE_ENTRY_SIZE + SMEMV_WIRE_PAGE_SIZE))

enum smemv_wire_opcode {
    SMEMV_WIRE_HELLO = 1,
    SMEMV_WIRE_OPEN = 2,
    SMEMV_WIRE_ATTACH = 3,
    SMEMV_WIRE_PUT = 4,
    SMEMV_WIRE_GET = 5,
    SMEMV_WIRE_DROP = 6,
    SMEMV_WIRE_SYNC = 7,
    SMEMV_WIRE_STAT = 8,
    SMEMV_WIRE_CLOSE = 9,
    SMEMV_WIRE_CLAIM = 10,
    SMEMV_WIRE_RESERVE = 11,
    SMEMV_WIRE_COPY = 12,
};

enum smemv_wire_status {
    SMEMV_WIRE_OK = 0,
    SMEMV_WIRE_BAD_REQUEST = 1,
    SMEMV_WIRE_NO_VERSION = 2,
    SMEMV_WIRE_DENIED = 3,
    SMEMV_WIRE_NO_SESSION = 4,
    SMEMV_WIRE_EXISTS = 5,
    SMEMV_WIRE_NO_SPACE = 6,
    SMEMV_WIRE_RESERVATION = 7,
    SMEMV_WIRE_STALE = 8,
    SMEMV_WIRE_CHECKSUM = 9,
    SMEMV_WIRE_INTERNAL = 10,
    SMEMV_WIRE_DRAINING = 11,
    SMEMV_WIRE_COPY_FAILED = 12,
};

#define SMEMV_WIRE_ENTRY_PRESENT 0x1u

/* One page of a PUT, or of a GET's response. */
struct smemv_wire_entry {
    uint32_t flags;
    uint32_t crc;
};

struct smemv_wire_request {
    uint8_t opcode;
    uint16_t count;
    uint32_t tag;
    uint64_t address;
};

struct smemv_wire_response {
    uint8_t opcode;
    uint16_t status;
    uint32_t tag;
    uint32_t length;
    uint32_t count;
};

struct smemv_wire_hello {
    uint16_t version_min;
    uint16_t version_max;
    uint32_t features;
};

/* The answer is not to wait until the memory is ready: a RESERVE does. */
#define SMEMV_WIRE_OPEN_EARLY 1u

struct smemv_wire_open {
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint8_t token[SMEMV_WIRE_TOKEN_SIZE];
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];
    uint64_t reserve;
    uint64_t flags;
    char name[SMEMV_WIRE_NAME_SIZE];
};

struct smemv_wire_attach {
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint8_t token[SMEMV_WIRE_TOKEN_SIZE];
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];
    uint64_t epoch; /* 0: no session's, so the holder decides */
};

struct smemv_wire_close {
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint8_t token[SMEMV_WIRE_TOKEN_SIZE];
};

/* Where a COPY's pages go: the memserver, and who holds the session there. */
struct smemv_wire_copy {
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];
    uint16_t port;
    char host[SMEMV_WIRE_HOST_SIZE];
};

/*
 * Encoders write exactly the SIZE bytes named above at @buf.
 */
void smemv_wire_put_request(uint8_t *buf, const struct smemv_wire_request *r);
void smemv_wire_put_response(uint8_t *buf, const struct smemv_wire_response *r);
void smemv_wire_put_entry(uint8_t *buf, const struct smemv_wire_entry *e);
void smemv_wire_put_hello(uint8_t *buf, const struct smemv_wire_hello *h);
void smemv_wire_put_open(uint8_t *buf, const struct smemv_wire_open *o);
void smemv_wire_put_attach(uint8_t *buf, const struct smemv_wire_attach *a);
void smemv_wire_put_close(uint8_t *buf, const struct smemv_wire_close *c);
void smemv_wire_put_copy(uint8_t *buf, const struct smemv_wire_copy *c);
void smemv_wire_put_u64(uint8_t *buf, uint64_t value);
uint64_t smemv_wire_get_u64(const uint8_t *buf);

/*
 * Decoders check every field of the SIZE bytes at @buf. They return NULL, or
 * a constant sentence that says what is wrong (the request is then
 * BAD_REQUEST; @r is filled as far as it could be, so that the tag can be
 * answered).
 */
const char *smemv_wire_get_request(const uint8_t *buf,
                                   struct smemv_wire_request *r);
const char *smemv_wire_get_response(const uint8_t *buf,
                                    struct smemv_wire_response *r);
const char *smemv_wire_get_entry(const uint8_t *buf,
                                 struct smemv_wire_entry *e);
const char *smemv_wire_get_hello(const uint8_t *buf,
                                 struct smemv_wire_hello *h);
const char *smemv_wire_get_open(const uint8_t *buf, struct smemv_wire_open *o);
const char *smemv_wire_get_attach(const uint8_t *buf,
                                  struct smemv_wire_attach *a);
const char *smemv_wire_get_close(const uint8_t *buf,
                                 struct smemv_wire_close *c);
const char *smemv_wire_get_copy(const uint8_t *buf, struct smemv_wire_copy *c);

/* Bytes of payload behind the header of a valid request. */
size_t smemv_wire_payload_size(const struct smemv_wire_request *r);

/* "PUT", "RESERVATION", ...; "?" for a number that is none. */
const char *smemv_wire_opcode_name(unsigned opcode);
const char *smemv_wire_status_name(unsigned status);

/*
 * CRC32C (Castagnoli, RFC 3720 B.4) of @size bytes, by the processor's own
 * instruction where it has one.
 */
uint32_t smemv_wire_crc32c(const void *data, size_t size);

#endif
