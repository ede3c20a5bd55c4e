/*
 * One line a message to stderr, with the priority that the journal reads.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_LOG_H
#define SMEMV_LOG_H

#include <stdbool.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_INFO */
#include <time.h>

/* Writes one line; whatever would break it (control characters) becomes "?". */
__attribute__((format(printf, 2, 3)))
void log_line(int priority, const char *format, ...);

/* What a peer has made be logged. Begins as zeros. */
struct log_limit {
    time_t second;
    unsigned lines;    /* in that second */
    unsigned unlogged; /* since the last line that was logged */
};

/*
 * May one more line be logged? Not when there were LOG_LINES in this second,
 * or a peer could keep the journal, and who waits for it, busy. @unlogged
 * gets the lines that were not, for the one that is.
 */
#define LOG_LINES 10
bool log_allows(struct log_limit *limit, unsigned *unlogged);

#endif
