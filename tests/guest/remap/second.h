/*
 * Where the second processor begins.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SECOND_H
#define SECOND_H

/* A page below 1 MiB that nobody uses; its number is what the processor is started with. */
#define SECOND_START 0x8000

#endif
