/*
 * A guest without an operating system whose first processor takes a PCI
 * device's registers out of the address space and puts them back, for ever,
 * while the second one reads a register of its own interrupt controller.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the second one reads never changes: anything else came from another
 * device. A status line each second, in the form of the other guests':
 * accesses are its reads, wrong those that gave something else, and moves how
 * often the registers were taken out or put back.
 */
#include <stdint.h>

#include "../bare/devices.h"
#include "second.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u
#define PCI_DEVICES 32
#define PCI_COMMAND 4
#define PCI_COMMAND_MEMORY 2
#define VIRTIO_VENDOR 0x1af4

#define APIC_VERSION 0xfee00030
#define APIC_COMMAND 0xfee00300
#define ALL_OTHERS_INIT 0x000c4500
#define ALL_OTHERS_START 0x000c4600
#define UNTIL_RESET 100000000    /* ticks: far longer than a processor takes */

/* Turns of a loop: some 100 and 400 us, as long as the address space takes to change. */
#define BETWEEN_MOVES 20000
#define LONGEST_PAUSE 80000

extern char second_start[], second_end[];
void second_main(void);

static volatile uint32_t accesses, wrong;
static uint32_t version;

static volatile uint32_t *apic(uint32_t address)
{
    return (volatile uint32_t *)address;
}

static void wait(uint32_t turns)
{
    for (volatile uint32_t i = 0; i < turns; i++) {
        continue;
    }
}

static void pci_write(uint32_t address, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a" (address), "Nd" ((uint16_t)PCI_ADDRESS));
    __asm__ volatile("outl %0, %1" : : "a" (value), "Nd" ((uint16_t)PCI_DATA));
}

static uint32_t pci_read(uint32_t address)
{
    uint32_t value;

    __asm__ volatile("outl %0, %1" : : "a" (address), "Nd" ((uint16_t)PCI_ADDRESS));
    __asm__ volatile("inl %1, %0" : "=a" (value) : "Nd" ((uint16_t)PCI_DATA));
    return value;
}

/* The address of the first virtio device's configuration. */
static uint32_t virtio_device(void)
{
    for (uint32_t device = 0; device < PCI_DEVICES; device++) {
        uint32_t address = PCI_ENABLE | device << 11;

        if ((pci_read(address) & 0xffff) == VIRTIO_VENDOR) {
            return address;
        }
    }
    print("smemv-guest: no virtio device\n");
    for (;;) {
        __asm__ volatile("hlt");
    }
}

static void start_second(void)
{
    char *to = (char *)SECOND_START;
    uint64_t begun = ticks();

    for (char *from = second_start; from < second_end; from++) {
        *to++ = *from;
    }
    *apic(APIC_COMMAND) = ALL_OTHERS_INIT;
    while (ticks() - begun < UNTIL_RESET) {
        continue;
    }
    *apic(APIC_COMMAND) = ALL_OTHERS_START | SECOND_START >> 12;
}

/* Pauses of many lengths, so that it reads at any point of what the first one does. */
void second_main(void)
{
    for (uint32_t pause = 0;; pause = (pause + 3701) % LONGEST_PAUSE) {
        wait(pause);
        if (*apic(APIC_VERSION) != version) {
            wrong++;
        }
        accesses++;
    }
}

void bare_main(void)
{
    uint32_t device = virtio_device();
    uint32_t command = pci_read(device | PCI_COMMAND) & 0xffff;
    uint32_t begun = seconds(), told = begun, moves = 0;

    version = *apic(APIC_VERSION);
    start_second();
    for (;;) {
        uint32_t now;

        pci_write(device | PCI_COMMAND, command & ~PCI_COMMAND_MEMORY);
        wait(BETWEEN_MOVES);
        pci_write(device | PCI_COMMAND, command | PCI_COMMAND_MEMORY);
        wait(BETWEEN_MOVES);
        moves += 2;
        now = seconds();
        if (now == told) {
            continue;
        }
        told = now;
        print("smemv-guest: t=");
        print_number(now - begun);
        print(" phase=run accesses=");
        print_number(accesses);
        print(" wrong=");
        print_number(wrong);
        print(" moves=");
        print_number(moves);
        print("\n");
    }
}
