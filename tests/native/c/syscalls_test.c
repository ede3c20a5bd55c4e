/*
 * What is left to a process that has given up its system calls, and what is
 * not.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "check.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REFUSED(call) CHECK(((errno = 0), (call)) == -1 && errno == EPERM)

static void *nothing(void *argument)
{
    return argument;
}

/* It is in force on a thread that was there before, too. */
static void *check_refusals(void *argument)
{
    pthread_barrier_t *barrier = argument;
    char *const arguments[] = { (char *)"/bin/true", NULL };
    void *page;

    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    REFUSED(execve("/bin/true", arguments, NULL));
    REFUSED(execveat(AT_FDCWD, "/bin/true", arguments, NULL, 0));
    REFUSED(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    REFUSED(syscall(SYS_clone3, NULL, 0));
    REFUSED(open("/tmp/smemv-seccomp", O_WRONLY | O_CREAT, 0600));
    REFUSED(open("/dev/null", O_RDWR));
    REFUSED(mkdir("/tmp/smemv-seccomp", 0700));
    REFUSED(chmod("/tmp", 0777));
    REFUSED(setuid(0));
    REFUSED(kill(1, 0));
    REFUSED(prctl(PR_SET_DUMPABLE, 1));
    REFUSED(ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
    REFUSED(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    errno = 0;
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
               -1, 0) == MAP_FAILED && errno == EPERM);
    CHECK(mprotect(page, 4096, PROT_READ) == 0);
    CHECK(munmap(page, 4096) == 0);
    return NULL;
}

int main(void)
{
    pthread_barrier_t barrier;
    pthread_t before, after;
    char byte;
    int fd;

    pthread_barrier_init(&barrier, NULL, 2);
    CHECK(pthread_create(&before, NULL, check_refusals, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscalls_restrict());
    pthread_barrier_wait(&barrier);
    pthread_join(before, NULL);
    CHECK(pthread_create(&after, NULL, nothing, NULL) == EPERM);
    fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, &byte, 1) == 1 && close(fd) == 0);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && close(fd) == 0);
    return 0;
}
