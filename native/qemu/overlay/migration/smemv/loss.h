/*
 * Loss: a connection ends when the host at its other end does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_LOSS_H
#define SMEMV_LOSS_H

#include "io/channel.h"

/*
 * Have the kernel end the TCP connection of @fd when nothing has come from its
 * other end for about @ms, whether or not something is awaited. False, and
 * errno, on an error.
 */
bool smemv_loss_notice(int fd, int ms);

/*
 * The same for the migration's own channel. Without it a destination whose
 * host is gone keeps the VM paused, at the switch-over, for the quarter of an
 * hour after which TCP gives up by itself.
 */
void smemv_loss_notice_migration(QIOChannel *ioc);

#endif
