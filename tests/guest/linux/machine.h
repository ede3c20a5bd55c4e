/*
 * The machine around the guest program: what init must set up, and what a
 * test wants to know of it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

/* Print a line that begins "smemv-guest: ", whole, whatever others print. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Say why, and power the machine off. */
void give_up(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* Mount /proc, /sys and /dev, and load the modules in /modules in turn. */
void machine_set_up(void);

/* Print the configuration as a line: CPUs, memory, disks, network cards. */
void machine_describe(void);

/* The guest-physical address behind @address; 0 if it has none. */
uint64_t machine_physical(const void *address);

#endif
