/*
 * Fuzz target: a whole connection, from the socket to the sessions.
 *
 * The first byte of the input says how the connection begins (bit 0: as on
 * the control socket; bit 1: attached to a session that is all zeros; bit 2:
 * in small pieces); the rest is sent as it is. Every answer must be a frame
 * that the decoder accepts, and the connection must come to its end.
 *
 * Whatever host a COPY names, the pages come back into the same sessions: the
 * linker puts a resolver in the place of the C library's, so that nothing
 * that is tried here leaves this process.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "connection.h"
#include "server.h"
#include "smemv-wire.h"
#include "worker.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **found);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CAPACITY 64 /* pages */
#define PIECE 37

static struct server server;
static struct worker worker;

/* Where COPYs end. */
static int listener;
static char listener_port[6];

/* What came back and is not a whole frame yet. */
static uint8_t answers[2 * SMEMV_WIRE_MAX_PAYLOAD];
static size_t answers_size;

static void insist(bool condition)
{
    if (!condition) {
        abort();
    }
}

int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **found)
{
    (void)host;
    (void)port;
    return __real_getaddrinfo("127.0.0.1", listener_port, hints, found);
}

static void add_connection(int fd, bool local)
{
    struct connection *c;

    insist(!peers_enter(&server.peers, "fuzzer"));
    c = connection_new(fd, NULL, local, "fuzzer");
    insist(c);
    worker_add(&worker, c);
}

static void *accept_copies(void *argument)
{
    (void)argument;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        insist(fd >= 0);
        add_connection(fd, false);
    }
    return NULL;
}

static void listen_for_copies(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    pthread_t thread;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    insist(bind(listener, (struct sockaddr *)&address, size) == 0);
    insist(listen(listener, 16) == 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    snprintf(listener_port, sizeof(listener_port), "%u",
             (unsigned)ntohs(address.sin_port));
    insist(pthread_create(&thread, NULL, accept_copies, NULL) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    peers_init(&server.peers, 16, 16);
    insist(jobs_start(&server.jobs, 1) == 0);
    insist(jobs_start(&server.copies, 1) == 0);
    insist(worker_start(&worker, &server) == 0);
    listen_for_copies();
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
    int fds[2];

    insist(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                      fds) == 0);
    add_connection(fds[1], local);
    return fds[0];
}

static void read_to_end(int fd)
{
    do {
        wait_for(fd, POLLIN);
    } while (read_answers(fd));
    close(fd);
}

/*
 * Waits until no connection is left, those that COPYs made among them. One
 * more is then at its end only after the worker has freed those before it.
 */
static void wait_for_the_end(void)
{
    int fd;

    while (atomic_load(&worker.load)) {
        sched_yield();
    }
    fd = connect_worker(false);
    shutdown(fd, SHUT_WR);
    read_to_end(fd);
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
    if (goes_on) {
        read_to_end(fd);
    } else {
        close(fd);
    }
    insist(answers_size == 0);
    wait_for_the_end();
    registry_destroy(&server.registry);
    return 0;
}
