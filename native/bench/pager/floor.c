/*
 * The floor under a page fault that is served over the network.
 *
 * Memory whose missing pages one handler thread fetches by TCP, with nothing
 * around it: userfault, 16 bytes out, 4 KiB back, UFFDIO_COPY. Prints the
 * address of the memory, and serves until its standard input ends.
 *
 * usage: floor PAGES
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <signal.h>
#include <unistd.h>

#define PAGE_SIZE 4096
#define REQUEST_SIZE 16

/* Pages at the other end: more than a processor's caches hold. */
#define STORED 65536

static int uffd;

static void receive(int fd, void *to, size_t size)
{
    ssize_t n = recv(fd, to, size, MSG_WAITALL);

    if (n == 0) {
        exit(0);
    }
    if (n != (ssize_t)size) {
        err(1, "recv");
    }
}

static void send_all(int fd, const void *from, size_t size)
{
    if (send(fd, from, size, MSG_NOSIGNAL) != (ssize_t)size) {
        err(1, "send");
    }
}

/* The other end: a page for each request, by its address. */
static void serve_pages(int listener)
{
    static unsigned char pages[STORED][PAGE_SIZE];
    char request[REQUEST_SIZE];
    uint64_t address;
    int one = 1, fd = accept(listener, NULL, NULL);

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))) {
        err(1, "accept");
    }
    memset(pages, 1, sizeof(pages));
    for (;;) {
        receive(fd, request, sizeof(request));
        memcpy(&address, request, sizeof(address));
        send_all(fd, pages[address / PAGE_SIZE % STORED], PAGE_SIZE);
    }
}

/* Start the other end as a process of its own; a connection to it. */
static int connect_to_pages(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, fd;

    if (bind(listener, (struct sockaddr *)&address, size) ||
        listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&address, &size)) {
        err(1, "listen");
    }
    switch (fork()) {
    case -1:
        err(1, "fork");
    case 0:
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        serve_pages(listener);
    }
    close(listener);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, size) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))) {
        err(1, "connect");
    }
    return fd;
}

static void *serve_faults(void *opaque)
{
    static char page[PAGE_SIZE];
    int fd = *(int *)opaque;
    struct uffd_msg msg;

    while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
        char request[REQUEST_SIZE] = "";
        struct uffdio_copy copy = {
            .dst = msg.arg.pagefault.address & -PAGE_SIZE,
            .src = (unsigned long)page,
            .len = PAGE_SIZE,
        };

        memcpy(request, &copy.dst, sizeof(copy.dst));
        send_all(fd, request, sizeof(request));
        receive(fd, page, sizeof(page));
        if (ioctl(uffd, UFFDIO_COPY, &copy)) {
            err(1, "UFFDIO_COPY");
        }
    }
    err(1, "userfaultfd");
}

int main(int argc, char **argv)
{
    size_t size = argc == 2 ? strtoul(argv[1], NULL, 0) * PAGE_SIZE : 0;
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
    int fd = connect_to_pages();
    pthread_t thread;
    void *memory;

    memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
    range.range.start = (unsigned long)memory;
    range.range.len = size;
    if (memory == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
        ioctl(uffd, UFFDIO_REGISTER, &range) ||
        pthread_create(&thread, NULL, serve_faults, &fd)) {
        err(1, "cannot serve page faults");
    }
    printf("%lu\n", (unsigned long)memory);
    fflush(stdout);
    while (getchar() != EOF) {
        continue;
    }
    return 0;
}
