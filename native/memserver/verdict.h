/*
 * The answer to a request: a status of the wire, and why it is not OK.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_VERDICT_H
#define SMEMV_VERDICT_H

#include "../wire/smemv-wire.h"

struct verdict {
    enum smemv_wire_status status;
    uint64_t value;                 /* that OK comes with, where it does */
    char text[SMEMV_WIRE_TEXT_SIZE]; /* why not OK, for peer and journal */
};

struct verdict verdict_ok(uint64_t value);

/* NO_SPACE: the host does not have what is reserved. */
struct verdict verdict_no_memory(void);

__attribute__((format(printf, 2, 3)))
struct verdict verdict_refuse(enum smemv_wire_status status,
                              const char *format, ...);

#endif
