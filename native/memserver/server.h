/*
 * What all workers share.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_SERVER_H
#define SMEMV_SERVER_H

#include "jobs.h"
#include "peers.h"
#include "registry.h"

struct server {
    struct registry registry;
    struct jobs jobs;
    struct peers peers;
};

#endif
