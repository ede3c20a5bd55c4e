/*
 * The index of a session: from guest memory page number to slot.
 *
 * Five levels of nodes with 512 children, and under them groups of 64 pages.
 * A group is a bitmap and the slots of just those pages whose bit is set, so
 * that sparse memory costs little: with one page of 16 stored the index is
 * 0.3 % of the data, with all of them 0.1 %.
 *
 * Every change takes effect by one 32-bit store: a slot replaced in its
 * group, a slot replaced by RADIX_NONE (its bit stays until the group is next
 * rebuilt), or a whole new group put in the place of the old one. So at any
 * moment the memory holds an index that is right, whatever ends the process.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "radix.h"

#include "persist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_BITS 6
#define GROUP_PAGES (1u << GROUP_BITS)
#define NODE_BITS 9
#define NODE_CHILDREN (1u << NODE_BITS)
#define LEVELS 5

/* A run touches at most 5 groups and two paths of nodes below the root. */
#define WORST_STORE ((size_t)5 * 264 + (size_t)2 * (LEVELS - 1) * 2048)

struct group {
    uint64_t pages;   /* bit i: page i has a place in slots */
    uint32_t slots[]; /* in the order of the bits */
};

/* How a page is reached: the place in each level's node that leads on. */
struct path {
    arena_ref nodes[LEVELS]; /* [LEVELS - 1] is the root */
    unsigned child[LEVELS];
};

static const struct {
    enum arena_class class;
    int slots;
} group_classes[] = {
    { ARENA_16, 2 },   { ARENA_32, 6 },   { ARENA_64, 14 },
    { ARENA_128, 30 }, { ARENA_264, 64 },
};

static enum arena_class group_class(uint64_t pages)
{
    int slots = __builtin_popcountll(pages);
    size_t i = 0;

    while (group_classes[i].slots < slots) {
        i++;
    }
    return group_classes[i].class;
}

static unsigned child_of(uint64_t page, unsigned level)
{
    return (page >> (GROUP_BITS + level * NODE_BITS)) & (NODE_CHILDREN - 1);
}

/* The group of a page, or NULL. */
static struct group *find_group(const struct radix *radix, uint64_t page)
{
    arena_ref ref = radix->root;

    for (unsigned level = LEVELS; level-- > 0;) {
        const arena_ref *node = arena_at(&radix->arena, ref);

        ref = node[child_of(page, level)];
        if (ref == ARENA_NONE) {
            return NULL;
        }
    }
    return arena_at(&radix->arena, ref);
}

/* Where a page of the group has its slot; NULL where it has none. */
static uint32_t *slot_of(struct group *group, unsigned index)
{
    uint64_t bit = UINT64_C(1) << index;

    if (!group || !(group->pages & bit)) {
        return NULL;
    }
    return &group->slots[__builtin_popcountll(group->pages & (bit - 1))];
}

/* Pages of a run that fall into the group where it begins. */
static unsigned run_in_group(uint64_t page, unsigned count)
{
    unsigned left = GROUP_PAGES - (unsigned)(page % GROUP_PAGES);

    return count < left ? count : left;
}

int radix_init(struct radix *radix, size_t limit)
{
    int error = arena_init(&radix->arena, limit);

    if (error) {
        return error;
    }
    if (!arena_ensure(&radix->arena, 2048)) {
        arena_destroy(&radix->arena);
        return -ENOMEM;
    }
    radix->root = arena_alloc(&radix->arena, ARENA_2048);
    return 0;
}

void radix_destroy(struct radix *radix)
{
    arena_destroy(&radix->arena);
}

void radix_find(const struct radix *radix, uint64_t page, unsigned count,
                uint32_t slots[])
{
    while (count) {
        struct group *group = find_group(radix, page);
        unsigned run = run_in_group(page, count);
        unsigned first = page % GROUP_PAGES;

        for (unsigned i = 0; i < run; i++) {
            uint32_t *slot = slot_of(group, first + i);

            slots[i] = slot ? *slot : RADIX_NONE;
        }
        page += run;
        slots += run;
        count -= run;
    }
}

bool radix_prepare(struct radix *radix)
{
    return arena_ensure(&radix->arena, WORST_STORE);
}

/* The place that holds the group of a page; nodes on the way are made. */
static arena_ref *make_path(struct radix *radix, uint64_t page)
{
    arena_ref *place = &radix->root;

    for (unsigned level = LEVELS; level-- > 0;) {
        arena_ref *node;

        if (*place == ARENA_NONE) {
            persist_u32(place, arena_alloc(&radix->arena, ARENA_2048));
        }
        node = arena_at(&radix->arena, *place);
        place = &node[child_of(page, level)];
    }
    return place;
}

/* Puts a group with the old one's pages and the run's in place of the old. */
static void rebuild_group(struct radix *radix, arena_ref *place, unsigned first,
                          unsigned run, const uint32_t slots[], uint32_t old[])
{
    struct group *before = NULL;
    struct group *after;
    uint64_t pages = 0;
    unsigned filled = 0;
    arena_ref ref, ref_before;

    if (*place != ARENA_NONE) {
        before = arena_at(&radix->arena, *place);
    }
    for (unsigned i = 0; i < GROUP_PAGES; i++) {
        uint32_t *slot = slot_of(before, i);

        if ((slot && *slot != RADIX_NONE) || (i >= first && i < first + run)) {
            pages |= UINT64_C(1) << i;
        }
    }
    ref = arena_alloc(&radix->arena, group_class(pages));
    after = arena_at(&radix->arena, ref);
    after->pages = pages;
    for (unsigned i = 0; i < GROUP_PAGES; i++) {
        uint32_t *slot = slot_of(before, i);

        if (i >= first && i < first + run) {
            old[i - first] = slot ? *slot : RADIX_NONE;
            after->slots[filled++] = slots[i - first];
        } else if (slot && *slot != RADIX_NONE) {
            after->slots[filled++] = *slot;
        }
    }
    ref_before = *place;
    persist_u32(place, ref);
    if (before) {
        arena_free(&radix->arena, ref_before, group_class(before->pages));
    }
}

void radix_store(struct radix *radix, uint64_t page, unsigned count,
                 const uint32_t slots[], uint32_t old[])
{
    while (count) {
        struct group *group = find_group(radix, page);
        unsigned run = run_in_group(page, count);
        unsigned first = page % GROUP_PAGES;
        uint64_t mask = (run == GROUP_PAGES ? UINT64_MAX
                                            : (UINT64_C(1) << run) - 1) << first;

        if (group && (group->pages & mask) == mask) {
            for (unsigned i = 0; i < run; i++) {
                uint32_t *slot = slot_of(group, first + i);

                old[i] = *slot;
                persist_u32(slot, slots[i]);
            }
        } else {
            rebuild_group(radix, make_path(radix, page), first, run, slots, old);
        }
        page += run;
        slots += run;
        old += run;
        count -= run;
    }
}

static bool group_is_empty(const struct group *group)
{
    int slots = __builtin_popcountll(group->pages);

    for (int i = 0; i < slots; i++) {
        if (group->slots[i] != RADIX_NONE) {
            return false;
        }
    }
    return true;
}

static bool node_is_empty(const struct radix *radix, arena_ref ref)
{
    static const arena_ref none[NODE_CHILDREN];

    return memcmp(arena_at(&radix->arena, ref), none, sizeof(none)) == 0;
}

/* Takes an empty group out, and every node that this leaves empty. */
static void remove_group(struct radix *radix, uint64_t page)
{
    struct path path;
    arena_ref ref = radix->root;
    struct group *group;

    for (unsigned level = LEVELS; level-- > 0;) {
        const arena_ref *node = arena_at(&radix->arena, ref);

        path.nodes[level] = ref;
        path.child[level] = child_of(page, level);
        ref = node[path.child[level]];
    }
    group = arena_at(&radix->arena, ref);
    for (unsigned level = 0; level < LEVELS; level++) {
        arena_ref *node = arena_at(&radix->arena, path.nodes[level]);

        persist_u32(&node[path.child[level]], ARENA_NONE);
        arena_free(&radix->arena, ref,
                   level ? ARENA_2048 : group_class(group->pages));
        ref = path.nodes[level];
        if (!node_is_empty(radix, ref)) {
            return;
        }
    }
}

void radix_remove(struct radix *radix, uint64_t page, unsigned count,
                  uint32_t old[])
{
    while (count) {
        struct group *group = find_group(radix, page);
        unsigned run = run_in_group(page, count);
        unsigned first = page % GROUP_PAGES;

        for (unsigned i = 0; i < run; i++) {
            uint32_t *slot = slot_of(group, first + i);

            old[i] = RADIX_NONE;
            if (slot) {
                old[i] = *slot;
                persist_u32(slot, RADIX_NONE);
            }
        }
        if (group && group_is_empty(group)) {
            remove_group(radix, page);
        }
        page += run;
        old += run;
        count -= run;
    }
}

size_t radix_bytes(const struct radix *radix)
{
    return radix->arena.fresh;
}

/* What a walk through an index that is not known yet needs. */
struct walk {
    const struct radix *radix;
    uint64_t *marks;
    bool (*use)(void *context, uint32_t slot);
    void *context;
};

static const char *walk_group(const struct walk *walk, arena_ref ref)
{
    const struct arena *arena = &walk->radix->arena;
    const struct group *group;
    unsigned slots;

    /* As a group of the smallest size first: what size it has, it says. */
    if ((size_t)ref * 8 + 16 > arena->committed) {
        return "a group of its index lies outside";
    }
    group = arena_at(arena, ref);
    if (!arena_mark(arena, walk->marks, ref, group_class(group->pages))) {
        return "a group of its index lies outside, or on another";
    }
    slots = (unsigned)__builtin_popcountll(group->pages);
    for (unsigned i = 0; i < slots; i++) {
        if (group->slots[i] != RADIX_NONE &&
            !walk->use(walk->context, group->slots[i])) {
            return "its index points at a slot that is none, or twice at one";
        }
    }
    return NULL;
}

static const char *walk_node(const struct walk *walk, arena_ref ref,
                             unsigned level)
{
    const struct arena *arena = &walk->radix->arena;
    const arena_ref *node;
    const char *wrong = NULL;

    if (!arena_mark(arena, walk->marks, ref, ARENA_2048)) {
        return "a node of its index lies outside, or on another";
    }
    node = arena_at(arena, ref);
    for (unsigned i = 0; !wrong && i < NODE_CHILDREN; i++) {
        if (node[i] != ARENA_NONE) {
            wrong = level ? walk_node(walk, node[i], level - 1)
                          : walk_group(walk, node[i]);
        }
    }
    return wrong;
}

const char *radix_restore(struct radix *radix, int fd, size_t limit,
                          bool (*use)(void *context, uint32_t slot),
                          void *context)
{
    struct walk walk = { .radix = radix, .use = use, .context = context };
    const char *wrong;

    if (arena_restore(&radix->arena, fd, limit)) {
        return "its index cannot be mapped";
    }
    radix->root = ARENA_FIRST;
    walk.marks = calloc(radix->arena.committed / 512 + 1, sizeof(*walk.marks));
    wrong = walk.marks ? walk_node(&walk, radix->root, LEVELS - 1)
                       : "there is no memory to walk through its index";
    if (!wrong) {
        arena_settle(&radix->arena, walk.marks);
    }
    free(walk.marks);
    if (wrong) {
        arena_unmap(&radix->arena);
    }
    return wrong;
}
