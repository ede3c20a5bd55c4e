/*
 * The wire's encoder and decoder: what is written is read, every field that
 * is out of its range is refused, and checksums are those of the standard.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "check.h"

#include "smemv-wire.h"

#include <stdbool.h>
#include <string.h>

struct request_case {
    unsigned opcode, count;
    uint64_t address;
    bool valid;
    size_t payload;
};

#define LIMIT SMEMV_WIRE_ADDRESS_LIMIT

static const struct request_case request_cases[] = {
    { SMEMV_WIRE_HELLO, 0, 0, true, 16 },
    { SMEMV_WIRE_HELLO, 1, 0, false, 0 },
    { SMEMV_WIRE_HELLO, 0, 4096, false, 0 },
    { SMEMV_WIRE_OPEN, 0, 0, true, 160 },
    { SMEMV_WIRE_OPEN, 1, 0, false, 0 },
    { SMEMV_WIRE_OPEN, 0, 1, false, 0 },
    { SMEMV_WIRE_ATTACH, 0, 0, true, 72 },
    { SMEMV_WIRE_ATTACH, 256, 0, false, 0 },
    { SMEMV_WIRE_ATTACH, 0, 1, false, 0 },
    { SMEMV_WIRE_PUT, 1, 0, true, 4104 },
    { SMEMV_WIRE_PUT, 256, 4096, true, SMEMV_WIRE_MAX_PAYLOAD },
    { SMEMV_WIRE_PUT, 0, 0, false, 0 },
    { SMEMV_WIRE_PUT, 257, 0, false, 0 },
    { SMEMV_WIRE_PUT, 65535, 0, false, 0 },
    { SMEMV_WIRE_PUT, 1, 1, false, 0 },
    { SMEMV_WIRE_PUT, 1, 4095, false, 0 },
    { SMEMV_WIRE_PUT, 1, LIMIT - 4096, true, 4104 },
    { SMEMV_WIRE_PUT, 2, LIMIT - 4096, false, 0 },
    { SMEMV_WIRE_PUT, 1, LIMIT, false, 0 },
    { SMEMV_WIRE_PUT, 1, UINT64_MAX - 4095, false, 0 },
    { SMEMV_WIRE_PUT, 256, UINT64_MAX - 4095, false, 0 },
    { SMEMV_WIRE_GET, 256, LIMIT - 256 * 4096, true, 0 },
    { SMEMV_WIRE_GET, 256, LIMIT - 255 * 4096, false, 0 },
    { SMEMV_WIRE_GET, 0, 0, false, 0 },
    { SMEMV_WIRE_GET, 257, 0, false, 0 },
    { SMEMV_WIRE_GET, 1, 2048, false, 0 },
    { SMEMV_WIRE_DROP, 256, 0, true, 0 },
    { SMEMV_WIRE_DROP, 0, 0, false, 0 },
    { SMEMV_WIRE_DROP, 1, 7, false, 0 },
    { SMEMV_WIRE_SYNC, 0, 0, true, 0 },
    { SMEMV_WIRE_SYNC, 1, 0, false, 0 },
    { SMEMV_WIRE_SYNC, 0, 4096, false, 0 },
    { SMEMV_WIRE_STAT, 0, 0, true, 0 },
    { SMEMV_WIRE_STAT, 1, 0, false, 0 },
    { SMEMV_WIRE_STAT, 0, 1, false, 0 },
    { SMEMV_WIRE_CLOSE, 0, 0, true, 48 },
    { SMEMV_WIRE_CLOSE, 1, 0, false, 0 },
    { SMEMV_WIRE_CLOSE, 0, 1, false, 0 },
    { SMEMV_WIRE_CLAIM, 0, 0, true, 0 },
    { SMEMV_WIRE_CLAIM, 0, UINT64_MAX, true, 0 },
    { SMEMV_WIRE_CLAIM, 1, 1, false, 0 },
    { SMEMV_WIRE_RESERVE, 0, 12345, true, 0 },
    { SMEMV_WIRE_RESERVE, 1, 12345, false, 0 },
    { SMEMV_WIRE_COPY, 1, 0, true, 280 },
    { SMEMV_WIRE_COPY, 256, LIMIT - 256 * 4096, true, 280 },
    { SMEMV_WIRE_COPY, 256, LIMIT - 255 * 4096, false, 0 },
    { SMEMV_WIRE_COPY, 0, 0, false, 0 },
    { SMEMV_WIRE_COPY, 257, 0, false, 0 },
    { SMEMV_WIRE_COPY, 1, 512, false, 0 },
    { 0, 0, 0, false, 0 },
    { SMEMV_WIRE_COPY + 1, 0, 0, false, 0 },
    { 255, 0, 0, false, 0 },
};

static void check_requests(void)
{
    for (size_t i = 0; i < sizeof(request_cases) / sizeof(*request_cases);
         i++) {
        const struct request_case *expected = &request_cases[i];
        const struct smemv_wire_request in = {
            .opcode = (uint8_t)expected->opcode,
            .count = (uint16_t)expected->count,
            .tag = 0x01020304,
            .address = expected->address,
        };
        struct smemv_wire_request out;
        uint8_t buf[SMEMV_WIRE_HEADER_SIZE];
        const char *wrong;

        smemv_wire_put_request(buf, &in);
        wrong = smemv_wire_get_request(buf, &out);
        if (expected->valid != !wrong) {
            fprintf(stderr, "case %zu: %s\n", i, wrong ? wrong : "accepted");
            exit(1);
        }
        CHECK(out.opcode == in.opcode && out.count == in.count);
        CHECK(out.tag == in.tag && out.address == in.address);
        if (expected->valid) {
            CHECK(smemv_wire_payload_size(&out) == expected->payload);
            for (unsigned magic = 0; magic < 256; magic++) {
                buf[0] = (uint8_t)magic;
                CHECK(!smemv_wire_get_request(buf, &out) ==
                      (magic == SMEMV_WIRE_MAGIC_REQUEST));
            }
        }
    }
}

/* The bytes themselves, as protocol.md has them. */
static void check_layout(void)
{
    static const uint8_t expected[] = { 0x53, 4,    2,    1,    4,    3,
                                        2,    1,    0,    0x10, 0x20, 0x30,
                                        0x40, 0x50, 0x60, 0 };
    static const uint8_t response[] = { 0x73, 5, 7, 0, 4, 3, 2, 1,
                                        8,    7, 6, 5, 1, 0, 0, 0 };
    const struct smemv_wire_request r = { SMEMV_WIRE_PUT, 0x102, 0x01020304,
                                          UINT64_C(0x0060504030201000) };
    const struct smemv_wire_response s = { SMEMV_WIRE_GET, 7, 0x01020304,
                                           0x05060708, 1 };
    uint8_t buf[SMEMV_WIRE_HEADER_SIZE];

    smemv_wire_put_request(buf, &r);
    CHECK(memcmp(buf, expected, sizeof(buf)) == 0);
    smemv_wire_put_response(buf, &s);
    CHECK(memcmp(buf, response, sizeof(buf)) == 0);
}

struct response_case {
    unsigned opcode, status;
    uint32_t length, count;
    bool valid;
};

static const struct response_case response_cases[] = {
    { SMEMV_WIRE_HELLO, SMEMV_WIRE_OK, 16, 0, true },
    { SMEMV_WIRE_HELLO, SMEMV_WIRE_OK, 15, 0, false },
    { SMEMV_WIRE_OPEN, SMEMV_WIRE_OK, 8, 0, true },
    { SMEMV_WIRE_OPEN, SMEMV_WIRE_OK, 0, 0, false },
    { SMEMV_WIRE_OPEN, SMEMV_WIRE_OK, 8, 1, false },
    { SMEMV_WIRE_PUT, SMEMV_WIRE_OK, 0, 0, true },
    { SMEMV_WIRE_PUT, SMEMV_WIRE_OK, 1, 0, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 8, 0, true },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 4104, 1, true },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 4112, 1, true },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, SMEMV_WIRE_MAX_PAYLOAD, 256, true },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 0, 0, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 4096, 1, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 4105, 1, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 8200, 2, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 257 * 8, 0, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 257 * 4104, 257, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 8, UINT32_MAX, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_OK, 4104, (1u << 20) + 1, false },
    { SMEMV_WIRE_STAT, SMEMV_WIRE_OK, SMEMV_WIRE_MAX_PAYLOAD, 0, true },
    { SMEMV_WIRE_STAT, SMEMV_WIRE_OK, SMEMV_WIRE_MAX_PAYLOAD + 1, 0, false },
    { SMEMV_WIRE_STAT, SMEMV_WIRE_OK, 100, 1, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_STALE, 512, 0, true },
    { SMEMV_WIRE_GET, SMEMV_WIRE_STALE, 513, 0, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_STALE, 0, 1, false },
    { SMEMV_WIRE_GET, SMEMV_WIRE_DRAINING, 0, 0, true },
    { SMEMV_WIRE_COPY, SMEMV_WIRE_OK, 8, 0, true },
    { SMEMV_WIRE_COPY, SMEMV_WIRE_OK, 0, 0, false },
    { SMEMV_WIRE_COPY, SMEMV_WIRE_OK, 8, 1, false },
    { SMEMV_WIRE_COPY, SMEMV_WIRE_COPY_FAILED, 512, 0, true },
    { SMEMV_WIRE_COPY, SMEMV_WIRE_COPY_FAILED + 1, 0, 0, false },
    { 200, SMEMV_WIRE_BAD_REQUEST, 5, 0, true },
    { 200, SMEMV_WIRE_OK, 0, 0, false },
    { 0, SMEMV_WIRE_OK, 0, 0, false },
};

static void check_responses(void)
{
    for (size_t i = 0; i < sizeof(response_cases) / sizeof(*response_cases);
         i++) {
        const struct response_case *expected = &response_cases[i];
        const struct smemv_wire_response in = {
            .opcode = (uint8_t)expected->opcode,
            .status = (uint16_t)expected->status,
            .tag = 0xfefdfcfb,
            .length = expected->length,
            .count = expected->count,
        };
        struct smemv_wire_response out;
        uint8_t buf[SMEMV_WIRE_HEADER_SIZE];
        const char *wrong;

        smemv_wire_put_response(buf, &in);
        wrong = smemv_wire_get_response(buf, &out);
        if (expected->valid != !wrong) {
            fprintf(stderr, "response %zu: %s\n", i, wrong ? wrong : "accepted");
            exit(1);
        }
        CHECK(out.opcode == in.opcode && out.status == in.status);
        CHECK(out.tag == in.tag && out.length == in.length);
        CHECK(out.count == in.count);
        buf[0] = SMEMV_WIRE_MAGIC_REQUEST;
        CHECK(smemv_wire_get_response(buf, &out));
    }
}

static void check_entries(void)
{
    struct smemv_wire_entry in = { SMEMV_WIRE_ENTRY_PRESENT, 0x12345678 };
    struct smemv_wire_entry out;
    uint8_t buf[SMEMV_WIRE_ENTRY_SIZE];

    smemv_wire_put_entry(buf, &in);
    CHECK(!smemv_wire_get_entry(buf, &out));
    CHECK(out.flags == in.flags && out.crc == in.crc);
    for (unsigned bit = 1; bit < 32; bit++) {
        in.flags = SMEMV_WIRE_ENTRY_PRESENT | UINT32_C(1) << bit;
        smemv_wire_put_entry(buf, &in);
        CHECK(smemv_wire_get_entry(buf, &out));
    }
    in = (struct smemv_wire_entry){ 0, 0 };
    smemv_wire_put_entry(buf, &in);
    CHECK(!smemv_wire_get_entry(buf, &out));
    in.crc = 1;
    smemv_wire_put_entry(buf, &in);
    CHECK(smemv_wire_get_entry(buf, &out));
}

static void check_hello(void)
{
    const struct smemv_wire_hello in = { 1, 0x203, 0x04050607 };
    struct smemv_wire_hello out;
    uint8_t buf[SMEMV_WIRE_HELLO_SIZE];

    smemv_wire_put_hello(buf, &in);
    CHECK(!smemv_wire_get_hello(buf, &out));
    CHECK(out.version_min == in.version_min && out.features == in.features);
    CHECK(out.version_max == in.version_max);
    for (size_t i = 8; i < sizeof(buf); i++) {
        buf[i] = 1;
        CHECK(smemv_wire_get_hello(buf, &out));
        buf[i] = 0;
    }
}

static void check_open(void)
{
    struct smemv_wire_open in = { .id = { 1, [15] = 2 },
                                  .token = { 3, [31] = 4 },
                                  .holder = { 5, [15] = 6 },
                                  .reserve = UINT64_MAX,
                                  .flags = SMEMV_WIRE_OPEN_EARLY,
                                  .name = "a.B_9-z" };
    struct smemv_wire_open out;
    uint8_t buf[SMEMV_WIRE_OPEN_SIZE];

    smemv_wire_put_open(buf, &in);
    CHECK(!smemv_wire_get_open(buf, &out));
    CHECK(memcmp(&in, &out, sizeof(in)) == 0);
    for (size_t i = 72; i < 80; i++) {
        buf[i] ^= 2;
        CHECK(smemv_wire_get_open(buf, &out));
        buf[i] ^= 2;
    }
    for (unsigned c = 1; c < 256; c++) {
        bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c >= '0' && c <= '9') || strchr("._-", (int)c);

        buf[80 + 3] = (uint8_t)c;
        CHECK(!smemv_wire_get_open(buf, &out) == allowed);
    }
    buf[80 + 3] = '_';
    buf[80 + 79] = 'x'; /* behind the end of the name */
    CHECK(smemv_wire_get_open(buf, &out));
    memset(buf + 80, 'x', 80); /* without an end */
    CHECK(smemv_wire_get_open(buf, &out));
    buf[80 + 79] = 0;
    CHECK(!smemv_wire_get_open(buf, &out));
}

static void check_attach_and_close(void)
{
    const struct smemv_wire_attach in = { .id = { 1, [15] = 2 },
                                          .token = { 3, [31] = 4 },
                                          .holder = { 5, [15] = 6 },
                                          .epoch = UINT64_C(1) << 63 };
    const struct smemv_wire_close close_in = { .id = { 1, [15] = 2 },
                                               .token = { 3, [31] = 4 } };
    struct smemv_wire_attach out;
    struct smemv_wire_close close_out;
    uint8_t buf[SMEMV_WIRE_ATTACH_SIZE];

    smemv_wire_put_attach(buf, &in);
    CHECK(!smemv_wire_get_attach(buf, &out));
    CHECK(memcmp(&in, &out, sizeof(in)) == 0);
    smemv_wire_put_close(buf, &close_in);
    CHECK(!smemv_wire_get_close(buf, &close_out));
    CHECK(memcmp(&close_in, &close_out, sizeof(close_in)) == 0);
}

static void check_copy(void)
{
    struct smemv_wire_copy in = { .holder = { 5, [15] = 6 },
                                  .port = 0x1234,
                                  .host = "fe80::1%eth0.A_b-9" };
    struct smemv_wire_copy out;
    uint8_t buf[SMEMV_WIRE_COPY_SIZE];

    smemv_wire_put_copy(buf, &in);
    CHECK(!smemv_wire_get_copy(buf, &out));
    CHECK(memcmp(&in, &out, sizeof(in)) == 0);
    CHECK(buf[15] == 6 && buf[16] == 0x34 && buf[17] == 0x12);
    CHECK(buf[24] == 'f' && buf[25] == 'e');
    for (size_t i = 18; i < 24; i++) {
        buf[i] = 1;
        CHECK(smemv_wire_get_copy(buf, &out));
        buf[i] = 0;
    }
    for (unsigned c = 1; c < 256; c++) {
        bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c >= '0' && c <= '9') || strchr("._-:%", (int)c);

        buf[24 + 3] = (uint8_t)c;
        CHECK(!smemv_wire_get_copy(buf, &out) == allowed);
    }
    buf[24 + 3] = '0';
    buf[24 + 255] = 'x'; /* behind the end of the name */
    CHECK(smemv_wire_get_copy(buf, &out));
    memset(buf + 24, 'x', 256); /* without an end */
    CHECK(smemv_wire_get_copy(buf, &out));
    buf[24 + 255] = 0;
    CHECK(!smemv_wire_get_copy(buf, &out));
    memset(buf + 24, 0, 256); /* no name */
    CHECK(smemv_wire_get_copy(buf, &out));
    in.port = 0;
    smemv_wire_put_copy(buf, &in);
    CHECK(smemv_wire_get_copy(buf, &out));
}

static void check_names(void)
{
    CHECK(strcmp(smemv_wire_opcode_name(SMEMV_WIRE_HELLO), "HELLO") == 0);
    CHECK(strcmp(smemv_wire_opcode_name(SMEMV_WIRE_RESERVE), "RESERVE") == 0);
    CHECK(strcmp(smemv_wire_opcode_name(0), "?") == 0);
    CHECK(strcmp(smemv_wire_opcode_name(SMEMV_WIRE_COPY), "COPY") == 0);
    CHECK(strcmp(smemv_wire_opcode_name(13), "?") == 0);
    CHECK(strcmp(smemv_wire_opcode_name(UINT32_MAX), "?") == 0);
    CHECK(strcmp(smemv_wire_status_name(SMEMV_WIRE_NO_VERSION), "VERSION") == 0);
    CHECK(strcmp(smemv_wire_status_name(SMEMV_WIRE_DRAINING), "DRAINING") == 0);
    CHECK(strcmp(smemv_wire_status_name(SMEMV_WIRE_COPY_FAILED),
                 "COPY_FAILED") == 0);
    CHECK(strcmp(smemv_wire_status_name(13), "?") == 0);
}

/* Bit by bit, as RFC 3720 B.4 has it. */
static uint32_t plain_crc32c(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

static void check_crc32c(void)
{
    static uint8_t data[3 * 4096];
    uint64_t state = 1;

    CHECK(smemv_wire_crc32c("123456789", 9) == 0xe3069283);
    CHECK(smemv_wire_crc32c(data, 32) == 0x8a9136aa);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(random_next(&state) >> 32);
    }
    for (size_t size = 0; size < sizeof(data) - 8; size += 1 + size / 40) {
        for (size_t start = 0; start < 8; start += 3) {
            CHECK(smemv_wire_crc32c(data + start, size) ==
                  plain_crc32c(data + start, size));
        }
    }
    CHECK(smemv_wire_crc32c(data, 4096) == plain_crc32c(data, 4096));
}

int main(void)
{
    check_layout();
    check_requests();
    check_responses();
    check_entries();
    check_hello();
    check_open();
    check_attach_and_close();
    check_copy();
    check_names();
    check_crc32c();
    return 0;
}
