/*
 * What all workers share.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_SERVER_H
#define SMEMV_SERVER_H

#include "counters.h"
#include "jobs.h"
#include "peers.h"
#include "registry.h"
#include "tls.h"

struct worker;

/* Threads: few that commit memory, more that wait for other memservers. */
#define SERVER_JOBS 4
#define SERVER_COPIES 16
#define SERVER_HANDSHAKES 4

struct server {
    struct registry registry;
    struct worker *workers; /* as many as the registry says */
    struct jobs jobs;       /* OPEN, RESERVE, CLOSE */
    struct jobs copies;     /* COPY */
    struct jobs handshakes; /* of TLS */
    struct peers peers;
    struct tls tls;
    counter accepted; /* connections; counted where they are accepted */
    counter refused;
};

#endif
