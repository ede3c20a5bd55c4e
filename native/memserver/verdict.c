/*
 * The answer to a request: a status of the wire, and why it is not OK.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "verdict.h"

#include <stdarg.h>
#include <stdio.h>

struct verdict verdict_ok(uint64_t value)
{
    struct verdict verdict;

    verdict.status = SMEMV_WIRE_OK;
    verdict.value = value;
    verdict.text[0] = '\0';
    return verdict;
}

struct verdict verdict_refuse(enum smemv_wire_status status,
                              const char *format, ...)
{
    struct verdict verdict;
    va_list arguments;

    verdict.status = status;
    verdict.value = 0;
    va_start(arguments, format);
    vsnprintf(verdict.text, sizeof(verdict.text), format, arguments);
    va_end(arguments);
    return verdict;
}

struct verdict verdict_no_memory(void)
{
    return verdict_refuse(SMEMV_WIRE_NO_SPACE,
                          "the host has no memory for the reservation");
}
