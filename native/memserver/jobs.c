/*
 * Threads for what takes long, so that no other connection waits for it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "jobs.h"

#include <stddef.h>

static void *run(void *argument)
{
    struct jobs *jobs = argument;

    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        struct job *job = jobs->first;

        if (job) {
            jobs->first = job->next;
            if (!jobs->first) {
                jobs->last = &jobs->first;
            }
            pthread_mutex_unlock(&jobs->lock);
            job->run(job);
            pthread_mutex_lock(&jobs->lock);
        } else if (jobs->stopping) {
            break;
        } else {
            pthread_cond_wait(&jobs->more, &jobs->lock);
        }
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

int jobs_start(struct jobs *jobs, int threads)
{
    *jobs = (struct jobs){ .count = threads };
    jobs->last = &jobs->first;
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->more, NULL);
    for (int i = 0; i < threads; i++) {
        int error = pthread_create(&jobs->threads[i], NULL, run, jobs);

        if (error) {
            return -error;
        }
    }
    return 0;
}

void jobs_submit(struct jobs *jobs, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&jobs->lock);
    *jobs->last = job;
    jobs->last = &job->next;
    pthread_cond_signal(&jobs->more);
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_stop(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = true;
    pthread_cond_broadcast(&jobs->more);
    pthread_mutex_unlock(&jobs->lock);
    for (int i = 0; i < jobs->count; i++) {
        pthread_join(jobs->threads[i], NULL);
    }
    pthread_cond_destroy(&jobs->more);
    pthread_mutex_destroy(&jobs->lock);
}
