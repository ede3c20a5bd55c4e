/*
 * smemv-memserver: holds pages of virtual machines' memory for their main hosts.
 *
 * It starts in stages, each with fewer rights than the one before:
 *
 *   1. options    reads the command line, takes the signals; nothing is open
 *   2. sockets    binds what it listens on: the last thing that may need
 *                 rights of the user it was started by
 *   3. isolation  gives up gaining rights (no_new_privs) and being looked
 *                 into (not dumpable: no core files, no debugger of the same
 *                 user); the unit takes the file system and the rest away
 *   4. restoring  takes the sessions of the process before it
 *   5. serving    starts its threads, accepts, and says READY
 *   6. stopping   on SIGTERM or SIGINT: says STOPPING and ends its threads;
 *                 the sessions wait for the next process
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "connection.h"
#include "listen.h"
#include "log.h"
#include "memory.h"
#include "options.h"
#include "server.h"
#include "store.h"
#include "version.h"
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* Descriptors that are not connections. */
#define OTHER_DESCRIPTORS 64
#define DESCRIPTORS_PER_SESSION STORE_FDS

/* Microseconds until connections close and there is something to have again. */
#define NO_ACCEPT_PAUSE 100000

static bool open_sockets(struct listeners *listeners,
                         const struct options *options)
{
    if (!listen_inherited(listeners)) {
        return false;
    }
    for (unsigned i = 0; i < options->listen_count; i++) {
        if (!listen_tcp(listeners, options->listen[i])) {
            return false;
        }
    }
    if (options->control && !listen_control(listeners, options->control)) {
        return false;
    }
    if (!listeners->count) {
        log_line(LOG_ERR, "nothing to listen on: give --listen or --control");
        return false;
    }
    return true;
}

static bool isolate(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) {
        log_line(LOG_ERR, "cannot give up rights: %s", strerror(errno));
        return false;
    }
    return true;
}

/* Connections that there are descriptors for, at most as many as wanted. */
static unsigned connections_possible(const struct options *options)
{
    unsigned others = OTHER_DESCRIPTORS +
                      DESCRIPTORS_PER_SESSION * options->max_sessions;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur <= others) {
        return 0;
    }
    if (limit.rlim_cur - others < options->max_connections) {
        log_line(LOG_WARNING, "descriptors for %ju connections only",
                 (uintmax_t)(limit.rlim_cur - others));
        return (unsigned)(limit.rlim_cur - others);
    }
    return options->max_connections;
}

/* Sessions that the service manager keeps, at most as many as wanted. */
static unsigned sessions_possible(const struct options *options)
{
    unsigned room = store_room();

    if (room >= options->max_sessions) {
        return options->max_sessions;
    }
    log_line(LOG_WARNING, "the service manager keeps %u sessions only "
             "(FileDescriptorStoreMax)", room);
    return room;
}

/*
 * The descriptor that SIGTERM and SIGINT are read from; made before there are
 * threads, so that none of them gets the signals.
 */
static int take_signals(void)
{
    sigset_t stop;

    /* A journal that is gone, or a limit on files, must not end the process. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    return signalfd(-1, &stop, SFD_CLOEXEC);
}

/* The worker that has the fewest connections. */
static struct worker *idlest(struct worker *workers, unsigned count)
{
    struct worker *found = workers;

    for (unsigned i = 1; i < count; i++) {
        if (atomic_load(&workers[i].load) < atomic_load(&found->load)) {
            found = &workers[i];
        }
    }
    return found;
}

static void accept_one(struct server *server, struct worker *workers,
                       const struct listener *listener)
{
    char peer[PEER_NAME_SIZE];
    int fd = listen_accept(listener, peer);
    struct connection *c;
    const char *refused;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
            errno == ENOBUFS) {
            log_line(LOG_ERR, "cannot accept: %s", strerror(errno));
            usleep(NO_ACCEPT_PAUSE);
        }
        return;
    }
    refused = peers_enter(&server->peers, peer);
    if (refused) {
        static struct log_limit limit;
        unsigned unlogged;

        if (log_allows(&limit, &unlogged)) {
            log_line(LOG_WARNING, "%s: connection refused: %s; and %u before "
                     "it", peer, refused, unlogged);
        }
        close(fd);
        return;
    }
    c = connection_new(fd, listener->local, peer);
    if (!c) {
        peers_leave(&server->peers, peer);
        return;
    }
    worker_add(idlest(workers, server->registry.workers), c);
}

/* Accepts until a signal says to stop. */
static bool serve(struct server *server, struct worker *workers,
                  struct listeners *listeners, int signals)
{
    struct epoll_event event = { .events = EPOLLIN };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    bool watched = epoll >= 0 &&
                   epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &event) == 0;

    for (unsigned i = 0; watched && i < listeners->count; i++) {
        event.data.ptr = &listeners->list[i];
        watched = epoll_ctl(epoll, EPOLL_CTL_ADD, listeners->list[i].fd,
                            &event) == 0;
    }
    if (!watched) {
        log_line(LOG_ERR, "cannot wait for connections: %s", strerror(errno));
        return false;
    }
    sd_notifyf(0, "READY=1\nSTATUS=Serving a capacity of %" PRIu64 " pages",
               server->registry.capacity);
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) < 1) {
            continue;
        }
        if (!event.data.ptr) {
            break;
        }
        accept_one(server, workers, event.data.ptr);
    }
    sd_notify(0, "STOPPING=1");
    close(epoll);
    return true;
}

int main(int argc, char **argv)
{
    static struct server server;
    struct listeners listeners = { 0 };
    struct options options;
    struct worker *workers;
    unsigned connections;
    int signals;
    bool served;

    options_parse(&options, argc, argv);
    signals = take_signals();
    if (!memory_is_possible(options.memory, options.capacity) ||
        !open_sockets(&listeners, &options) || !isolate()) {
        return 1;
    }
    connections = connections_possible(&options);
    if (!connections) {
        log_line(LOG_ERR, "too few descriptors (RLIMIT_NOFILE)");
        return 1;
    }

    workers = calloc(options.workers, sizeof(*workers));
    registry_init(&server.registry, options.capacity,
                  sessions_possible(&options), options.workers,
                  options.memory);
    peers_init(&server.peers, connections, options.max_connections_per_peer);
    if (!store_take(&server.registry)) {
        return 1;
    }
    server.stop = eventfd(0, EFD_CLOEXEC);
    if (signals < 0 || !workers || server.stop < 0 ||
        jobs_start(&server.jobs, SERVER_JOBS) ||
        jobs_start(&server.copies, SERVER_COPIES)) {
        log_line(LOG_ERR, "cannot start: %s", strerror(errno));
        return 1;
    }
    for (unsigned i = 0; i < options.workers; i++) {
        int error = worker_start(&workers[i], &server);

        if (error) {
            log_line(LOG_ERR, "cannot start a worker: %s", strerror(-error));
            return 1;
        }
    }
    log_line(LOG_INFO, "smemv-memserver %s: capacity %" PRIu64 " pages, %u "
             "workers", SMEMV_MEMSERVER_VERSION, options.capacity,
             options.workers);

    served = serve(&server, workers, &listeners, signals);

    for (unsigned i = 0; i < listeners.count; i++) {
        close(listeners.list[i].fd);
    }
    if (options.control) {
        unlink(options.control);
    }
    jobs_stop(&server.jobs);
    eventfd_write(server.stop, 1);
    jobs_stop(&server.copies);
    close(server.stop);
    for (unsigned i = 0; i < options.workers; i++) {
        worker_stop(&workers[i]);
    }
    registry_destroy(&server.registry);
    peers_destroy(&server.peers);
    free(workers);
    close(signals);
    return served ? 0 : 1;
}
