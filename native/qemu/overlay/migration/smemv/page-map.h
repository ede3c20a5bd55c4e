/*
 * Page map: where each page of the guest's RAM is.
 *
 * The guest RAM blocks that can be on sub-hosts lie one behind the other in
 * one space of page numbers; a page number times 4096 is the guest memory
 * address by which memservers know the page. The migration stream names the
 * blocks, so the numbers mean the same in every process that runs the VM.
 *
 * One byte a page, and a second one where pages have two copies. The map has
 * no lock of its own: the source's belongs to its migration thread, the
 * destination's to the pager's lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_PAGE_MAP_H
#define SMEMV_PAGE_MAP_H

#include "exec/cpu-common.h"
#include "qapi/error.h"

#define SMEMV_PAGE_BITS 12
#define SMEMV_PAGE_SIZE (1u << SMEMV_PAGE_BITS)

#define SMEMV_MAX_PEERS 240

/* A page's place. All but the last two travel in the migration stream. */
enum {
    SMEMV_ZERO = 0,              /* nowhere: it reads as zeros */
    SMEMV_MAIN = 1,              /* resident on the main host */
    SMEMV_REMOTE = 2,            /* on sub-host 0; 3: on sub-host 1; ... */
    SMEMV_STAGED = 0xfd,         /* on its way out, still in this process */
    SMEMV_FETCHING = 0xfe,       /* on its way in */
};

/* Where a page is, and the sub-host that has a second copy of it, or 0. */
typedef struct SmemvPair {
    uint8_t place;
    uint8_t twin;
} SmemvPair;

typedef struct SmemvBlock {
    RAMBlock *rb;
    const char *name;            /* as in the migration stream */
    uint8_t *host;
    uint64_t first;              /* page number of its first page */
    uint64_t pages;
} SmemvBlock;

typedef struct SmemvPageMap {
    SmemvBlock *blocks;
    unsigned n_blocks;
    uint64_t pages;              /* of all blocks */
    uint8_t *place;              /* of each page; all SMEMV_ZERO at first */
    uint8_t *twin;               /* of each page; NULL where none has one */
} SmemvPageMap;

/* Whether @rb is guest RAM that can be split, rather than ROM, video, ... */
bool smemv_is_guest_ram(RAMBlock *rb);

/* Bytes of guest RAM in this process. */
uint64_t smemv_guest_ram_size(void);

/* A map of all guest RAM of this process, in QEMU's own order. */
SmemvPageMap *smemv_page_map_new(void);

/*
 * Give @block_name the @pages page numbers from @first on, as the source did.
 * Returns false when this process has no such block of that size.
 */
bool smemv_page_map_add(SmemvPageMap *map, const char *block_name,
                        uint64_t first, uint64_t pages, Error **errp);

/* From now on pages may have a second copy. */
void smemv_page_map_use_twins(SmemvPageMap *map);

/* An empty map, to be filled by smemv_page_map_add(). */
SmemvPageMap *smemv_page_map_new_empty(void);
/* The same blocks and numbers; all places SMEMV_ZERO. */
SmemvPageMap *smemv_page_map_new_like(const SmemvPageMap *map);
void smemv_page_map_free(SmemvPageMap *map);

static inline SmemvPair smemv_page_map_get(const SmemvPageMap *map,
                                           uint64_t page)
{
    return (SmemvPair) { map->place[page], map->twin ? map->twin[page] : 0 };
}

static inline void smemv_page_map_set(SmemvPageMap *map, uint64_t page,
                                      SmemvPair pair)
{
    map->place[page] = pair.place;
    if (map->twin) {
        map->twin[page] = pair.twin;
    }
}

static inline bool smemv_pair_equal(SmemvPair a, SmemvPair b)
{
    return a.place == b.place && a.twin == b.twin;
}

/* @place does not count any more: what it was, the twin is now. */
static inline SmemvPair smemv_pair_without(SmemvPair pair, uint8_t place)
{
    return pair.place == place ? (SmemvPair) { pair.twin, 0 } :
           pair.twin == place ? (SmemvPair) { pair.place, 0 } : pair;
}

/* The block of @rb, or NULL where @rb cannot be split. */
SmemvBlock *smemv_page_map_block(SmemvPageMap *map, RAMBlock *rb);

/* The block of page @page, a valid number. */
SmemvBlock *smemv_page_map_block_of(SmemvPageMap *map, uint64_t page);

/* The page at host address @host; false when it is not guest RAM. */
bool smemv_page_map_find(SmemvPageMap *map, const void *host, uint64_t *page);

/* Where page @page, a valid number, is mapped in this process. */
uint8_t *smemv_page_map_host(SmemvPageMap *map, uint64_t page);

/*
 * The run of pages from @page on that lie in one block and in one place, or
 * (@resident false) in any place but SMEMV_MAIN. At least one page.
 */
uint64_t smemv_page_map_run(SmemvPageMap *map, uint64_t page, bool resident);

#endif
