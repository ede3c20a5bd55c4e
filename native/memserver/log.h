/*
 * One line a message to stderr, with the priority that the journal reads.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_LOG_H
#define SMEMV_LOG_H

#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_INFO */

/* Writes one line; whatever would break it (control characters) becomes "?". */
__attribute__((format(printf, 2, 3)))
void log_line(int priority, const char *format, ...);

#endif
