/*
 * Encoder and decoder of the S-memV wire protocol: bytes to structs and back.
 *
 * No I/O, no allocation, no state. The memserver and QEMU compile this file
 * unchanged. protocol.md is the normative text.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "smemv-wire.h"

#include <stdbool.h>
#include <string.h>

/*
 * Bytes are put together one by one: right on every byte order and alignment,
 * and compilers make one move of it.
 */
static void put_u16(uint8_t *buf, uint16_t value)
{
    buf[0] = (uint8_t)value;
    buf[1] = (uint8_t)(value >> 8);
}

static void put_u32(uint8_t *buf, uint32_t value)
{
    put_u16(buf, (uint16_t)value);
    put_u16(buf + 2, (uint16_t)(value >> 16));
}

static uint16_t get_u16(const uint8_t *buf)
{
    return (uint16_t)(buf[0] | buf[1] << 8);
}

static uint32_t get_u32(const uint8_t *buf)
{
    return get_u16(buf) | (uint32_t)get_u16(buf + 2) << 16;
}

void smemv_wire_put_u64(uint8_t *buf, uint64_t value)
{
    put_u32(buf, (uint32_t)value);
    put_u32(buf + 4, (uint32_t)(value >> 32));
}

uint64_t smemv_wire_get_u64(const uint8_t *buf)
{
    return get_u32(buf) | (uint64_t)get_u32(buf + 4) << 32;
}

/* What the request of an opcode carries. */
enum address_use {
    ADDRESS_ZERO,   /* nothing */
    ADDRESS_PAGES,  /* a range of pages, with count */
    ADDRESS_NUMBER, /* a number of its own: an epoch, a size */
};

struct opcode_info {
    const char *name;
    enum address_use address;
    size_t fixed_payload;    /* of a request */
    size_t payload_per_page; /* of a request */
    size_t reply_payload;    /* of a response with status OK */
};

/* GET and STAT answer with as much as there is. */
#define REPLY_VARIES SIZE_MAX

static const struct opcode_info opcodes[] = {
    [SMEMV_WIRE_HELLO] = { .name = "HELLO",
                           .fixed_payload = SMEMV_WIRE_HELLO_SIZE,
                           .reply_payload = SMEMV_WIRE_HELLO_SIZE },
    [SMEMV_WIRE_OPEN] = { .name = "OPEN",
                          .fixed_payload = SMEMV_WIRE_OPEN_SIZE,
                          .reply_payload = 8 },
    [SMEMV_WIRE_ATTACH] = { .name = "ATTACH",
                            .fixed_payload = SMEMV_WIRE_ATTACH_SIZE,
                            .reply_payload = 8 },
    [SMEMV_WIRE_PUT] = { .name = "PUT", .address = ADDRESS_PAGES,
                         .payload_per_page = SMEMV_WIRE_ENTRY_SIZE +
                                             SMEMV_WIRE_PAGE_SIZE },
    [SMEMV_WIRE_GET] = { .name = "GET", .address = ADDRESS_PAGES,
                         .reply_payload = REPLY_VARIES },
    [SMEMV_WIRE_DROP] = { .name = "DROP", .address = ADDRESS_PAGES,
                          .reply_payload = 8 },
    [SMEMV_WIRE_SYNC] = { .name = "SYNC" },
    [SMEMV_WIRE_STAT] = { .name = "STAT", .reply_payload = REPLY_VARIES },
    [SMEMV_WIRE_CLOSE] = { .name = "CLOSE",
                           .fixed_payload = SMEMV_WIRE_CLOSE_SIZE },
    [SMEMV_WIRE_CLAIM] = { .name = "CLAIM", .address = ADDRESS_NUMBER,
                           .reply_payload = 8 },
    [SMEMV_WIRE_RESERVE] = { .name = "RESERVE", .address = ADDRESS_NUMBER,
                             .reply_payload = 8 },
    [SMEMV_WIRE_COPY] = { .name = "COPY", .address = ADDRESS_PAGES,
                          .fixed_payload = SMEMV_WIRE_COPY_SIZE,
                          .reply_payload = 8 },
};

static const char *const status_names[] = {
    [SMEMV_WIRE_OK] = "OK",
    [SMEMV_WIRE_BAD_REQUEST] = "BAD_REQUEST",
    [SMEMV_WIRE_NO_VERSION] = "VERSION",
    [SMEMV_WIRE_DENIED] = "DENIED",
    [SMEMV_WIRE_NO_SESSION] = "NO_SESSION",
    [SMEMV_WIRE_EXISTS] = "EXISTS",
    [SMEMV_WIRE_NO_SPACE] = "NO_SPACE",
    [SMEMV_WIRE_RESERVATION] = "RESERVATION",
    [SMEMV_WIRE_STALE] = "STALE",
    [SMEMV_WIRE_CHECKSUM] = "CHECKSUM",
    [SMEMV_WIRE_INTERNAL] = "INTERNAL",
    [SMEMV_WIRE_DRAINING] = "DRAINING",
    [SMEMV_WIRE_COPY_FAILED] = "COPY_FAILED",
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* NULL for a number that is no opcode. */
static const struct opcode_info *opcode_info(unsigned opcode)
{
    if (opcode >= COUNT_OF(opcodes) || !opcodes[opcode].name) {
        return NULL;
    }
    return &opcodes[opcode];
}

const char *smemv_wire_opcode_name(unsigned opcode)
{
    const struct opcode_info *info = opcode_info(opcode);

    return info ? info->name : "?";
}

const char *smemv_wire_status_name(unsigned status)
{
    return status < COUNT_OF(status_names) ? status_names[status] : "?";
}

void smemv_wire_put_request(uint8_t *buf, const struct smemv_wire_request *r)
{
    buf[0] = SMEMV_WIRE_MAGIC_REQUEST;
    buf[1] = r->opcode;
    put_u16(buf + 2, r->count);
    put_u32(buf + 4, r->tag);
    smemv_wire_put_u64(buf + 8, r->address);
}

void smemv_wire_put_response(uint8_t *buf, const struct smemv_wire_response *r)
{
    buf[0] = SMEMV_WIRE_MAGIC_RESPONSE;
    buf[1] = r->opcode;
    put_u16(buf + 2, r->status);
    put_u32(buf + 4, r->tag);
    put_u32(buf + 8, r->length);
    put_u32(buf + 12, r->count);
}

void smemv_wire_put_entry(uint8_t *buf, const struct smemv_wire_entry *e)
{
    put_u32(buf, e->flags);
    put_u32(buf + 4, e->crc);
}

void smemv_wire_put_hello(uint8_t *buf, const struct smemv_wire_hello *h)
{
    put_u16(buf, h->version_min);
    put_u16(buf + 2, h->version_max);
    put_u32(buf + 4, h->features);
    smemv_wire_put_u64(buf + 8, 0);
}

void smemv_wire_put_open(uint8_t *buf, const struct smemv_wire_open *o)
{
    memcpy(buf, o->id, SMEMV_WIRE_ID_SIZE);
    memcpy(buf + 16, o->token, SMEMV_WIRE_TOKEN_SIZE);
    memcpy(buf + 48, o->holder, SMEMV_WIRE_HOLDER_SIZE);
    smemv_wire_put_u64(buf + 64, o->reserve);
    smemv_wire_put_u64(buf + 72, o->flags);
    memcpy(buf + 80, o->name, SMEMV_WIRE_NAME_SIZE);
}

void smemv_wire_put_attach(uint8_t *buf, const struct smemv_wire_attach *a)
{
    memcpy(buf, a->id, SMEMV_WIRE_ID_SIZE);
    memcpy(buf + 16, a->token, SMEMV_WIRE_TOKEN_SIZE);
    memcpy(buf + 48, a->holder, SMEMV_WIRE_HOLDER_SIZE);
    smemv_wire_put_u64(buf + 64, a->epoch);
}

void smemv_wire_put_close(uint8_t *buf, const struct smemv_wire_close *c)
{
    memcpy(buf, c->id, SMEMV_WIRE_ID_SIZE);
    memcpy(buf + 16, c->token, SMEMV_WIRE_TOKEN_SIZE);
}

void smemv_wire_put_copy(uint8_t *buf, const struct smemv_wire_copy *c)
{
    memcpy(buf, c->holder, SMEMV_WIRE_HOLDER_SIZE);
    put_u16(buf + 16, c->port);
    put_u16(buf + 18, 0);
    put_u32(buf + 20, 0);
    memcpy(buf + 24, c->host, SMEMV_WIRE_HOST_SIZE);
}

const char *smemv_wire_get_request(const uint8_t *buf,
                                   struct smemv_wire_request *r)
{
    const struct opcode_info *info;

    r->opcode = buf[1];
    r->count = get_u16(buf + 2);
    r->tag = get_u32(buf + 4);
    r->address = smemv_wire_get_u64(buf + 8);

    if (buf[0] != SMEMV_WIRE_MAGIC_REQUEST) {
        return "the magic byte is not a request's";
    }
    info = opcode_info(r->opcode);
    if (!info) {
        return "unknown opcode";
    }
    if (info->address != ADDRESS_PAGES) {
        if (r->count != 0) {
            return "a count where the opcode takes none";
        }
        if (info->address == ADDRESS_ZERO && r->address != 0) {
            return "an address where the opcode takes none";
        }
        return NULL;
    }
    if (r->count < 1 || r->count > SMEMV_WIRE_MAX_PAGES) {
        return "the count is not within 1 and 256";
    }
    if (r->address % SMEMV_WIRE_PAGE_SIZE != 0) {
        return "the address is not a multiple of 4096";
    }
    if (r->address > SMEMV_WIRE_ADDRESS_LIMIT -
                     (uint64_t)r->count * SMEMV_WIRE_PAGE_SIZE) {
        return "the pages end above 2^56";
    }
    return NULL;
}

/*
 * A GET's payload is an entry for each page asked for, which only the
 * request says, and @count pages.
 */
static bool get_reply_is_possible(uint32_t length, uint32_t count)
{
    uint32_t entries;

    if (count > SMEMV_WIRE_MAX_PAGES ||
        length < count * SMEMV_WIRE_PAGE_SIZE) {
        return false;
    }
    entries = length - count * SMEMV_WIRE_PAGE_SIZE;
    return entries % SMEMV_WIRE_ENTRY_SIZE == 0 &&
           entries >= SMEMV_WIRE_ENTRY_SIZE &&
           entries >= count * SMEMV_WIRE_ENTRY_SIZE &&
           entries <= SMEMV_WIRE_MAX_PAGES * SMEMV_WIRE_ENTRY_SIZE;
}

const char *smemv_wire_get_response(const uint8_t *buf,
                                    struct smemv_wire_response *r)
{
    const struct opcode_info *info;

    r->opcode = buf[1];
    r->status = get_u16(buf + 2);
    r->tag = get_u32(buf + 4);
    r->length = get_u32(buf + 8);
    r->count = get_u32(buf + 12);

    if (buf[0] != SMEMV_WIRE_MAGIC_RESPONSE) {
        return "the magic byte is not a response's";
    }
    if (r->status >= COUNT_OF(status_names)) {
        return "unknown status";
    }
    if (r->status != SMEMV_WIRE_OK) {
        /* Any opcode: it may be the very one that was refused. */
        if (r->length > SMEMV_WIRE_TEXT_SIZE) {
            return "the text is longer than 512 bytes";
        }
        if (r->count != 0) {
            return "a count where the response has no pages";
        }
        return NULL;
    }
    info = opcode_info(r->opcode);
    if (!info) {
        return "unknown opcode";
    }
    if (r->opcode == SMEMV_WIRE_GET) {
        if (!get_reply_is_possible(r->length, r->count)) {
            return "length and count of a GET do not agree";
        }
        return NULL;
    }
    if (r->count != 0) {
        return "a count where the response has no pages";
    }
    if (info->reply_payload == REPLY_VARIES) {
        if (r->length > SMEMV_WIRE_MAX_PAYLOAD) {
            return "the payload is longer than any may be";
        }
    } else if (r->length != info->reply_payload) {
        return "the length is not the opcode's";
    }
    return NULL;
}

const char *smemv_wire_get_entry(const uint8_t *buf,
                                 struct smemv_wire_entry *e)
{
    e->flags = get_u32(buf);
    e->crc = get_u32(buf + 4);

    if (e->flags & ~SMEMV_WIRE_ENTRY_PRESENT) {
        return "unknown flags in a page entry";
    }
    if (!(e->flags & SMEMV_WIRE_ENTRY_PRESENT) && e->crc != 0) {
        return "a checksum for a page that is not present";
    }
    return NULL;
}

/*
 * Both directions: a reply has the chosen version where the request has its
 * lowest. Whether there is a common version is not a matter of form.
 */
const char *smemv_wire_get_hello(const uint8_t *buf,
                                 struct smemv_wire_hello *h)
{
    h->version_min = get_u16(buf);
    h->version_max = get_u16(buf + 2);
    h->features = get_u32(buf + 4);

    if (smemv_wire_get_u64(buf + 8) != 0) {
        return "the reserved field of HELLO is not 0";
    }
    return NULL;
}

/* Letters, digits, and those in @others. */
static bool is_allowed(char c, const char *others)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || strchr(others, c);
}

/* A name of @size bytes: allowed characters, and then NULs to the end. */
static const char *check_name(const char *name, size_t size, const char *others)
{
    size_t length = 0;
    size_t i;

    while (length < size && name[length]) {
        if (!is_allowed(name[length], others)) {
            return "a character in the name that is not allowed there";
        }
        length++;
    }
    if (length == size) {
        return "the name does not end with NUL";
    }
    for (i = length; i < size; i++) {
        if (name[i]) {
            return "the name goes on behind its end";
        }
    }
    return NULL;
}

const char *smemv_wire_get_open(const uint8_t *buf, struct smemv_wire_open *o)
{
    memcpy(o->id, buf, SMEMV_WIRE_ID_SIZE);
    memcpy(o->token, buf + 16, SMEMV_WIRE_TOKEN_SIZE);
    memcpy(o->holder, buf + 48, SMEMV_WIRE_HOLDER_SIZE);
    o->reserve = smemv_wire_get_u64(buf + 64);
    o->flags = smemv_wire_get_u64(buf + 72);
    memcpy(o->name, buf + 80, SMEMV_WIRE_NAME_SIZE);

    if (o->flags & ~(uint64_t)SMEMV_WIRE_OPEN_EARLY) {
        return "unknown flags in OPEN";
    }
    return check_name(o->name, SMEMV_WIRE_NAME_SIZE, "._-");
}

/* Any bytes are an id, a token, a holder or an epoch: nothing is malformed. */
const char *smemv_wire_get_attach(const uint8_t *buf,
                                  struct smemv_wire_attach *a)
{
    memcpy(a->id, buf, SMEMV_WIRE_ID_SIZE);
    memcpy(a->token, buf + 16, SMEMV_WIRE_TOKEN_SIZE);
    memcpy(a->holder, buf + 48, SMEMV_WIRE_HOLDER_SIZE);
    a->epoch = smemv_wire_get_u64(buf + 64);
    return NULL;
}

/* Likewise. */
const char *smemv_wire_get_close(const uint8_t *buf,
                                 struct smemv_wire_close *c)
{
    memcpy(c->id, buf, SMEMV_WIRE_ID_SIZE);
    memcpy(c->token, buf + 16, SMEMV_WIRE_TOKEN_SIZE);
    return NULL;
}

const char *smemv_wire_get_copy(const uint8_t *buf, struct smemv_wire_copy *c)
{
    memcpy(c->holder, buf, SMEMV_WIRE_HOLDER_SIZE);
    c->port = get_u16(buf + 16);
    memcpy(c->host, buf + 24, SMEMV_WIRE_HOST_SIZE);

    if (get_u16(buf + 18) != 0 || get_u32(buf + 20) != 0) {
        return "a reserved field of COPY is not 0";
    }
    if (c->port == 0) {
        return "COPY to port 0";
    }
    if (!c->host[0]) {
        return "COPY to no host";
    }
    return check_name(c->host, SMEMV_WIRE_HOST_SIZE, "._-:%");
}

size_t smemv_wire_payload_size(const struct smemv_wire_request *r)
{
    const struct opcode_info *info = opcode_info(r->opcode);

    return info->fixed_payload + info->payload_per_page * r->count;
}
