/*
 * The answer to STAT: the memserver and its sessions as JSON.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "stat.h"

#include "memory.h"
#include "version.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void hex(char *text, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sprintf(text + 2 * i, "%02x", bytes[i]);
    }
}

/* Nothing in it needs quoting: a session's name has no such characters. */
static void print_session(FILE *out, struct session *session)
{
    const struct record *record = session->record;
    char id[2 * SMEMV_WIRE_ID_SIZE + 1];

    hex(id, record->id, sizeof(record->id));
    pthread_rwlock_rdlock(&session->lock);
    fprintf(out,
            "{\"id\": \"%s\", \"name\": \"%s\", \"reserved\": %" PRIu64
            ", \"used\": %" PRIu64 ", \"epoch\": %" PRIu64
            ", \"connections\": %u}",
            id, record->name, record->reserve, session->used, record->epoch,
            atomic_load(&session->connections));
    pthread_rwlock_unlock(&session->lock);
}

static uint64_t pages_used(struct registry *registry)
{
    uint64_t used = 0;

    for (struct session *s = registry->sessions; s; s = s->next) {
        pthread_rwlock_rdlock(&s->lock);
        used += s->used;
        pthread_rwlock_unlock(&s->lock);
    }
    return used;
}

size_t stat_json(struct registry *registry, const struct session *only,
                 bool all, char *buffer, size_t size)
{
    const char *separator = "";
    FILE *out = fmemopen(buffer, size, "w");
    long length;
    bool failed;

    if (!out) {
        return 0;
    }
    pthread_mutex_lock(&registry->lock);
    fprintf(out,
            "{\"capacity\": %" PRIu64 ", \"reserved\": %" PRIu64
            ", \"used\": %" PRIu64 ", \"huge_pages\": %s"
            ", \"version\": \"%s\", \"sessions\": [",
            registry->capacity, registry->reserved, pages_used(registry),
            registry->memory & MEMORY_HUGE ? "true" : "false",
            SMEMV_MEMSERVER_VERSION);
    for (struct session *s = registry->sessions; s; s = s->next) {
        if (all || s == only) {
            fputs(separator, out);
            print_session(out, s);
            separator = ", ";
        }
    }
    fputs("]}", out);
    pthread_mutex_unlock(&registry->lock);
    fflush(out);
    length = ftell(out);
    failed = ferror(out) || length < 0 || (size_t)length >= size;
    fclose(out);
    return failed ? 0 : (size_t)length;
}
