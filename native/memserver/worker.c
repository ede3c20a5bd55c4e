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
#include <unistd.h>

#define EVENTS 64

/* Milliseconds between looks at the deadlines. */
#define TICK 1000

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

static time_t seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return time.tv_sec;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event events[EVENTS];
    time_t looked = seconds();

    while (!stopping(worker)) {
        int count = epoll_wait(worker->epoll, events, EVENTS, TICK);
        bool mail = false;

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) {
                run_connection(events[i].data.ptr);
            } else {
                mail = true;
            }
        }
        if (mail) {
            read_mail(worker);
        }
        if (seconds() != looked) {
            looked = seconds();
            check_deadlines(worker);
        }
    }
    return NULL;
}

int worker_start(struct worker *worker, struct server *server)
{
    struct epoll_event event = { .events = EPOLLIN };
    int error;

    *worker = (struct worker){ .server = server };
    pthread_mutex_init(&worker->lock, NULL);
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->epoll < 0 || worker->wake < 0 ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &event)) {
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
    pthread_mutex_destroy(&worker->lock);
}
