/*
 * Switch-over: who runs a VM after a migration that failed at its end.
 *
 * Once the source has handed the VM over, the destination runs it if it
 * claims it from the arbiter, the memserver of one sub-host; the source claims
 * it back before it resumes. Only one of the two succeeds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "migration/migration.h"
#include "migration/smemv.h"
#include "smemv.h"

static bool handed_over;         /* a destination may have claimed it */
static bool given_up;            /* (atomic) but will not run the VM */
static bool fenced;              /* a destination has, or no one knows it */

void smemv_switch_over_begin(void)
{
    handed_over = given_up = false;
}

void smemv_switch_over_hand_over(void)
{
    handed_over = true;
}

bool smemv_is_handed_over(void)
{
    return handed_over;
}

bool smemv_is_fenced(void)
{
    return fenced;
}

void smemv_destination_gave_up(void)
{
    qatomic_set(&given_up, true);
}

/*
 * Claim the VM back. One that gave up may have claimed it without hearing of
 * that, and has moved the epoch by one then.
 */
static int claim_back(Error **errp)
{
    SmemvPeer *arbiter = smemv_session_arbiter(smemv_save_session());
    g_autoptr(Error) err = NULL;
    int ret = smemv_session_claim(smemv_save_session(), &err);

    if (ret != SMEMV_WIRE_STALE || !qatomic_read(&given_up)) {
        error_propagate(errp, g_steal_pointer(&err));
        return ret;
    }
    WITH_QEMU_LOCK_GUARD(&arbiter->lock) {
        arbiter->epoch++;
    }
    return smemv_session_claim(smemv_save_session(), errp);
}

/*
 * Claim the VM back, for as long as it takes until the arbiter answers, or
 * the destination is known to have given up. Without the big lock, so that
 * QMP is answered; and as a migration that is under way, so that no other
 * begins.
 */
static int claim_back_in_time(Error **errp)
{
    MigrationState *s = migrate_get_current();
    MigrationStatus state = s->state;
    Error *err = NULL;
    bool told = false;
    int ret;

    migrate_set_state(&s->state, state, MIGRATION_STATUS_CANCELLING);
    bql_unlock();
    while ((ret = claim_back(&err)) < 0 && !qatomic_read(&given_up)) {
        if (!told) {
            warn_report("smemv: the VM is paused until it is known whether the "
                        "destination runs it: %s", error_get_pretty(err));
            told = true;
        }
        g_clear_pointer(&err, error_free);
    }
    bql_lock();
    migrate_set_state(&s->state, MIGRATION_STATUS_CANCELLING, state);
    error_propagate(errp, err);
    return ret;
}

bool smemv_may_resume(void)
{
    g_autoptr(Error) err = NULL;
    int ret;

    if (!smemv_is_saving() || !handed_over) {
        return true;
    }
    ret = claim_back_in_time(&err);
    if (ret && ret != SMEMV_WIRE_STALE && qatomic_read(&given_up)) {
        warn_report("smemv: the destination gave up, so the VM runs on here: "
                    "%s", error_get_pretty(err));
        ret = 0;
    }
    fenced = handed_over = ret;
    if (!fenced) {
        return true;
    }
    if (ret == SMEMV_WIRE_STALE) {
        error_report("smemv: the destination runs this VM; it stays paused "
                     "here");
    } else {
        error_report("smemv: the VM stays paused here, as it may run at the "
                     "destination: %s", error_get_pretty(err));
    }
    return false;
}
