/*
 * Fuzz target: a whole connection, from the socket to the sessions.
 *
 * The first byte of the input says how the connection begins (bit 0: as on
 * the control socket; bit 1: attached to a session that is all zeros; bit 2:
 * in small pieces); the rest is sent as it is. Every answer must be a frame
 * that the decoder accepts, and the connection must come to its end.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "connection.h"
#include "server.h"
#include "smemv-wire.h"
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CAPACITY 64 /* pages */
#define PIECE 37

static struct server server;
static struct worker worker;

/* What came back and is not a whole frame yet. */
static uint8_t answers[2 * SMEMV_WIRE_MAX_PAYLOAD];
static size_t answers_size;

static void insist(bool condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    peers_init(&server.peers, 16, 16);
    insist(jobs_start(&server.jobs) == 0);
    insist(worker_start(&worker, &server) == 0);
    return 0;
}

static void check_answers(void)
{
    size_t at = 0;

    while (answers_size - at >= SMEMV_WIRE_HEADER_SIZE) {
        struct smemv_wire_response r;

        insist(!smemv_wire_get_response(answers + at, &r));
        insist(r.status != SMEMV_WIRE_INTERNAL);
        if (answers_size - at < SMEMV_WIRE_HEADER_SIZE + r.length) {
            break;
        }
        at += SMEMV_WIRE_HEADER_SIZE + r.length;
    }
    memmove(answers, answers + at, answers_size - at);
    answers_size -= at;
}

/* Reads what is there. Returns false at the end of the connection. */
static bool read_answers(int fd)
{
    ssize_t n = recv(fd, answers + answers_size,
                     sizeof(answers) - answers_size, MSG_DONTWAIT);

    if (n > 0) {
        answers_size += (size_t)n;
        check_answers();
    }
    return n != 0;
}

/* What has come of @events; it must come within 10 s. */
static short wait_for(int fd, short events)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };
    int ready;

    do {
        ready = poll(&poll_fd, 1, 10000);
    } while (ready < 0 && errno == EINTR); /* the fuzzer's own alarm */
    insist(ready == 1);
    return poll_fd.revents;
}

/* Sends all, reading meanwhile. Returns false if the peer has had enough. */
static bool send_all(int fd, const uint8_t *data, size_t size, size_t piece)
{
    while (size) {
        short events = wait_for(fd, POLLIN | POLLOUT);
        ssize_t n;

        if (events & POLLIN && !read_answers(fd)) {
            return false;
        }
        n = send(fd, data, size < piece ? size : piece,
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (events & (POLLHUP | POLLERR)) {
            return false;
        }
    }
    return true;
}

static void send_beginning(int fd, bool attached)
{
    uint8_t frames[3 * SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_HELLO_SIZE +
                   SMEMV_WIRE_OPEN_SIZE + SMEMV_WIRE_ATTACH_SIZE];
    uint8_t *end = frames;
    struct smemv_wire_request r = { .opcode = SMEMV_WIRE_HELLO };
    const struct smemv_wire_hello hello = { 1, 1, 0 };
    const struct smemv_wire_open open = { .reserve = CAPACITY / 2 };
    const struct smemv_wire_attach attach = { .epoch = 1 };

    smemv_wire_put_request(end, &r);
    smemv_wire_put_hello(end + SMEMV_WIRE_HEADER_SIZE, &hello);
    end += SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_HELLO_SIZE;
    if (attached) {
        r.opcode = SMEMV_WIRE_OPEN;
        smemv_wire_put_request(end, &r);
        smemv_wire_put_open(end + SMEMV_WIRE_HEADER_SIZE, &open);
        end += SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_OPEN_SIZE;
        r.opcode = SMEMV_WIRE_ATTACH;
        smemv_wire_put_request(end, &r);
        smemv_wire_put_attach(end + SMEMV_WIRE_HEADER_SIZE, &attach);
        end += SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_ATTACH_SIZE;
    }
    insist(send_all(fd, frames, (size_t)(end - frames), sizeof(frames)));
}

static int connect_worker(bool local)
{
    struct connection *c;
    int fds[2];

    insist(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                      fds) == 0);
    insist(!peers_enter(&server.peers, "fuzzer"));
    c = connection_new(fds[1], NULL, local, "fuzzer");
    insist(c);
    worker_add(&worker, c);
    return fds[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool goes_on;
    int fd;

    if (!size) {
        return 0;
    }
    registry_init(&server.registry, CAPACITY, 4, 1);
    answers_size = 0;
    fd = connect_worker(data[0] & 1);
    send_beginning(fd, data[0] & 2);
    goes_on = send_all(fd, data + 1, size - 1, data[0] & 4 ? PIECE : size);
    shutdown(fd, SHUT_WR);
    while (goes_on) {
        wait_for(fd, POLLIN);
        goes_on = read_answers(fd);
    }
    insist(answers_size == 0);
    close(fd);
    registry_destroy(&server.registry);
    return 0;
}
