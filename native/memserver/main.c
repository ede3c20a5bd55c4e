/*
 * smemv-memserver: holds pages of virtual machines' memory for their main hosts.
 *
 * It starts in stages, each with fewer rights than the one before:
 *
 *   1. options    reads the command line, takes the signals; nothing is open
 *   2. sockets    binds what it listens on, and reads its certificates: the
 *                 last things that may need rights of the user it was started
 *                 by
 *   3. isolation  gives up gaining rights (no_new_privs) and being looked
 *                 into (not dumpable: no core files, no debugger of the same
 *                 user); the unit takes the file system and the rest away
 *   4. restoring  takes the sessions of the process before it
 *   5. threads    starts all of them; there will be no other
 *   6. seccomp    keeps the system calls that serving takes: no program can
 *                 be run any more, no file written, no thread made
 *   7. serving    accepts, and says READY; on SIGHUP reads its certificates
 *                 again
 *   8. stopping   on SIGTERM or SIGINT: says STOPPING and ends its threads;
 *                 the sessions wait for the next process
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "connection.h"
#include "exporter.h"
#include "listen.h"
#include "log.h"
#include "options.h"
#include "server.h"
#include "store.h"
#include "syscalls.h"
#include "version.h"
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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

/* Guests' memory goes over no network in plain text by oversight. */
static bool all_private(const struct listeners *listeners)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        if (!listen_is_private(&listeners->list[i])) {
            log_line(LOG_ERR, "%s is not loopback: give --tls, or --plain where "
                     "everybody who can reach it may read the VMs' memory",
                     listeners->list[i].where);
            return false;
        }
    }
    return true;
}

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
    return options->tls || options->plain || all_private(listeners);
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
 * The descriptor that SIGTERM, SIGINT and SIGHUP are read from; made before
 * there are threads, so that none of them gets the signals.
 */
static int take_signals(void)
{
    sigset_t taken;

    /* A journal that is gone, or a limit on files, must not end the process. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&taken);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGINT);
    sigaddset(&taken, SIGHUP);
    sigprocmask(SIG_BLOCK, &taken, NULL);
    return signalfd(-1, &taken, SFD_CLOEXEC);
}

/* The worker that has the fewest connections. */
static struct worker *idlest(struct server *server)
{
    struct worker *workers = server->workers;
    struct worker *found = workers;

    for (unsigned i = 1; i < server->registry.workers; i++) {
        if (atomic_load(&workers[i].load) < atomic_load(&found->load)) {
            found = &workers[i];
        }
    }
    return found;
}

static void accept_one(struct server *server, const struct listener *listener)
{
    char peer[PEER_NAME_SIZE];
    int fd = listen_accept(listener, peer);
    struct tls_session *tls = NULL;
    struct connection *c = NULL;
    const char *refused;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
            errno == ENOBUFS) {
            log_line(LOG_ERR, "cannot accept: %s", strerror(errno));
            usleep(NO_ACCEPT_PAUSE);
        }
        return;
    }
    count(&server->accepted, 1);
    refused = peers_enter(&server->peers, peer);
    if (refused) {
        static struct log_limit limit;
        unsigned unlogged;

        count(&server->refused, 1);
        if (log_allows(&limit, &unlogged)) {
            log_line(LOG_WARNING, "%s: connection refused: %s; and %u before "
                     "it", peer, refused, unlogged);
        }
        close(fd);
        return;
    }
    if (server->tls.folder && !listener->local) {
        tls = tls_accept(&server->tls, fd);
    }
    if (!server->tls.folder || listener->local || tls) {
        c = connection_new(fd, tls, listener->local, peer);
    } else {
        close(fd);
    }
    if (!c) {
        peers_leave(&server->peers, peer);
        return;
    }
    worker_add(idlest(server), c);
}

/* Reads the certificates again, and tells systemd how that went. */
static void reload(struct server *server)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    if (!server->tls.folder) {
        sd_notify(0, "READY=1");
    } else if (tls_reload(&server->tls)) {
        log_line(LOG_INFO, "certificates and known hosts were read again");
        sd_notify(0, "READY=1\nSTATUS=Certificates were read again");
    } else {
        log_line(LOG_ERR, "the certificates and known hosts that were there "
                 "stay in force");
        sd_notify(0, "READY=1\nSTATUS=The new certificates are not good: the "
                  "old ones stay in force");
    }
}

/* Does what the signal asks for. Returns whether it is to stop. */
static bool take_signal(struct server *server, int signals)
{
    struct signalfd_siginfo info;

    if (read(signals, &info, sizeof(info)) != sizeof(info)) {
        return false;
    }
    if (info.ssi_signo == SIGHUP) {
        reload(server);
        return false;
    }
    return true;
}

/* Accepts until a signal says to stop. */
static bool serve(struct server *server, struct listeners *listeners,
                  int signals)
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
        if (event.data.ptr) {
            accept_one(server, event.data.ptr);
        } else if (take_signal(server, signals)) {
            break;
        }
    }
    sd_notify(0, "STOPPING=1");
    close(epoll);
    return true;
}

/* Starts all threads. False: it has told the journal why not. */
static bool start_threads(struct server *server, struct exporter *exporter,
                          int metrics)
{
    int error = jobs_start(&server->jobs, SERVER_JOBS);

    if (!error) {
        error = jobs_start(&server->copies, SERVER_COPIES);
    }
    if (!error) {
        error = jobs_start(&server->handshakes, SERVER_HANDSHAKES);
    }
    for (unsigned i = 0; !error && i < server->registry.workers; i++) {
        error = worker_start(&server->workers[i], server);
    }
    if (!error && metrics >= 0) {
        error = exporter_start(exporter, server, metrics);
    }
    if (error) {
        log_line(LOG_ERR, "cannot start a thread: %s", strerror(-error));
    }
    return !error;
}

static void stop_threads(struct server *server, struct exporter *exporter,
                         int metrics)
{
    if (metrics >= 0) {
        exporter_stop(exporter);
    }
    jobs_stop(&server->jobs);
    jobs_stop(&server->copies);
    jobs_stop(&server->handshakes);
    for (unsigned i = 0; i < server->registry.workers; i++) {
        worker_stop(&server->workers[i]);
    }
}

int main(int argc, char **argv)
{
    static struct server server;
    struct listeners listeners = { 0 };
    struct exporter exporter;
    struct options options;
    unsigned connections;
    int metrics = -1;
    int signals;
    bool served;

    options_parse(&options, argc, argv);
    signals = take_signals();
    if (!open_sockets(&listeners, &options)) {
        return 1;
    }
    if (options.metrics) {
        metrics = listen_metrics(options.metrics);
        if (metrics < 0) {
            return 1;
        }
    }
    if (options.tls && !tls_init(&server.tls, options.tls, options.known)) {
        return 1;
    }
    connections = connections_possible(&options);
    if (!connections) {
        log_line(LOG_ERR, "too few descriptors (RLIMIT_NOFILE)");
        return 1;
    }
    if (!isolate()) {
        return 1;
    }

    server.workers = aligned_alloc(alignof(struct worker),
                                   options.workers * sizeof(struct worker));
    if (signals < 0 || !server.workers) {
        log_line(LOG_ERR, "cannot start: %s", strerror(errno));
        return 1;
    }
    registry_init(&server.registry, options.capacity,
                  sessions_possible(&options), options.workers);
    peers_init(&server.peers, connections, options.max_connections_per_peer);
    if (!store_take(&server.registry)) {
        return 1;
    }
    if (!start_threads(&server, &exporter, metrics) || !syscalls_restrict()) {
        return 1;
    }
    log_line(LOG_INFO, "smemv-memserver %s: capacity %" PRIu64 " pages, %u "
             "workers", SMEMV_MEMSERVER_VERSION, options.capacity,
             options.workers);

    served = serve(&server, &listeners, signals);

    for (unsigned i = 0; i < listeners.count; i++) {
        close(listeners.list[i].fd);
    }
    if (options.control) {
        unlink(options.control);
    }
    stop_threads(&server, &exporter, metrics);
    if (metrics >= 0) {
        close(metrics);
    }
    if (options.metrics && options.metrics[0] == '/') {
        unlink(options.metrics);
    }
    registry_destroy(&server.registry);
    peers_destroy(&server.peers);
    if (options.tls) {
        tls_destroy(&server.tls);
    }
    free(server.workers);
    close(signals);
    return served ? 0 : 1;
}
