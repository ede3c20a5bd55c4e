/*
 * What is to be known of a session besides its pages and their index, in a
 * memfd of its own, so that the next process finds it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_RECORD_H
#define SMEMV_RECORD_H

#include "../wire/smemv-wire.h"

#include <stdbool.h>
#include <stdint.h>

/* One more with each change of this, of the index, or of the pool's layout. */
#define RECORD_VERSION 1

/* The size of its memfd in every version: no index or pool is as small. */
#define RECORD_BYTES 4096

enum record_state {
    RECORD_OPEN = 1,
    RECORD_CLOSED = 2, /* whatever of the session is still there may go */
};

struct record {
    uint64_t magic;
    uint32_t version;
    uint32_t crc; /* of what never changes, which is from here to state */

    uint8_t id[SMEMV_WIRE_ID_SIZE];
    uint8_t token[SMEMV_WIRE_TOKEN_SIZE];
    char name[SMEMV_WIRE_NAME_SIZE];
    uint64_t pages_inode; /* of the pool's memfd */
    uint64_t index_inode; /* of the index's */

    /* Each changes by one store. */
    uint64_t state;
    uint64_t reserve; /* pages */
    uint64_t epoch;
    /* The holder of epoch e is the one at e % 2; the other is the next one. */
    uint8_t holders[2][SMEMV_WIRE_HOLDER_SIZE];
};

/*
 * Makes the record of a new session, of which the files are @pages_fd and
 * @index_fd. Returns its memfd, or a negative errno.
 */
int record_create(const struct smemv_wire_open *open, int pages_fd,
                  int index_fd, struct record **record);

/*
 * Finds the record in a memfd of a process before this one. Returns NULL, or
 * what is wrong with it.
 */
const char *record_find(int fd, struct record **record);
void record_unmap(struct record *record);

/* Is it a record's memfd? Those of pages and indexes have other sizes. */
bool record_is_in(int fd);

static inline const uint8_t *record_holder(const struct record *record)
{
    return record->holders[record->epoch % 2];
}

/* One epoch more, with @holder. */
void record_claim(struct record *record,
                  const uint8_t holder[SMEMV_WIRE_HOLDER_SIZE]);

#endif
