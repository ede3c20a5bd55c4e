/*
 * S-memV: what the rest of QEMU calls.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_SMEMV_H
#define MIGRATION_SMEMV_H

#include "exec/cpu-common.h"
#include "qemu/typedefs.h"

/* Whether pages of this VM are on sub-hosts: it runs here by paging. */
bool smemv_vm_is_split(void);

/* Register the stream section "smemv", which only split VMs ever send. */
void smemv_mig_init(void);

/*
 * A page of guest RAM is about to be sent by precopy.
 *
 * Returns 0 where the page is to be sent as usual, 1 when it was taken (sent
 * to a sub-host, or found zero), -1 on an error that fails the migration.
 */
int smemv_save_page(RAMBlock *block, ram_addr_t offset);

/*
 * Called by smemv_save_page(): whether precopy still has to send page @page of
 * @block, in pages of the target. From now on it need not, until it is dirty
 * again.
 */
bool smemv_take_dirty_page(RAMBlock *block, unsigned long page);

/*
 * The @length bytes from @start on of @block are of no use any more: they are
 * to read as zero, but for what is just on its way in or out.
 *
 * Returns whether that was done: false where the VM is not split.
 */
bool smemv_discard_range(RAMBlock *block, uint64_t start, uint64_t length);

/*
 * A page of guest RAM, which precopy has sent, is next in @f, and belongs at
 * @host. Returns whether it was read: false where it is to be as usual.
 */
bool smemv_load_page(QEMUFile *f, void *host);

/*
 * The destination has loaded the VM from @f with @ret: claim the sessions, so
 * that the VM may run here and nowhere else.
 *
 * Returns @ret, or a negative value when the VM must not run here; the source
 * is told then.
 */
int smemv_claim_incoming(QEMUFile *f, int ret);

/* The destination says that it will not run the VM, ever. */
void smemv_destination_gave_up(void);

/*
 * An outgoing migration has failed. Called and returns with the big lock,
 * which is let go meanwhile: a memserver that decides is waited for.
 *
 * Returns whether the VM may run on here: false once a destination has
 * claimed it, or where the memserver knows of no such VM.
 */
bool smemv_may_resume(void);

#endif
