/*
 * One line a message to stderr, with the priority that the journal reads.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

bool log_allows(struct log_limit *limit, unsigned *unlogged)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (now.tv_sec != limit->second) {
        limit->second = now.tv_sec;
        limit->lines = 0;
    }
    if (limit->lines == LOG_LINES) {
        limit->unlogged++;
        return false;
    }
    limit->lines++;
    *unlogged = limit->unlogged;
    limit->unlogged = 0;
    return true;
}

void log_line(int priority, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    size_t length;
    int prefix, text;

    prefix = snprintf(line, sizeof(line), "<%d>", priority);
    va_start(arguments, format);
    text = vsnprintf(line + prefix, sizeof(line) - (size_t)prefix - 1, format,
                     arguments);
    va_end(arguments);
    if (text < 0) {
        return;
    }
    length = (size_t)prefix + (size_t)text;
    if (length > sizeof(line) - 2) {
        length = sizeof(line) - 2;
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < ' ') {
            line[i] = '?';
        }
    }
    line[length++] = '\n';
    /* In one write, so that lines of several threads stay whole. */
    if (write(STDERR_FILENO, line, length) < 0) {
        return; /* nobody is left to tell */
    }
}
