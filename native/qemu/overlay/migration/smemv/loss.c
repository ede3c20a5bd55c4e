/*
 * Loss: a connection ends when the host at its other end does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <netinet/tcp.h>
#include "qemu/sockets.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "loss.h"

/* A destination may be busy for long before it reads on. */
#define MIGRATION_LOST_MS 30000

/* A host that is down, or cut off, does not end a connection: these do. */
static const struct {
    int level, option, value;
} options[] = {
    { IPPROTO_TCP, TCP_SYNCNT, 2 },
    { IPPROTO_TCP, TCP_KEEPIDLE, 3 /* s */ },
    { IPPROTO_TCP, TCP_KEEPINTVL, 3 /* s */ },
    { SOL_SOCKET, SO_KEEPALIVE, 1 },
    { IPPROTO_TCP, TCP_NODELAY, 1 },
};

bool smemv_loss_notice(int fd, int ms)
{
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        if (setsockopt(fd, options[i].level, options[i].option,
                       &options[i].value, sizeof(int))) {
            return false;
        }
    }
    return !setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

void smemv_loss_notice_migration(QIOChannel *ioc)
{
    QIOChannelTLS *tls;
    QIOChannelSocket *s;

    tls = (QIOChannelTLS *)object_dynamic_cast(OBJECT(ioc),
                                               TYPE_QIO_CHANNEL_TLS);
    if (tls) {
        ioc = tls->master;
    }
    s = (QIOChannelSocket *)object_dynamic_cast(OBJECT(ioc),
                                                TYPE_QIO_CHANNEL_SOCKET);
    /* Of other channels, such as a file, there is nothing to be set. */
    if (s) {
        smemv_loss_notice(s->fd, MIGRATION_LOST_MS);
    }
}
