/*
 * Blockers: what keeps a VM from being split.
 *
 * Only private anonymous memory of 4 KiB pages can be moved page by page, and
 * only while nothing outside the process maps or pins all of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "qom/object.h"
#include "hw/qdev-core.h"
#include "net/net.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "system/system.h"
#include "smemv.h"

/* How the types of devices begin that cannot be, and what they do. */
static const struct {
    const char *type, *does;
} devices[] = {
    { "vfio-", "uses guest memory from outside the process" },
    { "vhost-user-", "uses guest memory from outside the process" },
    { "vhost-vdpa-", "uses guest memory from outside the process" },
    { "virtio-mem-", "plugs guest memory in and out" },
};

static void add_reason(strList **reasons, char *reason)
{
    QAPI_LIST_PREPEND(*reasons, reason);
}

static int check_device(Object *obj, void *opaque)
{
    DeviceState *dev = (DeviceState *)object_dynamic_cast(obj, TYPE_DEVICE);
    const char *type = object_get_typename(obj);
    strList **reasons = opaque;

    for (unsigned i = 0; dev && i < ARRAY_SIZE(devices); i++) {
        if (strstart(type, devices[i].type, NULL)) {
            g_autofree char *path = object_get_canonical_path(obj);

            add_reason(reasons, g_strdup_printf(
                "device %s (%s) %s", dev->id ? dev->id : path, type,
                devices[i].does));
        }
    }
    return 0;
}

static void check_netdevs(strList **reasons)
{
    NetClientState *ncs[64];
    int n = qemu_find_net_clients_except(NULL, ncs, NET_CLIENT_DRIVER_NIC,
                                         ARRAY_SIZE(ncs));

    for (int i = 0; i < MIN(n, ARRAY_SIZE(ncs)); i++) {
        if (ncs[i]->info->type == NET_CLIENT_DRIVER_VHOST_USER ||
            ncs[i]->info->type == NET_CLIENT_DRIVER_VHOST_VDPA) {
            add_reason(reasons, g_strdup_printf(
                "netdev %s (%s) uses guest memory from outside the process",
                ncs[i]->name, NetClientDriver_str(ncs[i]->info->type)));
        }
    }
}

static void check_ram(strList **reasons)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        const char *why = NULL;

        if (!smemv_is_guest_ram(rb)) {
            continue;
        }
        if (qemu_ram_is_shared(rb)) {
            why = "is shared with other processes";
        } else if (rb->page_size != SMEMV_PAGE_SIZE) {
            why = "has pages larger than 4 KiB";
        } else if (rb->fd >= 0) {
            why = "is backed by a file";
        } else if (rb->guest_memfd >= 0) {
            why = "is private to a confidential guest";
        }
        if (why) {
            add_reason(reasons, g_strdup_printf("guest RAM %s %s", rb->idstr,
                                                why));
        }
    }
}

strList *smemv_blockers(void)
{
    strList *reasons = NULL;

    object_child_foreach_recursive(object_get_root(), check_device, &reasons);
    check_netdevs(&reasons);
    check_ram(&reasons);
    if (should_mlock(mlock_state)) {
        add_reason(&reasons, g_strdup("guest memory is locked "
                                      "(-overcommit mem-lock)"));
    }
    return reasons;
}
