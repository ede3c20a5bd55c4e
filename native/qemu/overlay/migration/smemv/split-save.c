/*
 * Split save: the source's side of a split migration.
 *
 * The migration thread asks here about each dirty page. A zero page is only
 * noted; a page that belongs on a sub-host goes to its sender; a page of the
 * main host is left to QEMU's own stream. What was noted travels as runs, in
 * the order of the notes: the last one counts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "io/channel-tls.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-smemv.h"
#include "migration/migration.h"
#include "migration/migration-stats.h"
#include "migration/options.h"
#include "migration/qemu-file.h"
#include "migration/smemv.h"
#include "ahead.h"
#include "leaving.h"
#include "loss.h"
#include "opening.h"
#include "placement.h"
#include "relook.h"
#include "senders.h"
#include "smemv.h"
#include "trace.h"
#include "twins.h"

/* Pages beside each other that go to the same sub-hosts. */
#define STRETCH_PAGES 64

/* More than is sent in any time that a VM may be paused for. */
#define TOO_MUCH (INT64_MAX / 2)

/* Bytes that are sent in less time than the rest of a switch-over takes. */
#define FEW (1 * MiB)

/* Pages that were placed the same, one behind the other. */
typedef struct SmemvRun {
    uint64_t page;
    uint32_t n;
    SmemvPair pair;
    uint8_t record;              /* SMEMV_RECORD_RUN or SMEMV_RECORD_KEPT */
} SmemvRun;

static struct {
    /* The target: set by QMP, under the big lock. */
    char *name;                  /* of the VM; NULL where none is set */
    uint64_t limit;              /* pages */
    SmemvSubHostList *sub_hosts;
    SmemvPolicy policy;          /* of a whole VM */
    unsigned sample_ms;
    char *tls_creds;             /* id, or NULL */
    bool seal;                   /* pages, of a whole VM */
    unsigned replicas;           /* of a page of a whole VM, on sub-hosts */
    unsigned connections;        /* to each sub-host, of a whole VM */

    /* The migration under way: the migration thread's. */
    SmemvPageMap *map;           /* NULL while none is: what was noted */
    SmemvSession *session;
    SmemvHeat *heat;             /* of a whole VM, with the policy hot */
    SmemvPlacement *placement;   /* of a whole VM */
    SmemvOpening *opening;       /* of a whole VM: its session */
    SmemvSenders *senders;       /* of a whole VM, to its sub-hosts */
    SmemvAhead *ahead;           /* of a whole VM, in the first pass, or NULL */
    uint64_t stretch;            /* the last that was given to sub-hosts */
    SmemvPair stretch_pair;      /* these */
    SmemvLeaving *leaving;       /* of a split VM */
    GArray *runs;                /* SmemvRun, noted and not yet sent */
    uint64_t counts[256];        /* pages by place */
    uint64_t twins[256];         /* second copies by place */

    bool idle;                   /* but for memservers that are opening */
    bool drains;                 /* nothing is left but the senders' backlog */
    bool first_pass;             /* pages are looked at for the first time */
    uint64_t last_page;          /* that was looked at */
    uint64_t passes;             /* by how often the dirty log was read */
    uint64_t dirty, dirty_before; /* bytes: after the last reading, the other */
} save;

void smemv_set_target(const char *name, uint64_t limit,
                      SmemvSubHostList *sub_hosts, SmemvPolicy policy,
                      unsigned sample_ms, const char *tls_creds, bool seal,
                      unsigned replicas, unsigned connections)
{
    smemv_clear_target();
    save.name = g_strdup(name);
    save.limit = limit;
    save.sub_hosts = QAPI_CLONE(SmemvSubHostList, sub_hosts);
    save.policy = policy;
    save.sample_ms = sample_ms;
    save.tls_creds = g_strdup(tls_creds);
    save.seal = seal;
    save.replicas = replicas;
    save.connections = connections;
}

void smemv_clear_target(void)
{
    assert(!save.map);
    g_clear_pointer(&save.name, g_free);
    g_clear_pointer(&save.tls_creds, g_free);
    g_clear_pointer(&save.sub_hosts, qapi_free_SmemvSubHostList);
    save.limit = 0;
    save.seal = false;
}

bool smemv_is_saving(void)
{
    return save.map;
}

SmemvSession *smemv_save_session(void)
{
    return save.session;
}

SmemvPageMap *smemv_save_map(void)
{
    return save.map;
}

SmemvHeat *smemv_save_heat(void)
{
    return save.heat;
}

bool smemv_save_is_active(void *opaque)
{
    return save.name || smemv_pager();
}

/* Whether the pages of the next migration are sealed, or will be. */
static bool seals(void)
{
    return smemv_pager() ? smemv_pager()->session->seal != NULL : save.seal;
}

/* The key may be sent: only the destination reads the stream. */
static bool may_tell_key(bool encrypted, Error **errp)
{
    if (seals() && !encrypted) {
        error_setg(errp, "this VM's pages are sealed, and their key travels in "
                   "the migration stream, which must be encrypted for it: "
                   "set the migration parameter tls-creds");
        return false;
    }
    return true;
}

int smemv_save_prepare(void *opaque, Error **errp)
{
    g_autoptr(strList) blockers = smemv_blockers();
    const char *conflict =
        migrate_multifd() ? "multifd" :
        migrate_postcopy_ram() ? "postcopy-ram" :
        migrate_xbzrle() ? "xbzrle" :
        migrate_mapped_ram() ? "mapped-ram" :
        migrate_ignore_shared() ? "x-ignore-shared" :
        migrate_background_snapshot() ? "background-snapshot" :
        migrate_colo() ? "x-colo" : NULL;

    if (conflict) {
        error_setg(errp, "a split migration cannot use the capability %s",
                   conflict);
        return -EINVAL;
    }
    if (migrate_mode() != MIG_MODE_NORMAL) {
        error_setg(errp, "a split migration cannot use the mode %s",
                   MigMode_str(migrate_mode()));
        return -EINVAL;
    }
    if (!migrate_return_path()) {
        error_setg(errp, "a split migration needs the capability return-path");
        return -EINVAL;
    }
    if (blockers) {
        error_setg(errp, "this VM cannot be split: %s", blockers->value);
        return -EINVAL;
    }
    if (!may_tell_key(migrate_tls(), errp)) {
        return -EINVAL;
    }
    return smemv_pager() && !smemv_leaving_possible(smemv_pager(), errp) ?
           -EINVAL : 0;
}

/* The destination's sub-hosts, by its numbers. */
static unsigned told_peers(void)
{
    return save.leaving ? smemv_leaving_peers(save.leaving) :
                          save.session->n_peers;
}

static SmemvPeer *told_peer(unsigned i)
{
    return save.leaving ? smemv_leaving_peer(save.leaving, i) :
                          &save.session->peers[i];
}

static void put_replicas(QEMUFile *f)
{
    qemu_put_byte(f, SMEMV_RECORD_REPLICAS);
    qemu_put_byte(f, told_peers());
    for (unsigned i = 0; i < told_peers(); i++) {
        qemu_put_counted_string(f, told_peer(i)->domain);
    }
}

static void put_setup(QEMUFile *f)
{
    SmemvSession *s = save.session;
    SmemvLeaving *l = save.leaving;
    unsigned n = told_peers();

    if (s->seal) {
        smemv_seal_put_key(s->seal, f);
    }
    if (save.map->twin) {
        put_replicas(f);
    }
    qemu_put_byte(f, SMEMV_RECORD_SETUP);
    qemu_put_counted_string(f, s->name);
    qemu_put_byte(f, s->tls_creds != NULL);
    if (s->tls_creds) {
        qemu_put_counted_string(f, s->tls_creds);
    }
    qemu_put_buffer(f, s->id, sizeof(s->id));
    qemu_put_buffer(f, s->token, sizeof(s->token));
    qemu_put_be64(f, l ? smemv_leaving_limit(l) : save.limit);
    qemu_put_byte(f, n);
    for (unsigned i = 0; i < n; i++) {
        SmemvPeer *p = told_peer(i);

        qemu_put_counted_string(f, p->name);
        qemu_put_counted_string(f, p->host);
        qemu_put_be16(f, p->port);
        qemu_put_be64(f, p->share);
        qemu_put_be64(f, l ? smemv_leaving_aim(l, i) : p->wanted);
        qemu_put_be64(f, p->epoch);
    }
    qemu_put_byte(f, save.map->n_blocks);
    for (unsigned i = 0; i < save.map->n_blocks; i++) {
        SmemvBlock *b = &save.map->blocks[i];

        qemu_put_counted_string(f, b->name);
        qemu_put_be64(f, b->first);
        qemu_put_be64(f, b->pages);
    }
    qemu_put_byte(f, SMEMV_RECORD_END);
}

/* Begin with a VM that is whole: every page is here. */
static bool begin_whole(Error **errp)
{
    SmemvSealKey key;

    save.session = smemv_session_new(save.name, save.sub_hosts, save.replicas);
    save.map = smemv_page_map_new();
    if (save.replicas > 1) {
        smemv_page_map_use_twins(save.map);
    }
    if (save.seal) {
        smemv_seal_new_key(&key);
        save.session->seal = smemv_seal_new(&key, save.session->id,
                                            save.map->pages);
        smemv_seal_wipe_key(&key);
    }
    g_clear_pointer(&save.heat, smemv_heat_free);
    save.heat = save.policy == SMEMV_POLICY_HOT ? smemv_heat_new(save.map) :
                                                  NULL;
    return !save.tls_creds ||
           smemv_session_use_tls(save.session, save.tls_creds, errp);
}

/* Decide which pages stay on the main host. */
static void place(void)
{
    uint64_t main_pages = smemv_pager_low(save.limit);

    if (save.heat && save.sample_ms) {
        smemv_heat_sample(save.heat, save.sample_ms, main_pages);
    }
    save.placement = smemv_placement_new(save.map->pages, main_pages,
                                         save.policy, save.heat);
    trace_smemv_save_setup(save.map->pages, main_pages);
}

/* Its memory is ready on all sub-hosts a while after this. */
static bool open_and_place(Error **errp)
{
    save.opening = smemv_opening_begin(save.session, errp);
    if (!save.opening) {
        return false;
    }
    place();
    save.senders = smemv_senders_start(save.session, save.connections, errp);
    if (!save.senders) {
        return false;
    }
    save.ahead = smemv_ahead_new(save.map, save.placement, save.senders);
    return true;
}

/* Begin with a VM that is split: pages on sub-hosts stay where they are. */
static void begin_split(SmemvPager *p)
{
    save.session = p->session;
    save.map = smemv_page_map_new_like(p->map);
    save.leaving = smemv_leaving_new(p, !save.name, save.limit,
                                     save.sub_hosts);
    trace_smemv_save_setup(save.map->pages, p->resident);
}

int smemv_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    QIOChannel *ioc = qemu_file_get_ioc(f);
    bool ok = true;

    /* The parameter may have changed since the migration was prepared. */
    if (!may_tell_key(object_dynamic_cast(OBJECT(ioc), TYPE_QIO_CHANNEL_TLS),
                      errp)) {
        return -EINVAL;
    }
    save.idle = save.drains = false;
    save.first_pass = true;
    save.last_page = 0;
    save.passes = 0;
    save.dirty = save.dirty_before = UINT64_MAX;
    save.stretch = UINT64_MAX;
    smemv_switch_over_begin();
    smemv_relook_begin();
    save.runs = g_array_new(false, false, sizeof(SmemvRun));
    if (smemv_pager()) {
        begin_split(smemv_pager());
    } else {
        ok = begin_whole(errp);
    }
    ok = ok && (!save.session->seal ||
                smemv_seal_begin_telling(save.session->seal, save.leaving,
                                         errp));
    memset(save.counts, 0, sizeof(save.counts));
    memset(save.twins, 0, sizeof(save.twins));
    save.counts[SMEMV_ZERO] = save.map->pages;

    smemv_loss_notice_migration(qemu_file_get_ioc(f));
    /* The guest runs on while the memservers are asked, and it is watched. */
    bql_unlock();
    ok = ok && (save.leaving ? smemv_leaving_begin(save.leaving, errp) :
                               open_and_place(errp));
    bql_lock();
    if (!ok) {
        return -EIO;
    }
    put_setup(f);
    return 0;
}

static void add_run(uint64_t page, SmemvPair pair, uint8_t record)
{
    SmemvRun *last = save.runs->len ?
        &g_array_index(save.runs, SmemvRun, save.runs->len - 1) : NULL;

    if (last && smemv_pair_equal(last->pair, pair) &&
        last->record == record && last->page + last->n == page &&
        last->n < UINT32_MAX) {
        last->n++;
    } else {
        SmemvRun run = {
            .page = page, .n = 1, .pair = pair, .record = record,
        };

        g_array_append_val(save.runs, run);
    }
}

/* @page is at @pair; the destination need not be told of that. */
static void count(uint64_t page, SmemvPair pair)
{
    SmemvPair before = smemv_page_map_get(save.map, page);

    save.counts[before.place]--;
    save.counts[pair.place]++;
    save.twins[before.twin]--;
    save.twins[pair.twin]++;
    smemv_page_map_set(save.map, page, pair);
}

/* Whether @page stays resident unused: one that is sent again is in use. */
static bool is_cold(uint64_t page, SmemvPair pair)
{
    return pair.place == SMEMV_MAIN && save.heat &&
           save.map->place[page] != SMEMV_MAIN &&
           !smemv_heat_used(save.heat, page, 1);
}

static void note(uint64_t page, SmemvPair pair)
{
    uint8_t record = is_cold(page, pair) ? SMEMV_RECORD_COLD :
                                           SMEMV_RECORD_RUN;

    count(page, pair);
    add_run(page, pair, record);
}

static void note_place(uint64_t page, uint8_t place)
{
    note(page, (SmemvPair) { place, 0 });
}

/* What a page of a split VM has done since the last look. */
static void note_change(uint64_t page, SmemvPair pair, SmemvPair home)
{
    if (pair.place != SMEMV_MAIN &&
        !smemv_pair_equal(pair, smemv_page_map_get(save.map, page))) {
        note(page, pair);
    }
    if (home.place) {
        add_run(page, home, SMEMV_RECORD_KEPT);
    }
}

/*
 * What the destination was told of the sub-host of that number, which has
 * failed, does not count, here as there.
 */
static bool forget(unsigned i, Error **errp)
{
    uint8_t place = SMEMV_REMOTE + i;

    for (uint64_t page = 0; page < save.map->pages; page++) {
        SmemvPair pair = smemv_page_map_get(save.map, page);

        if (pair.place == place && !pair.twin) {
            error_setg(errp, "sub-host %s has failed, and the destination was "
                       "told of no other for page 0x%" PRIx64,
                       told_peer(i)->name, page << SMEMV_PAGE_BITS);
            return false;
        }
        count(page, smemv_pair_without(pair, place));
    }
    return true;
}

static bool forget_failed(Error **errp)
{
    for (unsigned i = 0; i < told_peers(); i++) {
        if (told_peer(i)->failed && !forget(i, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * The sub-host of a page that has one copy: one that takes it without waiting
 * (@takes), so that each gets as much as its link carries; of these the one at
 * @beside, or else the one that has most of its share left.
 */
static SmemvPair best_one(uint64_t page, SmemvPair beside, bool *takes)
{
    SmemvPair best = { 0, 0 };
    double best_left = 0;
    int best_rank = -1;

    for (unsigned i = 0; i < save.session->n_peers; i++) {
        SmemvPeer *peer = &save.session->peers[i];
        uint8_t place = SMEMV_REMOTE + i;
        uint64_t room = smemv_peer_room(peer);
        double left = (double)room / peer->share;
        int rank;

        if (!room) {
            continue;
        }
        rank = smemv_senders_take(save.senders, place, page) * 2 +
               (place == beside.place);
        if (rank > best_rank || (rank == best_rank && left > best_left)) {
            best = (SmemvPair) { place, 0 };
            best_left = left;
            best_rank = rank;
        }
    }
    *takes = best_rank >= 2;
    return best;
}

/* Where none takes it, the first that will: another may never do. */
static SmemvPair choose_one(uint64_t page, SmemvPair beside)
{
    SmemvPair best;
    bool takes;

    do {
        best = best_one(page, beside, &takes);
    } while (best.place && !takes && smemv_senders_wait(save.senders));
    return best;
}

/*
 * The sub-hosts of a page of a VM that was whole: the same each time, and
 * those of the pages beside it where these have room.
 */
static SmemvPair sub_hosts_of(uint64_t page)
{
    SmemvPair pair = smemv_page_map_get(save.map, page);
    SmemvPair beside = { 0, 0 };
    SmemvPeer *peers = save.session->peers;

    if (pair.place >= SMEMV_REMOTE) {
        return pair;
    }
    if (page / STRETCH_PAGES == save.stretch) {
        beside = save.stretch_pair;
    }
    pair = save.map->twin ? smemv_twins_choose(save.session, beside) :
                            choose_one(page, beside);
    save.stretch = page / STRETCH_PAGES;
    save.stretch_pair = pair;
    if (pair.place) {
        peers[pair.place - SMEMV_REMOTE].remote++;
        peers[pair.place - SMEMV_REMOTE].stored++;
    }
    if (pair.twin) {
        peers[pair.twin - SMEMV_REMOTE].twins++;
        peers[pair.twin - SMEMV_REMOTE].stored++;
    }
    return pair;
}

/* Send @page to its sub-hosts. */
static bool send_page(uint64_t page, const void *host, SmemvPair pair,
                      Error **errp)
{
    uint8_t copy[SMEMV_PAGE_SIZE];
    uint64_t version = 0;

    if (pair.twin) {
        /* The guest may write meanwhile: both are to get the same. */
        host = memcpy(copy, host, sizeof(copy));
        version = save.session->seal ?
                  smemv_seal_version(save.session->seal) : 0;
        if (!smemv_senders_put(save.senders, pair.twin, page, host, version,
                               errp)) {
            return false;
        }
    }
    return smemv_senders_put(save.senders, pair.place, page, host, version,
                             errp);
}

/* The migration fails, as @err says. */
static int fail(Error *err)
{
    migrate_set_error(migrate_get_current(), err);
    error_free(err);
    return -EIO;
}

/*
 * A page that the main host has, of a VM that is split, or any of a whole one:
 * as smemv_save_page().
 */
static int take_page(uint64_t page, const uint8_t *host)
{
    Error *err = NULL;
    SmemvPair pair;

    /*
     * A page that this migration has sent to a sub-host, and that has become
     * zero, is sent as any other: it keeps its place.
     */
    if ((save.leaving || save.map->place[page] < SMEMV_REMOTE) &&
        buffer_is_zero(host, SMEMV_PAGE_SIZE)) {
        note_place(page, SMEMV_ZERO);
        stat64_add(&mig_stats.zero_pages, 1);
        return 1;
    }

    pair = (SmemvPair) { SMEMV_MAIN, 0 };
    if (!save.leaving && !smemv_placement_is_main(save.placement, page)) {
        pair = sub_hosts_of(page);
    }
    if (!pair.place) {
        error_setg(&err, "the sub-hosts have no room for a page%s",
                   save.map->twin ? " with two copies" : "");
        return fail(err);
    }
    note(page, pair);
    if (pair.place == SMEMV_MAIN) {
        return 0;
    }
    if (!send_page(page, host, pair, &err)) {
        return fail(err);
    }
    stat64_add(&mig_stats.normal_pages, 1);
    /* The counter for what goes beside the stream: rate and downtime see it. */
    stat64_add(&mig_stats.multifd_bytes,
               pair.twin ? 2 * SMEMV_PAGE_SIZE : SMEMV_PAGE_SIZE);
    return 1;
}

int smemv_save_page(RAMBlock *rb, ram_addr_t offset)
{
    SmemvBlock *b = save.map ? smemv_page_map_block(save.map, rb) : NULL;
    uint64_t page;

    if (!b) {
        return 0;
    }
    page = b->first + (offset >> SMEMV_PAGE_BITS);
    save.first_pass &= page >= save.last_page;
    save.last_page = page;
    if (!save.first_pass) {
        g_clear_pointer(&save.ahead, smemv_ahead_free);
    }
    if (save.ahead && smemv_ahead_send(save.ahead, page, take_page) < 0) {
        return -1;
    }

    if (save.leaving) {
        SmemvPair pair = smemv_leaving_pair(save.leaving, page);

        if (pair.place != SMEMV_MAIN) {
            note(page, pair);
            return 1;
        }
    }
    return take_page(page, b->host + offset);
}

static void put_tags(QEMUFile *f, bool last)
{
    if (save.session->seal) {
        smemv_seal_put_tags(save.session->seal, f, last);
    }
}

static void put_runs(QEMUFile *f)
{
    for (unsigned i = 0; i < save.runs->len; i++) {
        SmemvRun *run = &g_array_index(save.runs, SmemvRun, i);

        qemu_put_byte(f, run->record);
        qemu_put_be64(f, run->page);
        qemu_put_be32(f, run->n);
        qemu_put_byte(f, run->pair.place);
        if (save.map->twin) {
            qemu_put_byte(f, run->pair.twin);
        }
    }
    g_array_set_size(save.runs, 0);
}

/*
 * Whether the @left bytes should be sent while the VM still runs: each pass
 * over dirty pages is shorter than the one before, and leaves fewer, down to
 * what the guest dirties however short it is. Only then is the VM paused.
 */
static bool shortens_downtime(uint64_t left)
{
    uint64_t passes = stat64_get(&mig_stats.dirty_sync_count);

    if (save.passes != passes) {
        save.passes = passes;
        save.dirty_before = save.dirty;
        save.dirty = left;
    }
    return left > FEW && save.dirty < save.dirty_before / 2;
}

/*
 * A VM need not be paused for pages that were never sent, however fast they
 * could be, nor for those on their way to sub-hosts, nor for a memserver that
 * makes memory ready. What RAM has left was counted before.
 */
void smemv_save_pending(void *opaque, uint64_t *must_precopy,
                        uint64_t *can_postcopy)
{
    bool sooner = shortens_downtime(*must_precopy);
    bool opens = save.opening && !smemv_opening_is_done(save.opening);
    uint64_t backlog = save.senders ? smemv_senders_backlog(save.senders) : 0;

    save.idle = opens && !*must_precopy;
    save.drains = backlog > FEW && !*must_precopy;
    if (opens || backlog > FEW ||
        (*must_precopy && (save.first_pass || sooner))) {
        *must_precopy += TOO_MUCH;
    }
    *must_precopy += backlog;
    if (save.session && save.session->seal) {
        *must_precopy += smemv_seal_pending(save.session->seal);
    }

    /* This is called even while no more may be sent for now. */
    smemv_relook(save.map);
}

int smemv_save_iterate(QEMUFile *f, void *opaque)
{
    Error *err = NULL;

    if (save.leaving) {
        smemv_leaving_changes(save.leaving, note_change);
    } else {
        smemv_senders_flush(save.senders);
        if ((save.drains && !smemv_senders_drain(save.senders, &err)) ||
            !smemv_opening_look(save.opening, save.idle ? SMEMV_LOOK_MS : 0,
                                &err)) {
            return fail(err);
        }
    }
    put_runs(f);
    put_tags(f, false);
    qemu_put_byte(f, SMEMV_RECORD_END);
    return 1;
}

static void put_done(QEMUFile *f)
{
    qemu_put_byte(f, SMEMV_RECORD_DONE);
    qemu_put_be64(f, save.counts[SMEMV_MAIN]);
    qemu_put_be64(f, save.counts[SMEMV_ZERO]);
    for (unsigned i = 0; i < told_peers(); i++) {
        SmemvPeer *p = told_peer(i);
        uint64_t remote = save.counts[SMEMV_REMOTE + i];
        uint64_t twins = save.twins[SMEMV_REMOTE + i];

        qemu_put_be64(f, remote);
        qemu_put_be64(f, save.leaving ? p->stored : remote + twins);
        qemu_put_be64(f, p->epoch);
        if (save.map->twin) {
            qemu_put_be64(f, twins);
            qemu_put_byte(f, p->failed);
        }
    }
    qemu_put_byte(f, SMEMV_RECORD_END);
}

int smemv_save_complete(QEMUFile *f, void *opaque)
{
    int64_t start = qemu_clock_get_us(QEMU_CLOCK_REALTIME);
    Error *err = NULL;
    bool ok = save.leaving ? smemv_pager_pause(smemv_pager(), &err) :
                             smemv_senders_barrier(save.senders, &err);

    if (ok && save.leaving) {
        smemv_leaving_changes(save.leaving, note_change);
        ok = forget_failed(&err);
    }
    if (!ok) {
        return fail(err);
    }
    trace_smemv_save_complete(qemu_clock_get_us(QEMU_CLOCK_REALTIME) - start);

    put_runs(f);
    put_tags(f, true);
    put_done(f);
    smemv_switch_over_hand_over();
    return 0;
}

/* The end of a whole VM's migration. */
static void end_whole(bool failed)
{
    bool opened = save.opening;

    g_clear_pointer(&save.opening, smemv_opening_free);
    g_clear_pointer(&save.ahead, smemv_ahead_free);
    g_clear_pointer(&save.senders, smemv_senders_stop);
    if (failed) {
        g_clear_pointer(&save.heat, smemv_heat_free);
    }
    g_clear_pointer(&save.placement, smemv_placement_free);

    if (failed && opened && !smemv_is_fenced()) {
        smemv_session_release(save.session);
    } else {
        smemv_session_free(save.session);
    }
}

void smemv_save_cleanup(void *opaque)
{
    bool failed = migrate_get_current()->state != MIGRATION_STATUS_COMPLETED;

    if (!save.map) {
        return;
    }
    if (save.leaving) {
        if (save.session->seal) {
            smemv_seal_end_telling(save.session->seal);
        }
        smemv_leaving_end(save.leaving, !failed || smemv_is_fenced());
        save.leaving = NULL;
    } else {
        end_whole(failed);
    }
    save.session = NULL;
    g_array_free(save.runs, true);
    g_clear_pointer(&save.map, smemv_page_map_free);
    smemv_clear_target();
}
