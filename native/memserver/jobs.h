/*
 * Threads for what takes long, so that no other connection waits for it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_JOBS_H
#define SMEMV_JOBS_H

#include <pthread.h>
#include <stdbool.h>

#define JOBS_MAX_THREADS 16

struct job {
    void (*run)(struct job *job);
    struct job *next;
};

struct jobs {
    pthread_t threads[JOBS_MAX_THREADS];
    int count;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    struct job *first;
    struct job **last;
    bool stopping;
};

/* Starts @threads, at most JOBS_MAX_THREADS. Returns 0, or a negative errno. */
int jobs_start(struct jobs *jobs, int threads);

/* Runs @job on one of the threads; first come, first served. */
void jobs_submit(struct jobs *jobs, struct job *job);

/* Runs what was submitted, and ends the threads. */
void jobs_stop(struct jobs *jobs);

#endif
