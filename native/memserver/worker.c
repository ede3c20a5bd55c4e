/*
 * A worker: one thread that serves its connections.
 *
 * A connection belongs to one worker from its first byte to its last, so that
 * nothing of it needs a lock. What reaches a worker from other threads comes
 * through its mail.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS 64

/* Seconds between looks at the deadlines. */
#define TICK 1

/* The end of a connection that is in no list any more. */
static void leave(struct connection *c)
{
    atomic_fetch_sub(&c->worker->load, 1);
    peers_leave(&c->worker->server->peers, c->peer);
    connection_free(c);
}

static void end_connection(struct connection *c)
{
    struct worker *worker = c->worker;

    if (c->previous) {
        c->previous->next = c->next;
    } else {
        worker->connections = c->next;
    }
    if (c->next) {
        c->next->previous = c->previous;
    }
    leave(c);
}

/* Lets epoll watch for @events, where 0 is not to watch at all. */
static bool watch(struct connection *c, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = c };
    int operation = EPOLL_CTL_MOD;

    if (events == c->events) {
        return true;
    }
    if (!c->events) {
        operation = EPOLL_CTL_ADD;
    } else if (!events) {
        operation = EPOLL_CTL_DEL;
    }
    c->events = events;
    return epoll_ctl(c->worker->epoll, operation, c->fd, &event) == 0;
}

static void run_connection(struct connection *c)
{
    uint32_t events = connection_run(c);

    if (c->busy) {
        watch(c, events); /* to the end of the job, whatever comes of it */
    } else if (!events || !watch(c, events)) {
        end_connection(c);
    }
}

static void begin_connection(struct worker *worker, struct connection *c)
{
    c->next = worker->connections;
    if (c->next) {
        c->next->previous = c;
    }
    worker->connections = c;
    run_connection(c);
}

static void read_mail(struct worker *worker)
{
    struct connection *c, *next;
    eventfd_t count;

    eventfd_read(worker->wake, &count);
    pthread_mutex_lock(&worker->lock);
    c = worker->mail;
    worker->mail = NULL;
    pthread_mutex_unlock(&worker->lock);
    for (; c; c = next) {
        next = c->mail;
        if (!c->busy) {
            begin_connection(worker, c);
        } else if (connection_job_done(c)) {
            run_connection(c);
        } else {
            end_connection(c);
        }
    }
}

static void check_deadlines(struct worker *worker)
{
    struct connection *c, *next;
    uint64_t ticks;

    if (read(worker->clock, &ticks, sizeof(ticks)) < 0) {
        return;
    }

    for (c = worker->connections; c; c = next) {
        next = c->next;
        if (!c->busy && connection_expired(c)) {
            end_connection(c);
        }
    }
}

static bool stopping(struct worker *worker)
{
    bool stopping;

    pthread_mutex_lock(&worker->lock);
    stopping = worker->stopping;
    pthread_mutex_unlock(&worker->lock);
    return stopping;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event events[EVENTS];

    while (!stopping(worker)) {
        int count = epoll_wait(worker->epoll, events, EVENTS, -1);
        bool mail = false, tick = false;

        for (int i = 0; i < count; i++) {
            void *of = events[i].data.ptr;

            if (of == &worker->wake) {
                mail = true;
            } else if (of == &worker->clock) {
                tick = true;
            } else {
                run_connection(of);
            }
        }
        if (mail) {
            read_mail(worker);
        }
        if (tick) {
            check_deadlines(worker);
        }
    }
    return NULL;
}

/* Epoll tells of @fd, which is one of the worker's own, by its place. */
static bool watch_own(struct worker *worker, int *fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

    return *fd >= 0 && !epoll_ctl(worker->epoll, EPOLL_CTL_ADD, *fd, &event);
}

int worker_start(struct worker *worker, struct server *server)
{
    const struct itimerspec tick = { .it_interval.tv_sec = TICK,
                                     .it_value.tv_sec = TICK };
    int error;

    *worker = (struct worker){ .server = server };
    pthread_mutex_init(&worker->lock, NULL);
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* A time-out of epoll_wait() would cost each GET a timer of its own. */
    worker->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (worker->epoll < 0 || !watch_own(worker, &worker->wake) ||
        !watch_own(worker, &worker->clock) ||
        timerfd_settime(worker->clock, 0, &tick, NULL)) {
        return -errno;
    }
    error = pthread_create(&worker->thread, NULL, run, worker);
    return -error;
}

void worker_add(struct worker *worker, struct connection *c)
{
    c->worker = worker;
    atomic_fetch_add(&worker->load, 1);
    worker_post(worker, c);
}

void worker_post(struct worker *worker, struct connection *c)
{
    pthread_mutex_lock(&worker->lock);
    c->mail = worker->mail;
    worker->mail = c;
    pthread_mutex_unlock(&worker->lock);
    eventfd_write(worker->wake, 1);
}

void worker_stop(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    pthread_mutex_unlock(&worker->lock);
    eventfd_write(worker->wake, 1);
    pthread_join(worker->thread, NULL);
    /* Those still in the mail are new, or in the list as well. */
    while (worker->mail) {
        struct connection *c = worker->mail;

        worker->mail = c->mail;
        if (!c->busy) {
            leave(c);
        }
    }
    while (worker->connections) {
        end_connection(worker->connections);
    }
    buffers_destroy(&worker->buffers);
    close(worker->epoll);
    close(worker->wake);
    close(worker->clock);
    pthread_mutex_destroy(&worker->lock);
}
