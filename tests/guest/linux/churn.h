/*
 * Churn: a thread that takes memory, writes and checks it, and gives it back.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef CHURN_H
#define CHURN_H

#include <stdint.h>

/* Start it, with @bytes each time. */
void churn_start(uint64_t bytes);

/* Times that it has given memory back, and pages that were wrong then. */
uint64_t churn_rounds(void);
uint64_t churn_wrong(void);

#endif
