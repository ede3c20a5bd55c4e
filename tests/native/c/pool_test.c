/*
 * The pool against a model: slots taken and given back, memory added and
 * released, at random from a seed. No slot is in two hands, what is in a
 * taken slot stays, and as much can be taken as was committed, no more; by one
 * process after the other.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "check.h"

#include "pool.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SLOTS 40000
#define OPERATIONS 8000

static struct pool pool;
static uint32_t taken[MAX_SLOTS];
static unsigned taken_count;
static unsigned committed;
static bool in_hand[MAX_SLOTS];

/* The first and last words of a slot that is in hand. */
static void mark(uint32_t slot, uint32_t value)
{
    uint8_t *data = pool_data(&pool, slot);

    memcpy(data, &value, sizeof(value));
    memcpy(data + 4092, &value, sizeof(value));
    *pool_crc(&pool, slot) = ~value;
}

static void check_mark(uint32_t slot, uint32_t value)
{
    uint8_t *data = pool_data(&pool, slot);

    CHECK(memcmp(data, &value, sizeof(value)) == 0);
    CHECK(memcmp(data + 4092, &value, sizeof(value)) == 0);
    CHECK(*pool_crc(&pool, slot) == ~value);
}

static void take(unsigned count)
{
    bool enough = count <= committed - taken_count;

    CHECK(pool_take(&pool, count, taken + taken_count) == enough);
    if (!enough) {
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        uint32_t slot = taken[taken_count + i];

        CHECK(slot < MAX_SLOTS);
        CHECK(!in_hand[slot]);
        in_hand[slot] = true;
        mark(slot, slot * 7);
    }
    taken_count += count;
}

/* Gives back @count of any that are in hand, with some that are none. */
static void give(uint64_t *state, unsigned count)
{
    uint32_t slots[512];
    unsigned given = 0;

    while (given < count) {
        unsigned i;

        if (random_below(state, 4) == 0 || !taken_count) {
            slots[given++] = POOL_NONE;
            continue;
        }
        i = (unsigned)random_below(state, taken_count);
        check_mark(taken[i], taken[i] * 7);
        in_hand[taken[i]] = false;
        slots[given++] = taken[i];
        taken[i] = taken[--taken_count];
    }
    pool_give(&pool, count, slots);
}

static void commit(unsigned count)
{
    unsigned room = MAX_SLOTS - committed;

    if (count > room) {
        count = room;
    }
    CHECK(pool_commit(&pool, count) == count);
    committed += count;
}

static void release(unsigned count)
{
    unsigned free_slots = committed - taken_count;
    uint32_t released = pool_release(&pool, count);

    CHECK(released == (count < free_slots ? count : free_slots));
    committed -= released;
}

/* What the next process would do, with the same memfd. */
static void restart(void)
{
    uint64_t used[MAX_SLOTS / 64] = { 0 };
    int fd = dup(pool.fd);

    pool_destroy(&pool);
    CHECK(pool_restore(&pool, fd, MAX_SLOTS) == 0);
    for (unsigned i = 0; i < taken_count; i++) {
        CHECK(pool_has(&pool, taken[i]));
        pool_set_bit(used, taken[i]);
    }
    CHECK(pool_settle(&pool, used) == committed);
}

/* The memfd has as much memory as is committed, and its checksums. */
static void check_memory(void)
{
    struct stat stat;
    uint64_t data = (uint64_t)committed * 4096;

    CHECK(fstat(pool.fd, &stat) == 0);
    CHECK((uint64_t)stat.st_blocks * 512 >= data);
    CHECK((uint64_t)stat.st_blocks * 512 <= data + (2 << 20));
}

int main(int argc, char **argv)
{
    uint64_t state = seed_from(argc, argv);

    CHECK(pool_init(&pool, MAX_SLOTS) == 0);
    take(1);
    for (int i = 0; i < OPERATIONS; i++) {
        unsigned count = (unsigned)random_below(&state, 256) + 1;

        switch (random_below(&state, 8)) {
        case 0:
            commit(count);
            break;
        case 1:
            release(count);
            break;
        case 2: case 3: case 4:
            give(&state, count);
            break;
        default:
            take(count);
        }
        if (i % 100 == 0) {
            restart();
        }
        if (i % 1000 == 0) {
            check_memory();
        }
    }
    for (unsigned i = 0; i < taken_count; i++) {
        check_mark(taken[i], taken[i] * 7);
    }
    CHECK(committed > 0 && taken_count > 0);
    pool_destroy(&pool);
    return 0;
}
