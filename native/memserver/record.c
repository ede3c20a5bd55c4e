/*
 * What is to be known of a session besides its pages and their index, in a
 * memfd of its own, so that the next process finds it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "record.h"

#include "persist.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x7373562d6d656d53) /* "SmemV-ss" */

static uint32_t crc_of(const struct record *record)
{
    const size_t from = offsetof(struct record, id);

    return smemv_wire_crc32c((const uint8_t *)record + from,
                             offsetof(struct record, state) - from);
}

static uint64_t inode_of(int fd)
{
    struct stat stat;

    return fstat(fd, &stat) ? 0 : stat.st_ino;
}

static struct record *map(int fd)
{
    void *record = mmap(NULL, RECORD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                        fd, 0);

    if (record == MAP_FAILED) {
        return NULL;
    }
    /* The token is nothing to find in a core file. */
    madvise(record, RECORD_BYTES, MADV_DONTDUMP);
    return record;
}

static void fill(struct record *record, const struct smemv_wire_open *open,
                 int pages_fd, int index_fd)
{
    *record = (struct record){
        .magic = MAGIC,
        .version = RECORD_VERSION,
        .pages_inode = inode_of(pages_fd),
        .index_inode = inode_of(index_fd),
        .state = RECORD_OPEN,
        .reserve = open->reserve,
        .epoch = 1,
    };
    memcpy(record->id, open->id, sizeof(record->id));
    memcpy(record->token, open->token, sizeof(record->token));
    memcpy(record->name, open->name, sizeof(record->name));
    memcpy(record->holders[1], open->holder, sizeof(record->holders[1]));
    record->crc = crc_of(record);
}

int record_create(const struct smemv_wire_open *open, int pages_fd,
                  int index_fd, struct record **record)
{
    int fd = memfd_create("smemv-session", MFD_CLOEXEC);
    int error;

    if (fd < 0) {
        return -errno;
    }
    error = posix_fallocate(fd, 0, RECORD_BYTES);
    *record = error ? NULL : map(fd);
    if (!*record) {
        close(fd);
        return -ENOMEM;
    }
    fill(*record, open, pages_fd, index_fd);
    return fd;
}

bool record_is_in(int fd)
{
    struct stat stat;

    return fstat(fd, &stat) == 0 && stat.st_size == RECORD_BYTES;
}

static const char *check(const struct record *record)
{
    if (record->magic != MAGIC) {
        return "it does not begin as a session's record does";
    }
    if (record->version != RECORD_VERSION) {
        return "it is of a version that this program does not know";
    }
    if (record->crc != crc_of(record)) {
        return "it does not match its checksum";
    }
    if ((record->state != RECORD_OPEN && record->state != RECORD_CLOSED) ||
        record->epoch == 0) {
        return "its state or its epoch is none";
    }
    return NULL;
}

const char *record_find(int fd, struct record **record)
{
    const char *wrong;

    *record = map(fd);
    if (!*record) {
        return "it cannot be mapped";
    }
    wrong = check(*record);
    if (wrong) {
        record_unmap(*record);
        *record = NULL;
    }
    return wrong;
}

void record_unmap(struct record *record)
{
    munmap(record, RECORD_BYTES);
}

void record_claim(struct record *record,
                  const uint8_t holder[SMEMV_WIRE_HOLDER_SIZE])
{
    memcpy(record->holders[(record->epoch + 1) % 2], holder,
           SMEMV_WIRE_HOLDER_SIZE);
    persist_u64(&record->epoch, record->epoch + 1);
}
