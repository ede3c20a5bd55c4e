/*
 * What the page map of a large VM takes, and how long one page of it is.
 *
 *   page_map_bench ADDRESS-GIB SUB-HOSTS
 *
 * makes the map of a VM of that size, puts its pages on the sub-hosts in turn,
 * and then, page by page at random, finds one by its address in the process,
 * looks where it is and puts it elsewhere, as a page that comes in does. Prints
 * JSON: bytes a page, and nanoseconds for one such page. With more than one
 * sub-host each page is on two.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "page-map.h"
#include "../measure.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define GIB (UINT64_C(1) << 30)
#define PAGES 4000000

/* An address that is only counted with. */
#define ADDRESS ((uint8_t *)(UINT64_C(1) << 45))

static MemoryRegion region = { .owner = &region };
RAMBlock ram = { .mr = &region, .idstr = "pc.ram", .host = ADDRESS };

static void spread(SmemvPageMap *map, unsigned sub_hosts)
{
    for (uint64_t page = 0; page < map->pages; page++) {
        uint8_t place = SMEMV_REMOTE + page % sub_hosts;
        uint8_t twin = SMEMV_REMOTE + (page + 1) % sub_hosts;

        smemv_page_map_set(map, page,
                           (SmemvPair) { place, sub_hosts > 1 ? twin : 0 });
    }
}

static double nanoseconds_a_page(SmemvPageMap *map)
{
    uint64_t state = 1;
    double start = seconds();

    for (unsigned i = 0; i < PAGES; i++) {
        uint64_t offset = random_below(&state, map->pages) << SMEMV_PAGE_BITS;
        uint64_t page;
        SmemvPair pair;

        if (!smemv_page_map_find(map, ADDRESS + offset, &page) ||
            page != offset >> SMEMV_PAGE_BITS) {
            fprintf(stderr, "a page is not where it should be\n");
            exit(1);
        }
        pair = smemv_page_map_get(map, page);
        smemv_page_map_set(map, page, smemv_pair_without(pair, pair.place));
    }
    return (seconds() - start) / PAGES * 1e9;
}

int main(int argc, char **argv)
{
    uint64_t gib = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
    unsigned sub_hosts = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    SmemvPageMap *map;
    double bytes;

    if (!gib || !sub_hosts || sub_hosts > SMEMV_MAX_PEERS) {
        fprintf(stderr, "usage: page_map_bench ADDRESS-GIB SUB-HOSTS\n");
        return 2;
    }
    ram.used_length = gib * GIB;
    map = smemv_page_map_new();
    if (sub_hosts > 1) {
        smemv_page_map_use_twins(map);
    }
    spread(map, sub_hosts);
    bytes = (double)mallinfo2().hblkhd;
    printf("{\"bytes_a_page\": %.3f, \"ns_a_page\": %.1f}\n",
           bytes / (double)map->pages, nanoseconds_a_page(map));
    smemv_page_map_free(map);
    return 0;
}
