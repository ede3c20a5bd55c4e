/*
 * S-memV: a VM's memory on several hosts.
 *
 * Theory of operation. A split migration is an ordinary precopy in which some
 * pages go to memservers on sub-hosts instead of into the stream
 * (split-save.c). The stream's section "smemv" tells the destination where
 * each page went (split-load.c). Before the devices are loaded there, the
 * pager takes over the guest's RAM: a page that is not resident is fetched
 * when it is touched (pager.c), and pages leave so that resident memory stays
 * under the limit (evictor.c). The destination claims the session on the
 * memservers before it runs the VM, so that they decide which side runs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "migration/smemv.h"
#include "smemv.h"

static SmemvPager *the_pager;

SmemvPager *smemv_pager(void)
{
    return the_pager;
}

void smemv_set_pager(SmemvPager *pager)
{
    the_pager = pager;
}

bool smemv_vm_is_split(void)
{
    return the_pager;
}

void smemv_fatal(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    /* No exit handlers: they may wait for a vCPU that waits for a page. */
    _exit(EXIT_FAILURE);
}

static const SaveVMHandlers smemv_handlers = {
    .is_active = smemv_save_is_active,
    .save_prepare = smemv_save_prepare,
    .save_setup = smemv_save_setup,
    .state_pending_estimate = smemv_save_pending,
    .state_pending_exact = smemv_save_pending,
    .save_live_iterate = smemv_save_iterate,
    .save_live_complete_precopy = smemv_save_complete,
    .save_cleanup = smemv_save_cleanup,
    .load_state = smemv_load_state,
    .load_cleanup = smemv_load_cleanup,
};

void smemv_mig_init(void)
{
    register_savevm_live("smemv", 0, 1, &smemv_handlers, NULL);
}
