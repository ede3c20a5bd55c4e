/*
 * S-memV: what its rooms share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_H
#define SMEMV_H

#include "migration/register.h"
#include "heat.h"
#include "page-map.h"
#include "pager.h"
#include "session.h"

/*
 * The least that the sub-hosts must have reserved for one copy, in pages, of
 * a VM of @pages with @limit pages on the main host. The main host is left a
 * sixteenth of its limit to evict in: pages in flight are counted twice.
 */
static inline uint64_t smemv_least_shares(uint64_t pages, uint64_t limit)
{
    uint64_t kept = limit - limit / 16;

    return pages > kept ? pages - kept : 0;
}

/* The smallest limit that works, in pages: 64 MiB. */
#define SMEMV_LEAST_LIMIT (64 * 1024 * 1024 / SMEMV_PAGE_SIZE)

/* Reasons why this VM cannot be split, or NULL. */
strList *smemv_blockers(void);

/* The pager of a VM that is split, or NULL. */
SmemvPager *smemv_pager(void);
void smemv_set_pager(SmemvPager *pager);

/*
 * Another main host runs this VM, or a page of it is lost: end this process,
 * for no instruction of the guest may run on.
 */
G_NORETURN void smemv_fatal(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * split-save.c. The target of the next migration: @limit pages on the main
 * host, those that @policy chooses (hot: after a look of @sample_ms); the rest
 * on @sub_hosts, of which a copy is made; with TLS credentials of that id, or
 * NULL; pages are sealed with @seal, and a page that is not on the main host is
 * on @replicas sub-hosts, to each of which there are @connections.
 */
void smemv_set_target(const char *name, uint64_t limit,
                      SmemvSubHostList *sub_hosts, SmemvPolicy policy,
                      unsigned sample_ms, const char *tls_creds, bool seal,
                      unsigned replicas, unsigned connections);
void smemv_clear_target(void);
bool smemv_is_saving(void);
SmemvSession *smemv_save_session(void);
/* Where the migration under way has put pages, and will; or NULL. */
SmemvPageMap *smemv_save_map(void);
/*
 * What the migration under way, or the one by which the VM has left, knows of
 * the pages' heat; or NULL.
 */
SmemvHeat *smemv_save_heat(void);

bool smemv_save_is_active(void *opaque);
int smemv_save_prepare(void *opaque, Error **errp);
int smemv_save_setup(QEMUFile *f, void *opaque, Error **errp);
void smemv_save_pending(void *opaque, uint64_t *must_precopy,
                        uint64_t *can_postcopy);
int smemv_save_iterate(QEMUFile *f, void *opaque);
int smemv_save_complete(QEMUFile *f, void *opaque);
void smemv_save_cleanup(void *opaque);

/* switch-over.c: a migration begins; the source hands the VM over. */
void smemv_switch_over_begin(void);
void smemv_switch_over_hand_over(void);
/* Whether the VM may run at a destination. */
bool smemv_is_handed_over(void);
/* Whether it must not run here any more. */
bool smemv_is_fenced(void);

/* split-load.c */
bool smemv_is_loading(void);
int smemv_load_state(QEMUFile *f, void *opaque, int version_id);
int smemv_load_cleanup(void *opaque);

/*
 * Records of the stream section "smemv". Integers are big-endian, as all of
 * QEMU's stream; a name is a byte of length and that many characters.
 */
enum {
    SMEMV_RECORD_END = 0,        /* of the section */
    /*
     * name of the VM, u8 whether TLS, id of its credentials, id, token,
     * u64 limit in pages, u8 sub-hosts, for each its name, address, u16
     * port, u64 share and u64 wanted in pages, u64 epoch; u8 blocks, for each
     * its name, u64 first page, u64 pages
     */
    SMEMV_RECORD_SETUP = 1,
    /*
     * u64 first page, u32 pages, u8 place; where pages have two copies, u8
     * place of the second or 0
     */
    SMEMV_RECORD_RUN = 2,
    /*
     * u64 resident, u64 zero; for each sub-host u64 remote, u64 stored, u64
     * epoch; where pages have two copies, u64 second ones, u8 whether it has
     * failed: the counts are without it, and earlier records with it
     */
    SMEMV_RECORD_DONE = 3,
    /* Copies that may be stale: as a run */
    SMEMV_RECORD_KEPT = 4,
    /* Before the set-up, where pages are sealed: key, u16 generation */
    SMEMV_RECORD_SEAL = 5,
    /* u64 first page, u32 pages; for each u64 version, tag */
    SMEMV_RECORD_TAGS = 6,
    /*
     * Before the set-up, where pages have two copies: u8 sub-hosts, for each
     * the name of its failure domain
     */
    SMEMV_RECORD_REPLICAS = 7,
    /* Resident pages not seen in use, that may leave first: as a run */
    SMEMV_RECORD_COLD = 8,
};

#endif
