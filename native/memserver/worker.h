/*
 * A worker: one thread that serves its connections.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_WORKER_H
#define SMEMV_WORKER_H

#include "buffer.h"
#include "connection.h"
#include "counters.h"
#include "server.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

struct worker {
    struct server *server;
    pthread_t thread;
    int epoll;
    int wake;  /* an eventfd */
    int clock; /* a timerfd */
    struct buffers buffers;
    struct connection *connections;
    struct log_limit tls_log_limit;
    atomic_uint load; /* connections that it has, or has in its mail */

    pthread_mutex_t lock;      /* of what follows */
    struct connection *mail;   /* new, or their job is done */
    bool stopping;

    /* On cache lines that no other worker writes. */
    alignas(64) struct counters counters;
};

/* Returns 0, or a negative errno. */
int worker_start(struct worker *worker, struct server *server);

/* Gives the worker a new connection, which is its own from now on. */
void worker_add(struct worker *worker, struct connection *c);

/* Gives the worker back a connection whose job is done. */
void worker_post(struct worker *worker, struct connection *c);

/* Closes all connections and ends the thread; jobs must be at their end. */
void worker_stop(struct worker *worker);

#endif
