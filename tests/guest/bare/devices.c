/*
 * The three devices that the bare guest knows.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "devices.h"

#define COM1 0x3f8
#define COM1_LINE_STATUS (COM1 + 5)
#define TRANSMITTER_EMPTY 0x20

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define CMOS_SECONDS 0x00
#define CMOS_MINUTES 0x02
#define CMOS_HOURS 0x04

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a" (value), "Nd" (port));
}

static uint8_t in(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static void print_char(char c)
{
    while (!(in(COM1_LINE_STATUS) & TRANSMITTER_EMPTY)) {
        continue;
    }
    out(COM1, c);
}

void print(const char *text)
{
    while (*text) {
        print_char(*text++);
    }
}

void print_number(uint32_t number)
{
    if (number >= 10) {
        print_number(number / 10);
    }
    print_char('0' + number % 10);
}

void print_hex(uint32_t number)
{
    print("0x");
    for (int shift = 28; shift >= 0; shift -= 4) {
        print_char("0123456789abcdef"[(number >> shift) & 15]);
    }
}

static uint32_t cmos(uint8_t index)
{
    uint8_t bcd;

    out(CMOS_INDEX, index);
    bcd = in(CMOS_DATA);
    return (bcd >> 4) * 10 + (bcd & 15);
}

uint32_t seconds(void)
{
    uint32_t second, minute, hour;

    /* Read again if the clock went on in between. */
    do {
        second = cmos(CMOS_SECONDS);
        minute = cmos(CMOS_MINUTES);
        hour = cmos(CMOS_HOURS);
    } while (second != cmos(CMOS_SECONDS));
    return (hour * 60 + minute) * 60 + second;
}

uint64_t ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a" (low), "=d" (high));
    return (uint64_t)high << 32 | low;
}
