/*
 * A guest without an operating system: fills memory, then reads, checks and
 * rewrites it for ever, as the Linux guest does.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * It needs nothing of a processor but 32-bit protected mode, so it runs where
 * a Linux guest does not. Loaded with -kernel; of the command line (-append)
 * it knows smemv.fill=NM (default: up to the end of the memory below 4 GiB)
 * and smemv.writes=PERCENT (default 50). It prints the same status line
 * as the Linux guest, each second.
 */
#include "devices.h"
#include "page.h"

#define SECONDS_A_DAY 86400u
#define LOOK_AT_CLOCK 64         /* accesses between two looks at the clock */

#define MULTIBOOT_HAS_COMMAND_LINE 0x4

struct multiboot {
    uint32_t flags;
    uint32_t memory_lower;      /* KiB below 1 MiB */
    uint32_t memory_upper;      /* KiB from 1 MiB up, without a gap */
    uint32_t boot_device;
    uint32_t command_line;
};

extern char image_end[];

static uint32_t pages, writes = 50;
static uint32_t *versions;
static char *memory;
static uint32_t accesses, filled, wrong;
static uint64_t longest_gap;

/* The number behind @name in the command line @line, or @other. */
static uint32_t parameter(const char *line, const char *name, uint32_t other)
{
    for (; *line; line++) {
        const char *l = line, *n = name;
        uint32_t value = 0;

        while (*n && *l == *n) {
            l++;
            n++;
        }
        if (*n) {
            continue;
        }
        for (; *l >= '0' && *l <= '9'; l++) {
            value = value * 10 + (*l - '0');
        }
        return value;
    }
    return other;
}

static uint32_t random_below(uint32_t limit)
{
    static uint32_t x = 0x9e3779b9;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % limit;
}

static uint32_t *page_at(uint32_t number)
{
    return (uint32_t *)(memory + number * PAGE_SIZE);
}

static void field(const char *name, uint32_t value)
{
    print(name);
    print_number(value);
}

static void field_hex(const char *name, uint32_t value)
{
    print(name);
    print_hex(value);
}

static void report_wrong(uint32_t number, uint32_t word)
{
    uint32_t *page = page_at(number);

    field("smemv-guest: wrong page=", number);
    field_hex(" physical=", (uintptr_t)page);
    field(" version=", versions[number]);
    field(" word=", word);
    field_hex(" expected=", page_word(word, number, versions[number]));
    field_hex(" found=", page[word]);
    field(" page_found=", page[0]);
    field(" version_found=", page[1]);
    print("\n");
}

static void access_page(uint32_t number)
{
    uint32_t *page = page_at(number);
    uint32_t word = page_check(page, number, versions[number]);

    if (word < PAGE_WORDS) {
        wrong++;
        report_wrong(number, word);
    }
    /* A wrong page is made right, so that it counts once. */
    if (word < PAGE_WORDS || random_below(100) < writes) {
        versions[number]++;
        page_write(page, number, versions[number]);
    }
    accesses++;
}

/* Ticks as milliseconds; both shifted so that a 32-bit division does. */
static uint32_t milliseconds(uint64_t gap, uint64_t ticks_a_second)
{
    uint32_t divisor = (uint32_t)(ticks_a_second >> 16);

    return divisor ? (uint32_t)(gap >> 16) * 1000 / divisor : 0;
}

static void report(uint32_t elapsed, uint32_t since, uint64_t ticks_a_second)
{
    static uint32_t last_done;

    field("smemv-guest: t=", elapsed);
    print(filled < pages ? " phase=fill" : " phase=run");
    field(" accesses=", accesses);
    field(" rate=", (filled + accesses - last_done) / since);
    field("/s wrong=", wrong);
    field(" pages=", pages);
    field(" maxgap_ms=", milliseconds(longest_gap, ticks_a_second));
    field(" filled=", filled);
    print("\n");
    last_done = filled + accesses;
    longest_gap = 0;
}

/* Called after each access: measures gaps, and reports each second. */
static void tick(void)
{
    static uint32_t calls, began, last;
    static uint64_t last_access, last_report, ticks_a_second;
    uint64_t t = ticks();
    uint32_t s;

    if (last_access && t - last_access > longest_gap) {
        longest_gap = t - last_access;
    }
    if (calls++ % LOOK_AT_CLOCK == 0) {
        s = seconds();
        if (!last_report) {
            began = last = s;
            last_report = t;
        } else if (s != last) {
            uint32_t since = (s + SECONDS_A_DAY - last) % SECONDS_A_DAY;

            /* While the VM was stopped, seconds went by without ticks. */
            if (since == 1 && t - last_report > ticks_a_second) {
                ticks_a_second = t - last_report;
            }
            report((s + SECONDS_A_DAY - began) % SECONDS_A_DAY, since,
                   ticks_a_second);
            last = s;
            last_report = t;
        }
    }
    /* What the clock and the console cost is no gap. */
    last_access = ticks();
}

void bare_main(const struct multiboot *info)
{
    uint32_t start = (uintptr_t)image_end;
    uint32_t end = 0x100000 + info->memory_upper * 1024u;
    const char *line = info->flags & MULTIBOOT_HAS_COMMAND_LINE ?
                       (const char *)(uintptr_t)info->command_line : "";
    uint32_t fill = parameter(line, "smemv.fill=", 0) << 20;

    writes = parameter(line, "smemv.writes=", writes);
    /* A page costs itself and 4 bytes of version. */
    pages = (end - start) / (PAGE_SIZE + 4) - 1;
    if (fill && fill / PAGE_SIZE < pages) {
        pages = fill / PAGE_SIZE;
    }
    versions = (uint32_t *)start;
    memory = (char *)((start + pages * 4 + PAGE_SIZE - 1) & -PAGE_SIZE);
    while (filled < pages) {
        versions[filled] = 1;
        page_write(page_at(filled), filled, 1);
        filled++;
        tick();
    }
    for (;;) {
        access_page(random_below(pages));
        tick();
    }
}
