/*
 * The system calls that are left to the process once it serves.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_SYSCALLS_H
#define SMEMV_SYSCALLS_H

#include <stdbool.h>

/*
 * Takes every other system call from all threads, for good; needs
 * no_new_privs. False: it has told the journal why not.
 */
bool syscalls_restrict(void);

#endif
