/*
 * Where the second processor begins: in real mode, at the page that it is told
 * to start at, from which it goes on in 32-bit protected mode.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "second.h"

        .text
        .code16
        .globl second_start, second_end
second_start:
        cli
        xorw %ax, %ax
        movw %ax, %ds
        lgdtl SECOND_START + (segments_pointer - second_start)
        movl %cr0, %eax
        orl $1, %eax                    /* protected mode */
        movl %eax, %cr0
        ljmpl $8, $second_protected
segments_pointer:
        .word segments_end - segments - 1
        .long segments
second_end:

        .code32
second_protected:
        movw $16, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $second_stack_end, %esp
        call second_main

        .data
        .align 8
segments:
        .quad 0
        .quad 0x00cf9a000000ffff        /* code: all of 4 GiB */
        .quad 0x00cf92000000ffff        /* data: the same */
segments_end:

        .bss
        .align 16
        .skip 4096
second_stack_end:

        .section .note.GNU-stack, "", @progbits
