/*
 * Split load: the destination's side of a split migration.
 *
 * It learns everything from the stream: sessions, limit, blocks, and where
 * each page went. When the map is complete, and before any device is loaded,
 * the pager takes over the guest's RAM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "migration/migration.h"
#include "migration/qemu-file.h"
#include "migration/smemv.h"
#include "loss.h"
#include "pages.h"
#include "smemv.h"
#include "trace.h"

/* Pages by place: first copies, second ones, and those that are the only one */
typedef struct SmemvCounts {
    uint64_t places[256], twins[256], single[256];
} SmemvCounts;

static struct {
    SmemvSession *session;       /* NULL while no split VM is loading */
    SmemvSealKey *key;           /* of a session whose pages are sealed */
    GPtrArray *domains;          /* names, where pages have two copies */
    SmemvPageMap *map;
    SmemvCounts counts;          /* of @map */
    uint64_t limit;              /* pages */
    SmemvPager *pager;           /* ready, and not started yet */
} load;

bool smemv_is_loading(void)
{
    return load.session;
}

static void free_key(void)
{
    if (load.key) {
        smemv_seal_wipe_key(load.key);
        g_clear_pointer(&load.key, g_free);
    }
}

static bool get_string(QEMUFile *f, char **string, Error **errp)
{
    char buf[256];

    if (!qemu_get_counted_string(f, buf) || !buf[0]) {
        error_setg(errp, "a name is missing");
        return false;
    }
    *string = g_strdup(buf);
    return true;
}

static bool get_replicas(QEMUFile *f, Error **errp)
{
    unsigned n = qemu_get_byte(f);

    if (load.session || load.domains) {
        error_setg(errp, "failure domains after the set-up");
        return false;
    }
    load.domains = g_ptr_array_new();
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *domain = NULL;

        if (!get_string(f, &domain, errp)) {
            return false;
        }
        g_ptr_array_add(load.domains, (void *)g_intern_string(domain));
    }
    return true;
}

static bool get_session(QEMUFile *f, Error **errp)
{
    g_autofree char *name = NULL, *tls_creds = NULL;
    uint8_t id[SMEMV_WIRE_ID_SIZE], token[SMEMV_WIRE_TOKEN_SIZE];
    unsigned n;

    if (!get_string(f, &name, errp)) {
        return false;
    }
    if (qemu_get_byte(f) && !get_string(f, &tls_creds, errp)) {
        return false;
    }
    qemu_get_buffer(f, id, sizeof(id));
    qemu_get_buffer(f, token, sizeof(token));
    load.limit = qemu_get_be64(f);
    n = qemu_get_byte(f);
    if (load.limit < SMEMV_LEAST_LIMIT || !n || n > SMEMV_MAX_PEERS) {
        error_setg(errp, "a limit of %" PRIu64 " pages and %u sub-hosts",
                   load.limit, n);
        return false;
    }

    if (load.domains && load.domains->len != n) {
        error_setg(errp, "failure domains of %u sub-hosts, and %u sub-hosts",
                   load.domains->len, n);
        return false;
    }

    load.session = smemv_session_new_empty();
    load.session->replicas = load.domains ? 2 : 1;
    load.session->name = g_steal_pointer(&name);
    memcpy(load.session->id, id, sizeof(id));
    memcpy(load.session->token, token, sizeof(token));
    if (tls_creds &&
        !smemv_session_use_tls(load.session, tls_creds, errp)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *peer_name = NULL, *host = NULL;
        SmemvPeer *p;

        if (!get_string(f, &peer_name, errp) || !get_string(f, &host, errp)) {
            return false;
        }
        p = smemv_session_add_peer(load.session, peer_name, host,
                                   qemu_get_be16(f));
        p->share = qemu_get_be64(f);
        p->wanted = qemu_get_be64(f);
        p->epoch = qemu_get_be64(f);
        if (load.domains) {
            p->domain = g_ptr_array_index(load.domains, i);
        }
    }
    return true;
}

static bool get_blocks(QEMUFile *f, Error **errp)
{
    unsigned n = qemu_get_byte(f);

    load.map = smemv_page_map_new_empty();
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *name = NULL;
        uint64_t first, pages;

        if (!get_string(f, &name, errp)) {
            return false;
        }
        first = qemu_get_be64(f);
        pages = qemu_get_be64(f);
        if (!smemv_page_map_add(load.map, name, first, pages, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * What this process has put into the guest's RAM while it was built counts
 * for nothing, and a huge page would hold memory of pages placed elsewhere.
 */
static bool empty_blocks(Error **errp)
{
    for (unsigned i = 0; i < load.map->n_blocks; i++) {
        SmemvBlock *b = &load.map->blocks[i];
        size_t size = b->pages << SMEMV_PAGE_BITS;

        if (madvise(b->host, size, MADV_NOHUGEPAGE) ||
            madvise(b->host, size, MADV_DONTNEED)) {
            error_setg_errno(errp, errno, "cannot empty guest RAM %s", b->name);
            return false;
        }
    }
    return true;
}

static bool get_setup(QEMUFile *f, Error **errp)
{
    g_autoptr(strList) blockers = smemv_blockers();

    if (load.session || smemv_pager()) {
        error_setg(errp, "a second set-up");
        return false;
    }
    if (blockers) {
        error_setg(errp, "this VM cannot be split here: %s", blockers->value);
        return false;
    }
    if (!get_session(f, errp) || !get_blocks(f, errp) ||
        !smemv_pager_supported(errp) || !empty_blocks(errp)) {
        return false;
    }
    if (load.key) {
        load.session->seal = smemv_seal_new(load.key, load.session->id,
                                            load.map->pages);
        free_key();
    }
    if (load.domains) {
        smemv_page_map_use_twins(load.map);
    }
    load.counts = (SmemvCounts) { };
    load.counts.places[SMEMV_ZERO] = load.map->pages;
    load.counts.single[SMEMV_ZERO] = load.map->pages;
    smemv_loss_notice_migration(qemu_file_get_ioc(f));
    load.pager = smemv_pager_new(load.session, load.map, load.limit, errp);
    return load.pager;
}

static void count(SmemvPair pair, int pages)
{
    load.counts.places[pair.place] += pages;
    if (pair.twin) {
        load.counts.twins[pair.twin] += pages;
    } else {
        load.counts.single[pair.place] += pages;
    }
}

static void place(uint64_t page, SmemvPair pair)
{
    SmemvPair before = smemv_page_map_get(load.map, page);

    count(before, -1);
    count(pair, 1);
    if (before.place == SMEMV_MAIN && pair.place != SMEMV_MAIN) {
        set_bit(page, load.pager->stale);
    }
    smemv_page_map_set(load.map, page, pair);
}

/* A run of pages: into the map, or among the copies that sub-hosts have. */
static bool get_run(QEMUFile *f, uint8_t record, Error **errp)
{
    bool kept = record == SMEMV_RECORD_KEPT, cold = record == SMEMV_RECORD_COLD;
    uint64_t page = qemu_get_be64(f);
    uint32_t n = qemu_get_be32(f);
    SmemvPair pair = { .place = qemu_get_byte(f) };

    pair.twin = load.domains ? qemu_get_byte(f) : 0;
    if (!load.pager || page > load.map->pages ||
        n > load.map->pages - page ||
        pair.place >= SMEMV_REMOTE + load.session->n_peers ||
        pair.twin >= SMEMV_REMOTE + load.session->n_peers ||
        (kept && pair.place < SMEMV_REMOTE) ||
        (cold && pair.place != SMEMV_MAIN) ||
        (pair.twin && (pair.twin < SMEMV_REMOTE || pair.place < SMEMV_REMOTE ||
                       pair.twin == pair.place))) {
        error_setg(errp, "a run of %u pages from 0x%" PRIx64 " in places %u "
                   "and %u", n, page, pair.place, pair.twin);
        return false;
    }
    for (uint64_t end = page + n; page < end; page++) {
        if (kept) {
            smemv_pages_set_home(load.pager, page, pair);
        } else {
            place(page, pair);
            (cold ? set_bit : clear_bit)(page, load.pager->cold);
        }
    }
    return true;
}

static bool get_key(QEMUFile *f, Error **errp)
{
    if (load.session || load.key) {
        error_setg(errp, "a key after the set-up");
        return false;
    }
    load.key = g_new0(SmemvSealKey, 1);
    smemv_seal_get_key(f, load.key);
    return true;
}

static bool get_tags(QEMUFile *f, Error **errp)
{
    if (!load.pager || !load.session->seal) {
        error_setg(errp, "tags of pages that are not sealed");
        return false;
    }
    return smemv_seal_get_tags(load.session->seal, f, errp);
}

/* What is at @lost does not count; the source saw that it need not. */
static void forget(uint8_t lost)
{
    SmemvPager *p = load.pager;

    for (uint64_t page = 0; page < load.map->pages; page++) {
        place(page, smemv_pair_without(smemv_page_map_get(load.map, page),
                                       lost));
        smemv_pages_set_home(p, page, smemv_pair_without(
                             smemv_pages_home(p, page), lost));
    }
}

/* Read what the source counted: pages by place, and second copies. */
static void get_counts(QEMUFile *f, uint64_t *places, uint64_t *twins)
{
    places[SMEMV_MAIN] = qemu_get_be64(f);
    places[SMEMV_ZERO] = qemu_get_be64(f);
    for (unsigned i = 0; i < load.session->n_peers; i++) {
        SmemvPeer *p = &load.session->peers[i];

        places[SMEMV_REMOTE + i] = qemu_get_be64(f);
        p->stored = qemu_get_be64(f);
        p->epoch = qemu_get_be64(f);
        if (load.domains) {
            twins[SMEMV_REMOTE + i] = qemu_get_be64(f);
            if (qemu_get_byte(f)) {
                smemv_peer_set_failed(p);
                p->stored = 0;
                forget(SMEMV_REMOTE + i);
            }
        }
    }
}

/* The map must add up to what the source counted. */
static bool check_counts(QEMUFile *f, Error **errp)
{
    uint64_t told[256] = { 0 }, told_twins[256] = { 0 };
    SmemvCounts *c = &load.counts;

    get_counts(f, told, told_twins);
    for (unsigned i = 0; i < SMEMV_REMOTE + load.session->n_peers; i++) {
        if (told[i] != c->places[i] || told_twins[i] != c->twins[i]) {
            error_setg(errp, "the page map has %" PRIu64 " pages in place %u "
                       "and %" PRIu64 " second ones, and the source %" PRIu64
                       " and %" PRIu64, c->places[i], i, c->twins[i], told[i],
                       told_twins[i]);
            return false;
        }
    }
    for (unsigned i = 0; i < load.session->n_peers; i++) {
        SmemvPeer *p = &load.session->peers[i];

        p->remote = c->places[SMEMV_REMOTE + i];
        p->twins = c->twins[SMEMV_REMOTE + i];
        p->single = c->single[SMEMV_REMOTE + i];
    }
    load.pager->zero = c->places[SMEMV_ZERO];
    load.pager->resident = c->places[SMEMV_MAIN];
    return true;
}

static bool get_done(QEMUFile *f, Error **errp)
{
    if (!load.pager) {
        error_setg(errp, "no set-up before the end");
        return false;
    }
    if (!check_counts(f, errp)) {
        return false;
    }
    trace_smemv_load_done(load.counts.places[SMEMV_MAIN],
                          load.counts.places[SMEMV_ZERO]);

    if (!smemv_pager_start(load.pager, errp)) {
        return false;
    }
    smemv_set_pager(load.pager);
    load.pager = NULL;
    return true;
}

int smemv_load_state(QEMUFile *f, void *opaque, int version_id)
{
    Error *err = NULL;
    bool ok = true;

    while (ok) {
        int record = qemu_get_byte(f);
        int ret = qemu_file_get_error(f);

        if (ret) {
            return ret;
        }
        switch (record) {
        case SMEMV_RECORD_END:
            return 0;
        case SMEMV_RECORD_SETUP:
            ok = get_setup(f, &err);
            break;
        case SMEMV_RECORD_RUN:
        case SMEMV_RECORD_COLD:
        case SMEMV_RECORD_KEPT:
            ok = get_run(f, record, &err);
            break;
        case SMEMV_RECORD_SEAL:
            ok = get_key(f, &err);
            break;
        case SMEMV_RECORD_TAGS:
            ok = get_tags(f, &err);
            break;
        case SMEMV_RECORD_REPLICAS:
            ok = get_replicas(f, &err);
            break;
        case SMEMV_RECORD_DONE:
            ok = get_done(f, &err);
            break;
        default:
            error_setg(&err, "unknown record %d", record);
            ok = false;
        }
    }
    error_reportf_err(err, "smemv: incoming split migration: ");
    return -EINVAL;
}

bool smemv_load_page(QEMUFile *f, void *host)
{
    uint8_t *data = host;

    if (!load.pager) {
        return false;
    }
    qemu_get_buffer_in_place(f, &data, SMEMV_PAGE_SIZE);
    if (data != host) {
        smemv_pager_load(load.pager, host, data);
    }
    return true;
}

static int claim_loaded(void)
{
    SmemvPager *pager = smemv_pager();
    Error *err = NULL;

    if (!pager) {
        error_report("smemv: the stream ended without the end of the page map");
        return -EINVAL;
    }
    if (!smemv_pager_claim(pager, &err)) {
        error_reportf_err(err, "smemv: the VM does not run here: ");
        return -EPERM;
    }
    return 0;
}

int smemv_claim_incoming(QEMUFile *f, int ret)
{
    if (!load.session) {
        return ret;
    }
    ret = ret < 0 ? ret : claim_loaded();
    if (ret < 0) {
        /* It is by the stream's error that the source learns of this one. */
        qemu_file_set_error(f, ret);
    }
    return ret;
}

int smemv_load_cleanup(void *opaque)
{
    free_key();
    if (load.domains) {
        g_ptr_array_free(load.domains, true);
    }
    /* Session and map are the pager's by now, or this process ends. */
    memset(&load, 0, sizeof(load));
    return 0;
}
