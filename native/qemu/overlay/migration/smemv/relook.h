/*
 * Relook: the dirty log is read amid precopy's first pass.
 *
 * What the guest wrote to a page before it is sent for the first time is sent
 * with it. Where the log is read at the end of the pass only, the page is
 * dirty then, and sent once more in vain: half of all that is written in the
 * first pass, which is by far the longest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_RELOOK_H
#define SMEMV_RELOOK_H

/* The first pass begins. */
void smemv_relook_begin(void);

/*
 * Called now and then by the migration thread in the first pass, without the
 * big lock: read the log if it is time.
 */
void smemv_relook(void);

#endif
