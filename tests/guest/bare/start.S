/*
 * The bare guest's entry: a multiboot kernel in 32-bit protected mode, without
 * paging, interrupts or an operating system.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x2            /* memory size, please */

        .section .multiboot, "a"
        .align 4
        .long MULTIBOOT_MAGIC
        .long MULTIBOOT_FLAGS
        .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .text
        .globl start
start:
        cli
        movl $stack_end, %esp
        pushl %ebx                      /* the multiboot information */
        call bare_main
halt:
        hlt
        jmp halt

        .bss
        .align 16
        .skip 16384
stack_end:

        .section .note.GNU-stack, "", @progbits
