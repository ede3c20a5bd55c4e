/*
 * The version of the memserver.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_VERSION_H
#define SMEMV_VERSION_H

#define SMEMV_MEMSERVER_VERSION "0.1.0"

#endif
