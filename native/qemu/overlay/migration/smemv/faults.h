/*
 * Faults: the guest touches a page that is not here.
 *
 * Threads that serve the userfaultfd. Each has connections of its own to every
 * sub-host, so that a fault waits for nobody else's transfer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_FAULTS_H
#define SMEMV_FAULTS_H

#include "pager.h"

typedef struct SmemvFaults SmemvFaults;

/* Connected to each sub-host; NULL on an error, which ends this process. */
SmemvFaults *smemv_faults_new(SmemvPager *p, Error **errp);
void smemv_faults_free(SmemvFaults *f);

void smemv_faults_start(SmemvFaults *f);

/* The pager stops: its stop_fd has woken them. */
void smemv_faults_join(SmemvFaults *f);

#endif
