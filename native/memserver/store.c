/*
 * Sessions outlive the process in the file descriptor store of the service
 * manager, which hands their memfds to the next process.
 *
 * The three memfds of a session have one name there, so that one message puts
 * all of them in and one takes all of them out.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "store.h"

#include "log.h"
#include "registry.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define PREFIX "session-"
#define NAME_SIZE (sizeof(PREFIX) + 2 * SMEMV_WIRE_ID_SIZE)

/* Microseconds that the manager may take, which answers at once. */
#define MANAGER_TIME 10000000

bool store_is_name(const char *name)
{
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

static void name_of(const uint8_t id[SMEMV_WIRE_ID_SIZE], char name[NAME_SIZE])
{
    char *end = stpcpy(name, PREFIX);

    for (unsigned i = 0; i < SMEMV_WIRE_ID_SIZE; i++) {
        end += sprintf(end, "%02x", id[i]);
    }
}

unsigned store_room(void)
{
    const char *room = getenv("FDSTORE");

    return room ? (unsigned)strtoul(room, NULL, 10) / STORE_FDS : UINT_MAX;
}

static bool has_manager(void)
{
    return getenv("NOTIFY_SOCKET");
}

bool store_add(const uint8_t id[SMEMV_WIRE_ID_SIZE], const int fds[STORE_FDS])
{
    char name[NAME_SIZE];
    char message[NAME_SIZE + 32];

    if (!has_manager()) {
        return true;
    }
    name_of(id, name);
    snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s", name);
    return sd_pid_notify_with_fds(0, 0, message, fds, STORE_FDS) > 0 &&
           sd_notify_barrier(0, MANAGER_TIME) >= 0;
}

void store_remove(const uint8_t id[SMEMV_WIRE_ID_SIZE])
{
    char name[NAME_SIZE];

    if (has_manager()) {
        name_of(id, name);
        sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
    }
}

/* The descriptors that were handed over under one name. */
struct kept {
    const char *name;
    int fds[STORE_FDS];
    unsigned count;
};

static bool refuse(const char *name, const char *wrong)
{
    log_line(LOG_ERR, "%s was kept, but it cannot be used: %s. Nothing is "
             "served, so that nothing is lost. \"systemctl clean "
             "--what=fdstore\" throws all sessions away", name, wrong);
    return false;
}

static void close_all(const struct kept *kept)
{
    for (unsigned i = 0; i < kept->count; i++) {
        close(kept->fds[i]);
    }
}

/* Closing was begun, and goes on. */
static bool is_closed(int record_fd, uint8_t id[SMEMV_WIRE_ID_SIZE])
{
    struct record *record;
    bool closed;

    if (record_find(record_fd, &record)) {
        return false;
    }
    closed = record->state == RECORD_CLOSED;
    memcpy(id, record->id, SMEMV_WIRE_ID_SIZE);
    record_unmap(record);
    return closed;
}

static bool take(struct registry *registry, struct kept *kept)
{
    uint8_t id[SMEMV_WIRE_ID_SIZE];
    const char *wrong = NULL;
    struct session *session;
    unsigned i = 0;

    while (i < kept->count && !record_is_in(kept->fds[i])) {
        i++;
    }
    if (i == kept->count) {
        return refuse(kept->name, "its record is missing");
    }
    if (is_closed(kept->fds[i], id)) {
        store_remove(id);
        close_all(kept);
        return true;
    }
    if (kept->count != STORE_FDS) {
        return refuse(kept->name, "its pages or its index are missing");
    }
    session = session_restore(
        kept->fds[i], (int[]){ kept->fds[!i], kept->fds[i == 2 ? 1 : 2] },
        registry->capacity, registry->workers, &wrong);
    if (!session) {
        return refuse(kept->name, wrong);
    }
    registry_adopt(registry, session);
    return true;
}

/* Sorts a descriptor to those of the same name. False: too many have it. */
static bool sort(struct kept *all, unsigned *count, const char *name, int fd)
{
    struct kept *kept = all;

    while (kept < all + *count && strcmp(kept->name, name) != 0) {
        kept++;
    }
    if (kept == all + *count) {
        *kept = (struct kept){ .name = name };
        (*count)++;
    }
    if (kept->count == STORE_FDS) {
        return refuse(name, "there are too many descriptors of it");
    }
    kept->fds[kept->count++] = fd;
    return true;
}

static bool take_all(struct registry *registry, char **names, int count)
{
    struct kept *all = calloc((size_t)count, sizeof(*all));
    unsigned sessions = 0;
    bool ok = all;

    for (int i = 0; ok && i < count; i++) {
        if (store_is_name(names[i])) {
            ok = sort(all, &sessions, names[i], SD_LISTEN_FDS_START + i);
        }
    }
    for (unsigned i = 0; ok && i < sessions; i++) {
        ok = take(registry, &all[i]);
    }
    free(all);
    return ok;
}

bool store_take(struct registry *registry)
{
    char **names;
    int count = sd_listen_fds_with_names(0, &names);
    bool ok;

    if (count <= 0) {
        return true;
    }
    ok = take_all(registry, names, count);
    for (int i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    return ok;
}
