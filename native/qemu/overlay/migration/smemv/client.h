/*
 * Client: what a memserver is asked for, on a connection.
 *
 * What conn.h says of its calls holds for these.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SMEMV_CLIENT_H
#define SMEMV_CLIENT_H

#include "conn.h"

/* How long to wait before a lost memserver is tried again. */
#define SMEMV_RECONNECT_US 100000

/*
 * How long to wait for one of two copies before the other is asked for, and
 * for a memserver that nobody waits for.
 */
#define SMEMV_PATIENCE_MS 1000

/* One page to be put. */
typedef struct SmemvPut {
    uint64_t page;
    const void *data;            /* must not change until it is sent */
    /* To be sealed with: the same for both copies. 0: with a new one. */
    uint64_t version;
    /* Of the data, if known and not sealed. 0: it is made when it is sent. */
    uint32_t crc;
} SmemvPut;

/*
 * Open the session on the peer: reserve @pages. @flags: of the protocol. The
 * second call awaits what the first has sent, so that many peers can do it
 * side by side.
 */
int smemv_conn_send_open(SmemvConn *c, uint64_t pages, uint64_t flags,
                         Error **errp);
int smemv_conn_await_open(SmemvConn *c, Error **errp);

/*
 * Attach, after connecting if need be, with the peer's epoch and holder as
 * this process knows them.
 */
int smemv_conn_attach(SmemvConn *c, Error **errp);

/* The same in two steps, so that many peers can be asked side by side. */
int smemv_conn_send_attach(SmemvConn *c, Error **errp);
int smemv_conn_await_attach(SmemvConn *c, Error **errp);

/*
 * Send PUTs of @n pages, at most SMEMV_BATCH, neighbours in one request. The
 * pages of a sealed session are sealed here, anew each time, but for those
 * that say with which version.
 * @requests is raised by the number of responses to be awaited.
 */
int smemv_conn_send_puts(SmemvConn *c, const SmemvPut *puts, size_t n,
                         size_t *requests, Error **errp);

/* The same for DROPs, of as many as are wanted. */
int smemv_conn_send_drops(SmemvConn *c, const uint64_t *pages, size_t n,
                          size_t *requests, Error **errp);

/* Await the responses of @requests requests; the first that is not OK. */
int smemv_conn_await(SmemvConn *c, size_t requests, Error **errp);

/*
 * Fetch a page. @data points to its 4096 bytes until the next call, or is
 * NULL where the memserver does not store it. SMEMV_WIRE_CHECKSUM where it is
 * damaged, or its session is sealed and it does not open.
 */
int smemv_conn_get(SmemvConn *c, uint64_t page, const uint8_t **data,
                   Error **errp);

/*
 * The same in two steps, for up to SMEMV_GETS pages that are on their way
 * together: answers come in the order in which the pages were asked for. They
 * are awaited until the connection is closed (@gets of it is 0 then).
 */
int smemv_conn_send_gets(SmemvConn *c, const uint64_t *pages, size_t n,
                         Error **errp);
int smemv_conn_receive_get(SmemvConn *c, uint64_t page, const uint8_t **data,
                           Error **errp);

/*
 * Fetch the run of @n pages, at most SMEMV_WIRE_MAX_PAGES, that begins at
 * @page, into @data. SMEMV_WIRE_CHECKSUM where one is missing as well.
 */
int smemv_conn_get_run(SmemvConn *c, uint64_t page, unsigned n, uint8_t *data,
                       Error **errp);

/*
 * Have the memserver send what it stores of a run, of at most
 * SMEMV_WIRE_MAX_PAGES, to the memserver of @target: @copied pages. After
 * anything but OK some of it may still arrive there, until the claim there is
 * renewed.
 */
int smemv_conn_copy(SmemvConn *c, uint64_t page, unsigned n,
                    SmemvPeer *target, uint64_t *copied, Error **errp);

/* Change the reservation to @pages; also in two steps. */
int smemv_conn_reserve(SmemvConn *c, uint64_t pages, Error **errp);
int smemv_conn_send_reserve(SmemvConn *c, uint64_t pages, Error **errp);
int smemv_conn_await_reserve(SmemvConn *c, Error **errp);

/*
 * Claim the session, so that no other process may write.
 *
 * With @renew as a new holder, on a new connection: then nothing that older
 * connections of this process have sent, and that was not answered, is done
 * any more. After a -1 the claim may be made again, whether it was heard or
 * not.
 */
int smemv_conn_claim(SmemvConn *c, bool renew, Error **errp);

/*
 * Whether @ret is a refusal as STALE that says nothing of other hosts: this
 * process has changed epoch or holder since @c attached, or is about to.
 */
bool smemv_conn_overtaken(const SmemvConn *c, int ret);

/*
 * Claim the session for the process that is to run the VM, which is paused
 * meanwhile. A memserver that does not answer is asked again for a while: it
 * may be restarting.
 */
int smemv_conn_claim_vm(SmemvConn *c, Error **errp);

/* Close the session. */
int smemv_conn_close_session(SmemvConn *c, Error **errp);

#endif
