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

struct server {
    struct registry registry;
    struct worker *workers; /* as many as the registry says */
    struct jobs jobs;
    struct jobs handshakes; /* apart, so that they do not wait for an OPEN */
    struct peers peers;
    struct tls tls;
    counter accepted; /* connections; counted where they are accepted */
    counter refused;
};

#endif
