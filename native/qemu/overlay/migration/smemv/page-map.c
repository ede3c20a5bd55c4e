/*
 * Page map: where each page of the guest's RAM is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "system/hostmem.h"
#include "page-map.h"

bool smemv_is_guest_ram(RAMBlock *rb)
{
    return qemu_ram_is_migratable(rb) && rb->mr && rb->mr->owner &&
           object_dynamic_cast(rb->mr->owner, TYPE_MEMORY_BACKEND);
}

uint64_t smemv_guest_ram_size(void)
{
    uint64_t size = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (smemv_is_guest_ram(rb)) {
            size += rb->used_length;
        }
    }
    return size;
}

SmemvPageMap *smemv_page_map_new_empty(void)
{
    return g_new0(SmemvPageMap, 1);
}

static void page_map_append(SmemvPageMap *map, RAMBlock *rb, uint64_t first)
{
    SmemvBlock *b;

    map->blocks = g_renew(SmemvBlock, map->blocks, map->n_blocks + 1);
    b = &map->blocks[map->n_blocks++];
    b->rb = rb;
    b->name = rb->idstr;
    b->host = rb->host;
    b->first = first;
    b->pages = rb->used_length >> SMEMV_PAGE_BITS;

    map->place = g_realloc(map->place, map->pages + b->pages);
    memset(map->place + map->pages, SMEMV_ZERO, b->pages);
    map->pages += b->pages;
}

void smemv_page_map_use_twins(SmemvPageMap *map)
{
    assert(!map->twin);
    map->twin = g_new0(uint8_t, map->pages);
}

SmemvPageMap *smemv_page_map_new(void)
{
    SmemvPageMap *map = smemv_page_map_new_empty();
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (smemv_is_guest_ram(rb)) {
            page_map_append(map, rb, map->pages);
        }
    }
    return map;
}

bool smemv_page_map_add(SmemvPageMap *map, const char *block_name,
                        uint64_t first, uint64_t pages, Error **errp)
{
    RAMBlock *rb;

    if (first != map->pages) {
        error_setg(errp, "RAM block %s does not follow the one before it",
                   block_name);
        return false;
    }

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (smemv_is_guest_ram(rb) && !strcmp(rb->idstr, block_name)) {
            if (rb->used_length >> SMEMV_PAGE_BITS != pages) {
                error_setg(errp, "RAM block %s has %" PRIu64 " bytes here and "
                           "%" PRIu64 " at the source", block_name,
                           (uint64_t)rb->used_length, pages << SMEMV_PAGE_BITS);
                return false;
            }
            page_map_append(map, rb, first);
            return true;
        }
    }
    error_setg(errp, "no RAM block %s here", block_name);
    return false;
}

SmemvPageMap *smemv_page_map_new_like(const SmemvPageMap *map)
{
    SmemvPageMap *copy = g_new0(SmemvPageMap, 1);

    copy->blocks = g_memdup2(map->blocks, map->n_blocks * sizeof(SmemvBlock));
    copy->n_blocks = map->n_blocks;
    copy->pages = map->pages;
    copy->place = g_new0(uint8_t, map->pages);
    if (map->twin) {
        smemv_page_map_use_twins(copy);
    }
    return copy;
}

void smemv_page_map_free(SmemvPageMap *map)
{
    if (map) {
        g_free(map->blocks);
        g_free(map->place);
        g_free(map->twin);
        g_free(map);
    }
}

SmemvBlock *smemv_page_map_block(SmemvPageMap *map, RAMBlock *rb)
{
    for (unsigned i = 0; i < map->n_blocks; i++) {
        if (map->blocks[i].rb == rb) {
            return &map->blocks[i];
        }
    }
    return NULL;
}

bool smemv_page_map_find(SmemvPageMap *map, const void *host, uint64_t *page)
{
    uintptr_t address = (uintptr_t)host;

    for (unsigned i = 0; i < map->n_blocks; i++) {
        SmemvBlock *b = &map->blocks[i];
        uintptr_t start = (uintptr_t)b->host;

        if (address >= start &&
            (address - start) >> SMEMV_PAGE_BITS < b->pages) {
            *page = b->first + ((address - start) >> SMEMV_PAGE_BITS);
            return true;
        }
    }
    return false;
}

SmemvBlock *smemv_page_map_block_of(SmemvPageMap *map, uint64_t page)
{
    for (unsigned i = 0; i < map->n_blocks; i++) {
        SmemvBlock *b = &map->blocks[i];

        if (page - b->first < b->pages) {
            return b;
        }
    }
    g_assert_not_reached();
}

uint8_t *smemv_page_map_host(SmemvPageMap *map, uint64_t page)
{
    SmemvBlock *b = smemv_page_map_block_of(map, page);

    return b->host + ((page - b->first) << SMEMV_PAGE_BITS);
}

uint64_t smemv_page_map_run(SmemvPageMap *map, uint64_t page, bool resident)
{
    SmemvBlock *b = smemv_page_map_block_of(map, page);
    uint64_t end = page + 1;

    while (end < b->first + b->pages &&
           (map->place[end] == SMEMV_MAIN) == resident) {
        end++;
    }
    return end - page;
}
