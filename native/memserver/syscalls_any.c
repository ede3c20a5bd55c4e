/*
 * In place of syscalls.c in a build with sanitizers, which make system calls of
 * their own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "syscalls.h"

bool syscalls_restrict(void)
{
    return true;
}
