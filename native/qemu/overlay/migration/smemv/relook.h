/*
 * Relook: the dirty log is read amid a pass of precopy.
 *
 * What the guest writes to a page that is still to be sent is sent with it.
 * Where the log is read at the end of the pass only, the page is dirty then,
 * and sent once more in vain: half of all that is written in the first pass,
 * which is by far the longest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_RELOOK_H
#define SMEMV_RELOOK_H

#include "page-map.h"

/* Precopy begins. */
void smemv_relook_begin(void);

/*
 * Called now and then by the migration thread, without the big lock: if it is
 * time, what was written to pages of @map that are still to be sent is taken
 * from the log. What it has of others stays until the end of the pass.
 */
void smemv_relook(const SmemvPageMap *map);

#endif
