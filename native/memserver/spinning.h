/*
 * A mutex that is held for less time than it takes to sleep and be woken: who
 * finds it taken spins for a while before it sleeps.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_SPINNING_H
#define SMEMV_SPINNING_H

#include <pthread.h>

static inline void spinning_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

#endif
