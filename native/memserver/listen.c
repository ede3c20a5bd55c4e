/*
 * Listening sockets, and the connections that come in on them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "listen.h"

#include "log.h"
#include "store.h"
#include "peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BACKLOG 1024

/* Seconds until a peer that is silent is asked, and asked again; and tries. */
#define KEEPALIVE_IDLE 10
#define KEEPALIVE_INTERVAL 5
#define KEEPALIVE_COUNT 4

/* Milliseconds that what was sent may stay without acknowledgement. */
#define UNACKNOWLEDGED 300000

/* Names it for the journal by what it is bound to. */
static void name(struct listener *listener)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof(address);
    char host[PEER_NAME_SIZE];
    char port[8];

    if (getsockname(listener->fd, (struct sockaddr *)&address, &size) == 0 &&
        getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        snprintf(listener->where, sizeof(listener->where), "%s port %s", host,
                 port);
    }
}

static bool add(struct listeners *listeners, int fd, bool local)
{
    struct listener listener = { .fd = fd, .local = local };

    if (listeners->count == LISTEN_MAX) {
        log_line(LOG_ERR, "more than %d addresses to listen on", LISTEN_MAX);
        return false;
    }
    if (!local) {
        name(&listener);
        log_line(LOG_INFO, "listening on %s", listener.where);
    }
    listeners->list[listeners->count++] = listener;
    return true;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;

        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    return address->ss_family == AF_UNIX;
}

bool listen_is_private(const struct listener *listener)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof(address);

    return getsockname(listener->fd, (struct sockaddr *)&address, &size) == 0 &&
           is_loopback(&address);
}

/* Takes "[::1]:4770" or "127.0.0.1:4770" apart, into at most @size bytes. */
static bool split(const char *where, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(where, ':');
    size_t length;

    if (!colon) {
        return false;
    }
    length = (size_t)(colon - where);
    *port = colon + 1;
    if (length >= 2 && where[0] == '[' && where[length - 1] == ']') {
        where++;
        length -= 2;
    } else if (memchr(where, ':', length)) {
        return false; /* an IPv6 address needs its brackets */
    }
    if (length == 0 || length >= size || !**port) {
        return false;
    }
    memcpy(host, where, length);
    host[length] = '\0';
    return true;
}

static int bind_tcp(const struct addrinfo *address)
{
    const int on = 1;
    int fd = socket(address->ai_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) ||
        listen(fd, BACKLOG)) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

bool listen_tcp(struct listeners *listeners, const char *where)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_NUMERICHOST |
                                                AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *address;
    char host[PEER_NAME_SIZE];
    const char *port;
    int fd;

    if (!split(where, host, sizeof(host), &port) ||
        getaddrinfo(host, port, &hints, &address)) {
        log_line(LOG_ERR, "%s is not ADDRESS:PORT in numbers", where);
        return false;
    }
    fd = bind_tcp(address);
    freeaddrinfo(address);
    if (fd < 0) {
        log_line(LOG_ERR, "cannot listen on %s: %s", where, strerror(errno));
        return false;
    }
    return add(listeners, fd, false);
}

/* A socket file that nobody listens on any more is in the way. */
static void remove_stale(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
        errno == ECONNREFUSED) {
        unlink(address->sun_path);
    }
    close(fd);
}

bool listen_control(struct listeners *listeners, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    mode_t mask;
    int fd, failed;

    if (strlen(path) >= sizeof(address.sun_path)) {
        log_line(LOG_ERR, "%s is too long for a socket", path);
        return false;
    }
    strcpy(address.sun_path, path);
    remove_stale(&address);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mask = umask(0177);
    failed = fd < 0 ||
             bind(fd, (const struct sockaddr *)&address, sizeof(address)) ||
             listen(fd, BACKLOG);
    umask(mask);
    if (failed) {
        log_line(LOG_ERR, "cannot listen on %s: %s", path, strerror(errno));
        return false;
    }
    log_line(LOG_INFO, "listening on %s", path);
    return add(listeners, fd, true);
}

static bool inherit(struct listeners *listeners, int fd)
{
    bool local = sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0;

    if (!local && sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
        log_line(LOG_ERR, "descriptor %d from systemd is not a listening "
                 "stream socket", fd);
        return false;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return add(listeners, fd, local);
}

int listen_metrics(const char *where)
{
    struct listeners own = { .count = 0 };

    if (where[0] == '/' ? !listen_control(&own, where)
                        : !listen_tcp(&own, where)) {
        return -1;
    }
    if (!listen_is_private(&own.list[0])) {
        log_line(LOG_ERR, "--metrics %s is not loopback: HTTP in plain text "
                 "goes no further", where);
        close(own.list[0].fd);
        return -1;
    }
    return own.list[0].fd;
}

bool listen_inherited(struct listeners *listeners)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(0, &names);
    bool ok = true;

    for (int i = 0; i < count; i++) {
        if (ok && !store_is_name(names[i])) {
            ok = inherit(listeners, SD_LISTEN_FDS_START + i);
        }
        free(names[i]);
    }
    free(names);
    return ok;
}

static void set(int fd, int level, int option, int value)
{
    /* None is vital, and all are known to any kernel that we run on. */
    setsockopt(fd, level, option, &value, sizeof(value));
}

/* The control socket is root's, and that of the user who runs this. */
static bool local_peer_is_welcome(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

int listen_accept(const struct listener *listener, char *peer)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof(address);
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        return -1;
    }
    errno = 0; /* from here on, -1 is a refusal */
    address.ss_family = listener->local ? AF_UNIX : address.ss_family;
    peer_name(&address, peer);
    if (listener->local) {
        if (!local_peer_is_welcome(fd)) {
            log_line(LOG_WARNING, "a user other than root was refused on the "
                     "control socket");
            close(fd);
            return -1;
        }
        return fd;
    }
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED);
    return fd;
}
