/*
 * The memserver's metrics, in Prometheus' text format.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "metrics.h"

#include "version.h"
#include "worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME(name) "smemv_memserver_" name

static void head(FILE *out, const char *name, const char *type,
                 const char *help)
{
    fprintf(out, "# HELP " NAME("%s") " %s\n# TYPE " NAME("%s") " %s\n", name,
            help, name, type);
}

static void print(FILE *out, const char *name, const char *type,
                  const char *help, uint64_t value)
{
    head(out, name, type, help);
    fprintf(out, NAME("%s") " %" PRIu64 "\n", name, value);
}

/* Adds up what all workers counted at the same @offset of their counters. */
static uint64_t sum(const struct server *server, size_t offset)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < server->registry.workers; i++) {
        const void *counters = &server->workers[i].counters;

        total += counted((const counter *)((const char *)counters + offset));
    }
    return total;
}

#define SUM(server, member) sum(server, offsetof(struct counters, member))

static const char *opcode_label(unsigned opcode)
{
    return opcode ? smemv_wire_opcode_name(opcode) : "invalid";
}

static bool is_opcode(unsigned opcode)
{
    return strcmp(opcode_label(opcode), "?") != 0;
}

/* What is none of the opcodes is all one. */
static uint64_t answers(const struct server *server, unsigned opcode,
                        unsigned status)
{
    uint64_t total = SUM(server, answers[opcode][status]);

    for (unsigned i = 1; opcode == 0 && i < COUNTERS_OPCODES; i++) {
        if (!is_opcode(i)) {
            total += SUM(server, answers[i][status]);
        }
    }
    return total;
}

static void print_answers(FILE *out, const struct server *server)
{
    head(out, "requests_total", "counter",
         "Requests that were answered, by opcode and status.");
    for (unsigned opcode = 0; opcode < COUNTERS_OPCODES; opcode++) {
        for (unsigned status = 0; status < COUNTERS_STATUSES; status++) {
            const char *name = smemv_wire_status_name(status);

            if (is_opcode(opcode) && strcmp(name, "?") != 0) {
                fprintf(out,
                        NAME("requests_total{opcode=\"%s\",status=\"%s\"} ")
                        "%" PRIu64 "\n", opcode_label(opcode), name,
                        answers(server, opcode, status));
            }
        }
    }
}

static void print_histogram(FILE *out, const struct server *server,
                            unsigned opcode)
{
    const char *name = opcode_label(opcode);
    uint64_t total = 0;

    for (unsigned i = 0; i <= COUNTERS_BUCKETS; i++) {
        unsigned bits = COUNTERS_FIRST_BITS + i * COUNTERS_BUCKET_BITS;
        char limit[32] = "+Inf";

        if (i < COUNTERS_BUCKETS) {
            snprintf(limit, sizeof(limit), "%.9g",
                     (double)(UINT64_C(1) << bits) / 1e9);
        }
        total += SUM(server, took[opcode][i]);
        fprintf(out,
                NAME("request_duration_seconds_bucket{opcode=\"%s\",le=\"%s\"}")
                " %" PRIu64 "\n", name, limit, total);
    }
    fprintf(out,
            NAME("request_duration_seconds_sum{opcode=\"%s\"} %.9f\n")
            NAME("request_duration_seconds_count{opcode=\"%s\"} %" PRIu64 "\n"),
            name, (double)SUM(server, nanoseconds[opcode]) / 1e9, name, total);
}

static void print_times(FILE *out, const struct server *server)
{
    head(out, "request_duration_seconds", "histogram",
         "From a request that is there as a whole to its answer, queued.");
    for (unsigned opcode = 1; opcode < COUNTERS_OPCODES; opcode++) {
        if (is_opcode(opcode)) {
            print_histogram(out, server, opcode);
        }
    }
}

static uint64_t reserved_pages(const struct session *session)
{
    return session->record->reserve;
}

static uint64_t used_pages(const struct session *session)
{
    return session->used;
}

/* One of the sessions' numbers. Their names need no quoting. */
static void print_sessions(FILE *out, struct registry *registry,
                           const char *name, const char *help,
                           uint64_t (*number)(const struct session *))
{
    char id[2 * SMEMV_WIRE_ID_SIZE + 1];

    head(out, name, "gauge", help);
    for (struct session *s = registry->sessions; s; s = s->next) {
        uint64_t pages;

        for (size_t i = 0; i < SMEMV_WIRE_ID_SIZE; i++) {
            sprintf(id + 2 * i, "%02x", s->record->id[i]);
        }
        pthread_rwlock_rdlock(&s->lock);
        pages = number(s);
        pthread_rwlock_unlock(&s->lock);
        fprintf(out, NAME("%s{id=\"%s\",name=\"%s\"} %" PRIu64 "\n"), name, id,
                s->record->name, pages * SMEMV_WIRE_PAGE_SIZE);
    }
}

static void print_memory(FILE *out, struct registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    print(out, "capacity_bytes", "gauge", "Memory that VMs may reserve.",
          registry->capacity * SMEMV_WIRE_PAGE_SIZE);
    print(out, "reserved_bytes", "gauge", "Memory that VMs have reserved.",
          registry->reserved * SMEMV_WIRE_PAGE_SIZE);
    print(out, "sessions", "gauge", "VMs that have a session.",
          registry->count);
    print_sessions(out, registry, "session_reserved_bytes",
                   "Memory that the VM has reserved.",
                   reserved_pages);
    print_sessions(out, registry, "session_used_bytes",
                   "Pages of the VM that are held.",
                   used_pages);
    pthread_mutex_unlock(&registry->lock);
}

static void print_connections(FILE *out, struct server *server)
{
    unsigned total;

    pthread_mutex_lock(&server->peers.lock);
    total = server->peers.total;
    pthread_mutex_unlock(&server->peers.lock);
    print(out, "connections", "gauge", "Connections that are open.", total);
    print(out, "connections_accepted_total", "counter",
          "Connections that came in.", counted(&server->accepted));
    print(out, "connections_refused_total", "counter",
          "Connections beyond what there may be, in all or from one peer.",
          counted(&server->refused));
}

static void print_tls(FILE *out, struct server *server)
{
    if (!server->tls.folder) {
        return;
    }
    print(out, "tls_handshakes_total", "counter",
          "TLS handshakes that succeeded.", SUM(server, handshakes));
    print(out, "tls_failures_total", "counter",
          "TLS connections that were refused or broke.",
          SUM(server, tls_failures));
    print(out, "tls_certificate_expiry_timestamp_seconds", "gauge",
          "When the first of the certificates in force expires.",
          (uint64_t)tls_expires(&server->tls));
}

char *metrics_text(struct server *server, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    if (!out) {
        *size = 0;
        return NULL;
    }
    head(out, "build_info", "gauge", "The version that runs.");
    fprintf(out, NAME("build_info{version=\"%s\"} 1\n"),
            SMEMV_MEMSERVER_VERSION);
    print_memory(out, &server->registry);
    print_connections(out, server);
    print_tls(out, server);
    print(out, "received_bytes_total", "counter",
          "Bytes of requests that came in.", SUM(server, received));
    print(out, "sent_bytes_total", "counter",
          "Bytes of answers that went out.", SUM(server, sent));
    print_answers(out, server);
    print_times(out, server);
    fclose(out);
    return text;
}
