/*
 * The system calls that are left to the process once it serves.
 *
 * No program is run, no process or thread is made, no file is written or
 * made, and no memory becomes code. What is not allowed fails with EPERM: to
 * kill the process would lose the pages that it holds.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "syscalls.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const int allowed[] = {
    /* Sockets, and the journal */
    SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(close), SCMP_SYS(connect),
    SCMP_SYS(fcntl), SCMP_SYS(getpeername), SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg), SCMP_SYS(sendmmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(write),
    SCMP_SYS(writev),
    /* Waiting */
    SCMP_SYS(clock_nanosleep), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait), SCMP_SYS(futex),
    SCMP_SYS(nanosleep), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield),
    /* Memory */
    SCMP_SYS(brk), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(madvise),
    SCMP_SYS(memfd_create), SCMP_SYS(mlock), SCMP_SYS(mremap),
    SCMP_SYS(munlock), SCMP_SYS(munmap),
    /* To see that systemd has taken what it is to keep */
    SCMP_SYS(pipe2),
    /* Certificates, and the end of the control socket's file */
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
    SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    /* Time, chance, and the process itself */
    SCMP_SYS(clock_gettime), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(getegid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getpid),
    SCMP_SYS(getrandom), SCMP_SYS(gettid), SCMP_SYS(gettimeofday),
    SCMP_SYS(getuid), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(tgkill), SCMP_SYS(uname),
    /* What threads begin with: some may not have yet */
    SCMP_SYS(rseq), SCMP_SYS(sched_getaffinity), SCMP_SYS(set_robust_list),
};

/* Those that are allowed with some arguments only. */
static const struct {
    int call;
    struct scmp_arg_cmp argument;
} conditional[] = {
    /* To read */
    { SCMP_SYS(openat),
      SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY) },
    /* Without becoming code */
    { SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
    { SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0) },
    /* As the resolver of names asks how much there is to read */
    { SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONREAD) },
    /* To other memservers and to systemd */
    { SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_INET) },
    { SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_INET6) },
    { SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX) },
};

static int add_rules(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; !error && i < COUNT(allowed); i++) {
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    for (size_t i = 0; !error && i < COUNT(conditional); i++) {
        error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW,
                                       conditional[i].call, 1,
                                       &conditional[i].argument);
    }
    return error;
}

bool syscalls_restrict(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int error = filter ? add_rules(filter) : -ENOMEM;

    if (!error) {
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (!error) {
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    if (!error) {
        error = seccomp_load(filter);
    }
    if (error) {
        log_line(LOG_ERR, "cannot restrict system calls: %s",
                 strerror(-error));
    }
    seccomp_release(filter);
    return !error;
}
