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

/* Threads: few that commit memory, more that wait for other memservers. */
#define SERVER_JOBS 4
#define SERVER_COPIES 16

struct server {
    struct registry registry;
    struct jobs jobs;   /* OPEN, RESERVE, CLOSE */
    struct jobs copies; /* COPY */
    int stop; /* an eventfd that ends the waiting of copies */
    struct peers peers;
};

#endif
