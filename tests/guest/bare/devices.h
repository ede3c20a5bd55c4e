/*
 * The three devices that the bare guest knows: the serial port, the clock in
 * CMOS, and the processor's time stamp counter.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef DEVICES_H
#define DEVICES_H

#include <stdint.h>

/* Print to COM1. */
void print(const char *text);
void print_number(uint32_t number);
void print_hex(uint32_t number);

/* Seconds since midnight. It goes on while the VM is stopped. */
uint32_t seconds(void);

/* It may stand still while the VM is stopped. */
uint64_t ticks(void);

#endif
