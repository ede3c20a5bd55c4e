/*
 * Listening sockets, and the connections that come in on them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_LISTEN_H
#define SMEMV_LISTEN_H

#include <stdbool.h>

#define LISTEN_MAX 16

struct listener {
    int fd;
    bool local; /* the control socket */
    char where[80]; /* for the journal */
};

struct listeners {
    struct listener list[LISTEN_MAX];
    unsigned count;
};

/*
 * Each adds what it can listen on and tells the journal where. False: it has
 * told the journal why not.
 */

/* ADDR:PORT or [ADDR]:PORT, numbers both. Port 0: any that is free. */
bool listen_tcp(struct listeners *listeners, const char *where);

/* A UNIX socket at @path, for this user and root only. */
bool listen_control(struct listeners *listeners, const char *path);

/* Either, on its own: returns it, or -1. Nothing but this machine gets there. */
int listen_metrics(const char *where);

/* The sockets that systemd hands over, if it does. */
bool listen_inherited(struct listeners *listeners);

/* Is it for this machine alone: loopback, or a UNIX socket? */
bool listen_is_private(const struct listener *listener);

/*
 * Accepts one connection: non-blocking, without delay, and kept alive so that
 * a peer that vanished is noticed. @peer gets its name (PEER_NAME_SIZE).
 * Returns -1 if there is none to be had.
 */
int listen_accept(const struct listener *listener, char *peer);

#endif
