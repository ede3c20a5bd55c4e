/*
 * Serves the metrics over HTTP, on a thread of its own.
 *
 * One peer after the other, each with a deadline: they are on this machine,
 * and one of them that is slow holds up the others, and no main host.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "exporter.h"

#include "counters.h"
#include "http.h"
#include "metrics.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Nanoseconds from a peer's coming to its end. */
#define PEER_TIME UINT64_C(2000000000)

/* Waits for @events. False: the deadline has passed, or it is to stop. */
static bool wait_for(struct exporter *exporter, int fd, short events,
                     uint64_t deadline)
{
    struct pollfd fds[] = { { .fd = fd, .events = events },
                            { .fd = exporter->stop, .events = POLLIN } };
    uint64_t now = counters_clock();
    int milliseconds = -1;

    if (deadline) {
        if (now >= deadline) {
            return false;
        }
        milliseconds = (int)((deadline - now) / 1000000) + 1;
    }
    return poll(fds, 2, milliseconds) > 0 && !fds[1].revents;
}

/* The status for the request that comes; 0: none came in time. */
static unsigned receive(struct exporter *exporter, int fd, uint64_t deadline)
{
    char request[HTTP_REQUEST_MAX];
    size_t size = 0;
    unsigned status = 0;

    while (!status && wait_for(exporter, fd, POLLIN, deadline)) {
        ssize_t n = recv(fd, request + size, sizeof(request) - size, 0);

        if (n > 0) {
            size += (size_t)n;
            status = http_request(request, size);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            return 0;
        }
    }
    return status;
}

static void send_all(struct exporter *exporter, int fd, const char *data,
                     size_t size, uint64_t deadline)
{
    while (size && wait_for(exporter, fd, POLLOUT, deadline)) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return;
        }
    }
}

static void answer(struct exporter *exporter, int fd, unsigned status,
                   uint64_t deadline)
{
    size_t size = 0;
    char *text = NULL;
    char header[256];
    int length;

    if (status == 200) {
        text = metrics_text(exporter->server, &size);
    }
    length = snprintf(header, sizeof(header),
                      "HTTP/1.1 %u %s\r\n"
                      "Content-Type: text/plain; version=0.0.4\r\n"
                      "Content-Length: %zu\r\n"
                      "Connection: close\r\n\r\n",
                      status, http_reason(status), size);
    send_all(exporter, fd, header, (size_t)length, deadline);
    send_all(exporter, fd, text, size, deadline);
    free(text);
}

static void serve(struct exporter *exporter, int fd)
{
    uint64_t deadline = counters_clock() + PEER_TIME;
    unsigned status = receive(exporter, fd, deadline);

    if (status) {
        answer(exporter, fd, status, deadline);
    }
    close(fd);
}

static void *run(void *argument)
{
    struct exporter *exporter = argument;

    while (wait_for(exporter, exporter->listener, POLLIN, 0)) {
        int fd = accept4(exporter->listener, NULL, NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            serve(exporter, fd);
        }
    }
    return NULL;
}

int exporter_start(struct exporter *exporter, struct server *server,
                   int listener)
{
    *exporter = (struct exporter){ .server = server, .listener = listener };
    exporter->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (exporter->stop < 0) {
        return -errno;
    }
    return -pthread_create(&exporter->thread, NULL, run, exporter);
}

void exporter_stop(struct exporter *exporter)
{
    eventfd_write(exporter->stop, 1);
    pthread_join(exporter->thread, NULL);
    close(exporter->stop);
}
