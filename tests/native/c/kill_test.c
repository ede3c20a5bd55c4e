/*
 * A process that ends at any instruction leaves a session that is right.
 *
 * A child works on a session, and the parent lets it go on by one instruction
 * at a time. Whenever it has changed the index or the record, the parent does
 * with a copy of them what the next process would: each page must be as it
 * was before the request or as it is after it, bit for bit.
 *
 * Without the sanitizers, as the order of the stores is the compiler's, and
 * it is to be that of the program which is installed.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "check.h"

#include "lifetime.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUESTS 100
#define MOST_PAGES 70
#define MOST_PUT 6

/* Also when nothing has changed: a slot must not be used again too early. */
#define STEPS_BETWEEN_LOOKS 100

/* Where the pages are: two groups side by side, and one far away. */
#define PAGES 192
#define FAR 128

struct request {
    bool claim;
    unsigned first, count;
    uint32_t content; /* 0: DROP */
    uint8_t entries[MOST_PUT * SMEMV_WIRE_ENTRY_SIZE];
    uint8_t data[MOST_PUT * SMEMV_WIRE_PAGE_SIZE];
};

static struct request requests[REQUESTS];
static struct session *session;
static struct attachment attachment;

/* What is in each page after so many requests. */
static uint32_t contents[REQUESTS + 1][PAGES];
static uint64_t epochs[REQUESTS + 1];

/* Requests that the child has done: shared with it. */
static volatile unsigned *done;

static uint64_t address_of(unsigned page)
{
    return page < FAR ? page : (UINT64_C(1) << 43) + page;
}

static void fill(uint8_t *page, uint32_t content)
{
    for (size_t i = 0; i < SMEMV_WIRE_PAGE_SIZE; i += sizeof(content)) {
        memcpy(page + i, &content, sizeof(content));
    }
}

/* Makes the payload of a PUT, so that there is no need to step through that. */
static void prepare(struct request *r)
{
    struct smemv_wire_entry entry = { .flags = SMEMV_WIRE_ENTRY_PRESENT };

    for (unsigned i = 0; i < r->count; i++) {
        fill(r->data + i * SMEMV_WIRE_PAGE_SIZE, r->content);
        entry.crc = smemv_wire_crc32c(r->data, SMEMV_WIRE_PAGE_SIZE);
        smemv_wire_put_entry(r->entries + i * SMEMV_WIRE_ENTRY_SIZE, &entry);
    }
}

static void plan(uint64_t *state)
{
    epochs[0] = 1;
    for (unsigned n = 0; n < REQUESTS; n++) {
        struct request *r = &requests[n];
        unsigned most = MOST_PUT;

        memcpy(contents[n + 1], contents[n], sizeof(contents[n]));
        r->claim = random_below(state, 8) == 0;
        epochs[n + 1] = epochs[n] + r->claim;
        if (r->claim) {
            continue;
        }
        if (random_below(state, 3)) {
            r->content = n + 1;
        } else {
            most = MOST_PAGES;
        }
        r->first = (unsigned)random_below(state, PAGES);
        r->count = (unsigned)random_below(state, most) + 1;
        if (r->first < FAR && r->count > FAR - r->first) {
            r->count = FAR - r->first;
        }
        if (r->count > PAGES - r->first) {
            r->count = PAGES - r->first;
        }
        for (unsigned i = 0; i < r->count; i++) {
            contents[n + 1][r->first + i] = r->content;
        }
        if (r->content) {
            prepare(r);
        }
    }
}

/* The holder of an epoch begins with it. */
static void set_holder(uint8_t *holder, uint64_t epoch)
{
    memset(holder, 0, SMEMV_WIRE_HOLDER_SIZE);
    memcpy(holder, &epoch, sizeof(epoch));
    memcpy(holder + 8, &epoch, sizeof(epoch));
}

static void work(void)
{
    for (unsigned n = 0; n < REQUESTS; n++) {
        const struct request *r = &requests[n];

        if (r->claim) {
            set_holder(attachment.holder, epochs[n + 1]);
            CHECK(session_claim(&attachment, epochs[n]).value ==
                  epochs[n + 1]);
        } else if (r->content) {
            CHECK(session_put(&attachment, address_of(r->first), r->count,
                              r->entries, r->data).status == SMEMV_WIRE_OK);
        } else {
            CHECK(session_drop(&attachment, address_of(r->first), r->count)
                      .status == SMEMV_WIRE_OK);
        }
        *done = n + 1;
    }
}

static bool use_slot(void *context, uint32_t slot)
{
    bool *used = context;

    if (!pool_has(&session->pool, slot) || used[slot]) {
        return false;
    }
    return used[slot] = true;
}

static bool holds(uint32_t slot, uint32_t content)
{
    uint8_t expected[SMEMV_WIRE_PAGE_SIZE];

    if (slot == RADIX_NONE || content == 0) {
        return slot == RADIX_NONE && content == 0;
    }
    fill(expected, content);
    return memcmp(pool_data(&session->pool, slot), expected,
                  sizeof(expected)) == 0 &&
           *pool_crc(&session->pool, slot) ==
               smemv_wire_crc32c(expected, sizeof(expected));
}

static void check_index(int index_fd)
{
    bool used[2 * SMEMV_WIRE_MAX_PAGES] = { false };
    const unsigned before = *done;
    const unsigned after = before < REQUESTS ? before + 1 : before;
    struct radix radix;
    uint32_t slots[PAGES];

    CHECK(!radix_restore(&radix, index_fd, 1 << 20, use_slot, used));
    radix_find(&radix, address_of(0), FAR, slots);
    radix_find(&radix, address_of(FAR), PAGES - FAR, slots + FAR);
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK(holds(slots[i], contents[before][i]) ||
              holds(slots[i], contents[after][i]));
    }
    arena_unmap(&radix.arena);
}

static void check_record(void)
{
    const unsigned before = *done;
    const unsigned after = before < REQUESTS ? before + 1 : before;
    const struct record *record = session->record;
    uint8_t holder[SMEMV_WIRE_HOLDER_SIZE];

    CHECK(record->epoch == epochs[before] || record->epoch == epochs[after]);
    set_holder(holder, record->epoch);
    CHECK(memcmp(record_holder(record), holder, sizeof(holder)) == 0);
}

/* Looks at what the child has left so far. */
static void look(bool always)
{
    static uint8_t seen[1 << 20];
    static int copy_fd = -1;
    const struct arena *arena = &session->index.arena;
    struct stat stat;
    size_t size;

    check_record();
    CHECK(fstat(arena->fd, &stat) == 0);
    size = (size_t)stat.st_size;
    CHECK(size <= sizeof(seen));
    if (memcmp(seen, arena->base, size) == 0 && !always) {
        return;
    }
    memcpy(seen, arena->base, size);
    if (copy_fd < 0) {
        copy_fd = memfd_create("copy", 0);
    }
    CHECK(pwrite(copy_fd, seen, size, 0) == (ssize_t)size);
    check_index(copy_fd);
}

static unsigned long step_through(pid_t child)
{
    unsigned long steps = 0;
    int status;

    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        look(steps++ % STEPS_BETWEEN_LOOKS == 0);
        CHECK(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return steps;
}

int main(int argc, char **argv)
{
    uint64_t state = seed_from(argc, argv);
    struct smemv_wire_open open = { .reserve = PAGES, .name = "killed" };
    unsigned long steps;
    pid_t child;

    plan(&state);
    done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    CHECK(done != MAP_FAILED);
    set_holder(open.holder, 1);
    session = session_new(&open, PAGES, 1, 0);
    CHECK(session && session_commit(session, false).status == SMEMV_WIRE_OK);
    attachment.session = session;
    set_holder(attachment.holder, 1);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        work();
        _exit(0);
    }
    steps = step_through(child);
    CHECK(*done == REQUESTS);
    printf("%lu instructions\n", steps);
    session_close(session, NULL);
    session_free(session);
    return 0;
}
