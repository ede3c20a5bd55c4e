/*
 * Serves the metrics over HTTP, on a thread of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_EXPORTER_H
#define SMEMV_EXPORTER_H

#include "server.h"

#include <pthread.h>

struct exporter {
    struct server *server;
    pthread_t thread;
    int listener;
    int stop; /* an eventfd */
};

/* Serves on @listener, which stays the caller's. 0, or a negative errno. */
int exporter_start(struct exporter *exporter, struct server *server,
                   int listener);

/* Finishes the answer at hand, and ends the thread. */
void exporter_stop(struct exporter *exporter);

#endif
