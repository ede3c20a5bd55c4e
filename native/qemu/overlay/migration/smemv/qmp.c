/*
 * QMP: the operator's view.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-smemv.h"
#include "migration/misc.h"
#include "rebalance.h"
#include "rebuild.h"
#include "senders.h"
#include "smemv.h"
#include "waiting.h"

/* Regions that smemv-map tells of at the most. */
#define MOST_REGIONS 256

/* How long pages may be sampled before a migration begins, in ms. */
#define LONGEST_SAMPLE 600000

static bool check_name(const char *name, Error **errp)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                           "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (!length || name[length] || length >= SMEMV_WIRE_NAME_SIZE) {
        error_setg(errp, "'%s' is no name: it wants 1 to %d letters, digits, "
                   "'.', '_' or '-'", name, SMEMV_WIRE_NAME_SIZE - 1);
        return false;
    }
    return true;
}

static bool check_sub_hosts(SmemvSubHostList *sub_hosts, uint64_t *shares,
                            Error **errp)
{
    unsigned n = QAPI_LIST_LENGTH(sub_hosts);

    if (n > SMEMV_MAX_PEERS) {
        error_setg(errp, "a split VM has at most %d sub-hosts, not %u",
                   SMEMV_MAX_PEERS, n);
        return false;
    }
    *shares = 0;
    for (; sub_hosts; sub_hosts = sub_hosts->next) {
        SmemvSubHost *h = sub_hosts->value;

        for (SmemvSubHostList *l = sub_hosts->next; l; l = l->next) {
            if (!strcmp(l->value->name, h->name)) {
                error_setg(errp, "sub-host %s is named twice", h->name);
                return false;
            }
        }
        if (!check_name(h->name, errp)) {
            return false;
        }
        if (!h->host[0] || strlen(h->host) > 255 || !h->port) {
            error_setg(errp, "sub-host %s has no address or port", h->name);
            return false;
        }
        if (!h->share || h->share % SMEMV_PAGE_SIZE) {
            error_setg(errp, "the share of %s is no multiple of %u bytes",
                       h->name, SMEMV_PAGE_SIZE);
            return false;
        }
        *shares += h->share >> SMEMV_PAGE_BITS;
    }
    return true;
}

static const char *domain_of(const SmemvSubHost *h)
{
    return h->failure_domain ?: h->name;
}

/*
 * Whether @least pages can have two copies in different failure domains:
 * what a domain has beyond them is of no use.
 */
static bool check_domains(SmemvSubHostList *sub_hosts, uint64_t least,
                          Error **errp)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    uint64_t usable = 0;

    for (SmemvSubHostList *a = sub_hosts; a; a = a->next) {
        const char *domain = domain_of(a->value);
        uint64_t shares = 0;

        if (!g_hash_table_add(seen, (void *)domain)) {
            continue;
        }
        for (SmemvSubHostList *b = a; b; b = b->next) {
            if (!strcmp(domain_of(b->value), domain)) {
                shares += b->value->share >> SMEMV_PAGE_BITS;
            }
        }
        usable += MIN(shares, least);
    }
    if (usable < 2 * least) {
        error_setg(errp, "two copies in different failure domains need %"
                   PRIu64 " bytes, of which one domain has at most half: "
                   "the shares of the sub-hosts have %" PRIu64 " such bytes",
                   2 * least << SMEMV_PAGE_BITS, usable << SMEMV_PAGE_BITS);
        return false;
    }
    return true;
}

/*
 * Whether the guest's memory fits: at most @limit pages here, and the rest on
 * the sub-hosts, @replicas times. Without any, all of it is to be here.
 */
static bool check_layout(uint64_t main_limit, SmemvSubHostList *sub_hosts,
                         unsigned replicas, Error **errp)
{
    uint64_t pages = smemv_guest_ram_size() >> SMEMV_PAGE_BITS;
    uint64_t limit = main_limit >> SMEMV_PAGE_BITS;
    uint64_t shares, least;

    if (!check_sub_hosts(sub_hosts, &shares, errp)) {
        return false;
    }
    if (main_limit % SMEMV_PAGE_SIZE || limit < SMEMV_LEAST_LIMIT) {
        error_setg(errp, "main-limit must be a multiple of %u bytes, and at "
                   "least %u MiB", SMEMV_PAGE_SIZE,
                   SMEMV_LEAST_LIMIT >> (20 - SMEMV_PAGE_BITS));
        return false;
    }
    least = sub_hosts ? smemv_least_shares(pages, limit) :
            pages - MIN(pages, limit);
    if (shares < replicas * least) {
        error_setg(errp, "the shares of the sub-hosts are %" PRIu64 " bytes, "
                   "and must be at least %" PRIu64, shares << SMEMV_PAGE_BITS,
                   replicas * least << SMEMV_PAGE_BITS);
        return false;
    }
    return replicas == 1 || !sub_hosts ||
           check_domains(sub_hosts, least, errp);
}

/* How many copies pages on sub-hosts have, or shall have. */
static bool check_replicas(SmemvPager *p, bool given, unsigned *replicas,
                           Error **errp)
{
    if (!given) {
        *replicas = p ? p->session->replicas : 1;
    }
    if (*replicas != 1 && *replicas != 2) {
        error_setg(errp, "replicas must be 1 or 2");
        return false;
    }
    if (p && p->session->replicas != *replicas) {
        error_setg(errp, "this VM was split with replicas %u: make it whole, "
                   "and split it anew", p->session->replicas);
        return false;
    }
    return true;
}

void qmp_smemv_set_target(const char *name, uint64_t main_limit,
                          SmemvSubHostList *sub_hosts, bool has_policy,
                          SmemvPolicy policy, bool has_sample_time,
                          uint32_t sample_time, const char *tls_creds,
                          bool has_seal, bool seal, bool has_replicas,
                          uint8_t replicas, bool has_connections,
                          uint8_t connections, Error **errp)
{
    unsigned copies = replicas;
    g_autoptr(strList) blockers = smemv_blockers();
    SmemvPager *p = smemv_pager();

    if (migration_is_running() || smemv_is_saving()) {
        error_setg(errp, "a migration is under way");
        return;
    }
    if (blockers) {
        error_setg(errp, "this VM cannot be split: %s", blockers->value);
        return;
    }
    if (!check_name(name, errp) ||
        !check_replicas(p, has_replicas, &copies, errp) ||
        !check_layout(main_limit, sub_hosts, copies, errp)) {
        return;
    }
    if (!has_policy) {
        policy = SMEMV_POLICY_HOT;
    }
    if (!has_sample_time) {
        sample_time = smemv_heat_default_time(smemv_guest_ram_size() >>
                                              SMEMV_PAGE_BITS);
    } else if (sample_time > LONGEST_SAMPLE) {
        error_setg(errp, "sample-time is at most %u ms", LONGEST_SAMPLE);
        return;
    }
    if (!has_connections) {
        connections = 1;
    } else if (!connections || connections > SMEMV_MOST_CONNECTIONS) {
        error_setg(errp, "connections must be from 1 to %u",
                   SMEMV_MOST_CONNECTIONS);
        return;
    }
    if (p) {
        if (strcmp(name, p->session->name)) {
            error_setg(errp, "the sub-hosts know this VM as %s",
                       p->session->name);
            return;
        }
        if (seal && !p->session->seal) {
            error_setg(errp, "this VM was split with pages that are not "
                       "sealed: make it whole, and split it anew");
            return;
        }
        QEMU_LOCK_GUARD(&p->lock);
        if (!smemv_session_accepts(p->session, sub_hosts, errp)) {
            return;
        }
    } else if (!sub_hosts) {
        error_setg(errp, "this VM is whole: without sub-hosts there is "
                   "nothing to split");
        return;
    }
    smemv_set_target(name, main_limit >> SMEMV_PAGE_BITS, sub_hosts, policy,
                     sample_time, tls_creds, seal, copies, connections);
}

void qmp_smemv_rebalance(uint64_t main_limit, SmemvSubHostList *sub_hosts,
                         bool has_max_bandwidth, uint64_t max_bandwidth,
                         Error **errp)
{
    SmemvPager *p = smemv_pager();

    if (!p) {
        error_setg(errp, "this VM is whole: it has no sub-hosts");
        return;
    }
    if (migration_is_running() || smemv_is_saving()) {
        error_setg(errp, "a migration is under way");
        return;
    }
    if (!check_layout(main_limit, sub_hosts, p->session->replicas, errp)) {
        return;
    }
    smemv_rebalance_set_bandwidth(p->rebalance,
                                  has_max_bandwidth ? max_bandwidth : 0);
    smemv_rebalance_aim(p->rebalance, main_limit >> SMEMV_PAGE_BITS, sub_hosts,
                        errp);
}

void qmp_smemv_clear_target(Error **errp)
{
    if (smemv_is_saving()) {
        error_setg(errp, "a migration is under way");
        return;
    }
    smemv_clear_target();
}

void qmp_smemv_set_limit(uint64_t limit, bool has_max_bandwidth,
                         uint64_t max_bandwidth, Error **errp)
{
    SmemvPager *p = smemv_pager();

    if (!p) {
        error_setg(errp, "this VM is whole: it has no limit");
        return;
    }
    if (limit % SMEMV_PAGE_SIZE) {
        error_setg(errp, "the limit must be a multiple of %u bytes",
                   SMEMV_PAGE_SIZE);
        return;
    }
    smemv_pager_set_limit(p, limit >> SMEMV_PAGE_BITS,
                          has_max_bandwidth ? max_bandwidth : 0, errp);
}

static SmemvSubHostInfoList *sub_hosts_info(SmemvSession *s)
{
    SmemvSubHostInfoList *list = NULL;

    for (unsigned i = s->n_peers; i-- > 0;) {
        SmemvPeer *peer = &s->peers[i];
        SmemvSubHostInfo *info;

        if (peer->gone) {
            continue;
        }
        info = g_new0(SmemvSubHostInfo, 1);
        info->name = g_strdup(peer->name);
        info->host = g_strdup(peer->host);
        info->port = peer->port;
        info->share = peer->share << SMEMV_PAGE_BITS;
        info->remote = peer->remote << SMEMV_PAGE_BITS;
        info->second_copies = peer->twins << SMEMV_PAGE_BITS;
        info->stored = peer->stored << SMEMV_PAGE_BITS;
        info->failure_domain = g_strdup(peer->domain);
        info->failed = peer->failed;
        info->sent = stat64_get(&peer->sent);
        info->received = stat64_get(&peer->received);
        info->copied = stat64_get(&peer->copied);
        info->connected = !qatomic_read(&peer->lost);
        info->leaving = !peer->wanted;
        QAPI_LIST_PREPEND(list, info);
    }
    return list;
}

static SmemvLatencyList *latencies(const SmemvPager *p)
{
    SmemvLatencyList *list = NULL;

    for (unsigned i = SMEMV_LATENCIES; i-- > 0;) {
        SmemvLatency *l;

        if (!p->latency[i]) {
            continue;
        }
        l = g_new0(SmemvLatency, 1);
        l->faults = p->latency[i];
        l->has_below = i < SMEMV_LATENCIES - 1;
        l->below = UINT64_C(16) << i;
        QAPI_LIST_PREPEND(list, l);
    }
    return list;
}

static void pager_info(SmemvPager *p, SmemvInfo *info)
{
    QEMU_LOCK_GUARD(&p->lock);
    info->limit = p->limit << SMEMV_PAGE_BITS;
    info->resident = p->resident << SMEMV_PAGE_BITS;
    info->staging = (p->staging.head - p->staging.tail) << SMEMV_PAGE_BITS;
    info->zero = p->zero << SMEMV_PAGE_BITS;
    info->pages_in = p->pages_in;
    info->pages_out = p->pages_out;
    info->unsent = p->unsent;
    info->faults = p->faults;
    info->second_chances = p->second_chances;
    info->fault_latency = latencies(p);
    info->waiting = smemv_waiting_count(p->waiting);
    info->room_waits = p->room_waits;
    info->pinned = p->pinned;
    info->read_ahead = p->ahead;
    info->read_ahead_used = p->ahead_used;
    info->read_ahead_unused = p->ahead_unused;
    info->rebalancing = smemv_rebalance_active(p->rebalance);
    info->rebalance_remaining =
        smemv_rebalance_remaining(p->rebalance) << SMEMV_PAGE_BITS;
    info->rebalance_error = g_strdup(smemv_rebalance_error(p->rebalance));
    info->session = smemv_session_id(p->session);
    info->sealed = p->session->seal;
    info->replicas = p->session->replicas;
    info->single = smemv_rebuild_single(p->rebuild) << SMEMV_PAGE_BITS;
    info->sub_hosts = sub_hosts_info(p->session);
}

SmemvInfo *qmp_query_smemv(Error **errp)
{
    SmemvInfo *info = g_new0(SmemvInfo, 1);
    SmemvPager *p = smemv_pager();

    info->total = smemv_guest_ram_size();
    info->state = smemv_is_fenced() ? SMEMV_STATE_FENCED :
                  smemv_is_loading() ? SMEMV_STATE_INCOMING :
                  p ? SMEMV_STATE_SPLIT :
                  smemv_is_saving() ? SMEMV_STATE_SPLITTING :
                  SMEMV_STATE_WHOLE;
    info->blocked = smemv_blockers();
    info->replicas = 1;
    if (p) {
        pager_info(p, info);
    } else {
        info->resident = info->total;
    }
    if (!p && smemv_is_saving()) {
        info->session = smemv_session_id(smemv_save_session());
        info->sealed = smemv_save_session()->seal;
        info->replicas = smemv_save_session()->replicas;
        info->sub_hosts = sub_hosts_info(smemv_save_session());
        if (smemv_save_heat()) {
            info->heat = smemv_heat_info(smemv_save_heat());
        }
    }
    return info;
}

/*
 * Count the @n pages from @first on by their places. The map is read without
 * its lock: each page is counted once, where it is just then.
 */
static SmemvRegion *count_region(const SmemvPageMap *map, SmemvSession *s,
                                 SmemvHeat *heat, uint64_t first, uint64_t n)
{
    SmemvRegion *region = g_new0(SmemvRegion, 1);
    uint64_t counts[256] = { 0 };

    for (uint64_t page = first; page < first + n; page++) {
        counts[map ? qatomic_read(&map->place[page]) : SMEMV_MAIN]++;
    }
    region->size = n << SMEMV_PAGE_BITS;
    region->zero = counts[SMEMV_ZERO] << SMEMV_PAGE_BITS;
    region->resident = region->size - region->zero;
    for (unsigned i = s ? s->n_peers : 0; i-- > 0;) {
        uint64_t remote = counts[SMEMV_REMOTE + i] << SMEMV_PAGE_BITS;

        region->resident -= remote;
        if (!s->peers[i].gone) {
            QAPI_LIST_PREPEND(region->remote, remote);
        }
    }
    if (heat) {
        region->has_used = true;
        region->used = smemv_heat_used(heat, first, n) << SMEMV_PAGE_BITS;
    }
    return region;
}

SmemvRegionList *qmp_query_smemv_map(uint16_t regions, Error **errp)
{
    SmemvPager *p = smemv_pager();
    bool saving = !p && smemv_is_saving();
    const SmemvPageMap *map = p ? p->map : saving ? smemv_save_map() : NULL;
    SmemvSession *s = p ? p->session : saving ? smemv_save_session() : NULL;
    uint64_t pages = smemv_guest_ram_size() >> SMEMV_PAGE_BITS;
    SmemvRegionList *list = NULL;

    if (!regions || regions > MOST_REGIONS || regions > pages) {
        error_setg(errp, "regions must be from 1 to %d", MOST_REGIONS);
        return NULL;
    }
    for (unsigned i = regions; i-- > 0;) {
        uint64_t first = pages * i / regions;

        QAPI_LIST_PREPEND(list, count_region(
            map, s, p ? NULL : smemv_save_heat(), first,
            pages * (i + 1) / regions - first));
    }
    return list;
}
