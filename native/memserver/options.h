/*
 * The command line.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_OPTIONS_H
#define SMEMV_OPTIONS_H

#include "listen.h"

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *listen[LISTEN_MAX];
    unsigned listen_count;
    const char *control; /* or NULL */
    const char *tls;     /* the folder of the certificates; or NULL */
    const char *known;   /* the file of the known hosts; with TLS */
    const char *metrics; /* where they are served; or NULL */
    bool plain;          /* no TLS, wherever it listens */
    uint64_t capacity;   /* pages */
    unsigned workers;
    unsigned max_sessions;
    unsigned max_connections;
    unsigned max_connections_per_peer;
};

/* Reads the command line. Ends the process on --help, --version and errors. */
void options_parse(struct options *options, int argc, char **argv);

#endif
