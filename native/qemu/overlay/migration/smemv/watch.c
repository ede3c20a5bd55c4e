/*
 * Watch: which pages of a whole VM are read.
 *
 * One thread moves pages out and serves the faults on them. It never takes
 * the big lock: who holds that may be the one that waits for a page. A page
 * that is out lies in the mirror, memory as large as the guest's of which only
 * that much exists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include "qemu/timer.h"
#include "qemu/userfaultfd.h"
#include "exec/memory.h"
#include "hw/core/cpu.h"
#include "move.h"
#include "smemv.h"
#include "trace.h"
#include "watch.h"

/* Neighbours that are moved out together. */
#define GROUP 16

/* At most so many pages a second are moved out. */
#define MOVES_PER_S 20000

/*
 * They are moved out between these parts of the time: not before the dirty log
 * tells what need not be, and so that each is watched for a while.
 */
#define MOVES_FROM 0.4
#define MOVES_UNTIL 0.75

/* What could not be moved out in its time, in us before now, is let be. */
#define CATCH_UP 100000

/*
 * What it may cost in all, of the time of the vCPUs, as it is reckoned here. A
 * vCPU that has slept is slow for a while; measured, it loses half as much
 * again by that.
 */
#define COST_SHARE 0.01

/* Of more than that, and so many us, the watch ends before its time. */
#define COST_MOST 0.02
#define COST_MOST_BESIDE 50000

/* A fault on memory that was never touched has so many pages' worth made. */
#define ZERO_PAGES 512

/* Pages that are moved back at once: a fault waits for that. */
#define BACK_PAGES 64

/* How long the thread sleeps at most, in ms: it moves the next pages then. */
#define TICK_MS 2

struct SmemvWatch {
    SmemvPageMap *map;
    uint8_t *seen;
    unsigned ms;
    int64_t start;               /* us */
    unsigned vcpus;
    double used_before;          /* of processors, by this process, us */

    QemuThread thread;
    int uffd;
    int stop_fd;                 /* an eventfd that tells the thread to end */
    bool ends;                   /* nothing more is moved out */

    uint8_t *mirror;             /* of all pages, by their numbers */
    uint8_t *out;                /* of each group: when, as in @seen */
    uint64_t n_groups;
    uint64_t next;               /* groups that are done with */
    double due;                  /* groups that are to be moved out now */
    int64_t counted;             /* us: what was due before is in @due */
    uint64_t stride;
    uint64_t back;               /* in the end: pages below it are back */
    uint8_t end;                 /* when it ended, as in @seen */
    uint64_t wanted;             /* pages that are to be found cold */
    uint64_t away;               /* pages that are out */
    uint64_t moved, faults;
    double waits;                /* of vCPUs for pages, us */
    double moves;                /* how long moving out took, us */
    double delay;                /* of this thread, when it wakes: mean, us */
};

static int64_t elapsed(const SmemvWatch *w)
{
    return g_get_monotonic_time() - w->start;
}

static size_t map_size(const SmemvWatch *w)
{
    return w->map->pages << SMEMV_PAGE_BITS;
}

static uint8_t *mirror_of(const SmemvWatch *w, uint64_t page)
{
    return w->mirror + (page << SMEMV_PAGE_BITS);
}

/* The pages from @page up to @end of its block that are @seen alike. */
static uint64_t run_of(const SmemvWatch *w, uint64_t page, uint64_t end,
                       uint8_t seen)
{
    uint8_t *host = smemv_page_map_host(w->map, page);
    uint64_t n = 0;

    while (page + n < end && qatomic_read(&w->seen[page + n]) == seen &&
           smemv_page_map_host(w->map, page + n) ==
           host + (n << SMEMV_PAGE_BITS)) {
        n++;
    }
    return n;
}

static double cpu_time(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/*
 * What the watch has cost until @us, in us of a vCPU. Who moves pages out
 * interrupts each vCPU that runs, and waits until it has; these are what
 * keeps processors busy in this process, but for this thread.
 */
static double cost(const SmemvWatch *w, int64_t us)
{
    double used = cpu_time(CLOCK_PROCESS_CPUTIME_ID) - w->used_before -
                  cpu_time(CLOCK_THREAD_CPUTIME_ID);

    return w->waits + w->moves * MIN(used / us, w->vcpus);
}

static int64_t move_pages(SmemvWatch *w, uint64_t page, uint64_t n)
{
    int64_t start = g_get_monotonic_time();
    int64_t moved = smemv_move(w->uffd, mirror_of(w, page),
                               smemv_page_map_host(w->map, page), n, true);

    w->moves += g_get_monotonic_time() - start;
    return moved;
}

/* Move out the @n pages from @page on, which nothing is known of. */
static void move_out_run(SmemvWatch *w, uint64_t page, uint64_t n)
{
    for (uint64_t end = page + n; page < end;) {
        int64_t moved;

        /* Who reads the dirty log may have been first. */
        for (n = 0; page + n < end; n++) {
            if (qatomic_cmpxchg(&w->seen[page + n], SMEMV_SEEN_NOTHING,
                                SMEMV_SEEN_WATCHED) != SMEMV_SEEN_NOTHING) {
                break;
            }
        }
        moved = n ? move_pages(w, page, n) : 0;
        if (moved > 0) {
            w->moved += moved;
            w->away += moved;
        }
        for (uint64_t i = MAX(moved, 0); i < n; i++) {
            qatomic_set(&w->seen[page + i], SMEMV_SEEN_NOTHING);
        }
        if (moved < 0) {
            /* Pinned by a device, merged, in use just now, or not there. */
            qatomic_set(&w->seen[page], moved == -ENOENT ?
                        SMEMV_SEEN_ABSENT : SMEMV_SEEN_NOTHING);
        }
        page += MAX(moved, 1);
    }
}

static void move_out_group(SmemvWatch *w, uint64_t group)
{
    uint64_t page = group * GROUP;
    uint64_t end = MIN(page + GROUP, w->map->pages);

    w->out[group] = smemv_seen_after(elapsed(w), w->ms);
    while (page < end) {
        uint64_t n = run_of(w, page, end, SMEMV_SEEN_NOTHING);

        if (n) {
            move_out_run(w, page, n);
        }
        page += MAX(n, 1);
    }
}

/*
 * Move the @n pages from @page on back, which are all in the mirror; one that
 * cannot be is somebody's whose hold on it is short.
 */
static void move_back(SmemvWatch *w, uint64_t page, uint64_t n)
{
    while (n) {
        int64_t moved = smemv_move(w->uffd, smemv_page_map_host(w->map, page),
                                   mirror_of(w, page), n, true);

        if (moved > 0) {
            page += moved;
            n -= moved;
        } else if (moved == -ENOMEM) {
            g_usleep(1000);
        } else if (moved != -EAGAIN && moved != -EBUSY) {
            smemv_fatal("smemv: cannot move page 0x%" PRIx64 " back: %s",
                        page << SMEMV_PAGE_BITS, strerror(-moved));
        }
    }
}

/*
 * @page is not there and not in the mirror: it was never touched, or came
 * back since. A guest that begins to use memory goes on to its neighbours, so
 * they are made zero with it.
 */
static void make_zero(SmemvWatch *w, uint64_t page)
{
    uint8_t seen = qatomic_read(&w->seen[page]);
    uint64_t n = run_of(w, page, MIN(page + ZERO_PAGES, w->map->pages), seen);
    void *host = smemv_page_map_host(w->map, page);
    struct uffdio_zeropage zero = {
        .range = { .start = (uintptr_t)host, .len = n << SMEMV_PAGE_BITS },
    };

    while (ioctl(w->uffd, UFFDIO_ZEROPAGE, &zero) && zero.zeropage < 0) {
        if (zero.zeropage == -EEXIST) {
            uffd_wakeup(w->uffd, host, SMEMV_PAGE_SIZE);
            return;
        } else if (zero.zeropage != -EAGAIN && zero.zeropage != -ENOMEM) {
            smemv_fatal("smemv: cannot make page 0x%" PRIx64 " zero: %s",
                        page << SMEMV_PAGE_BITS, strerror(-zero.zeropage));
        }
    }
    if (seen == SMEMV_SEEN_ABSENT) {
        qatomic_set(&w->seen[page], smemv_seen_after(elapsed(w), w->ms));
    }
}

/*
 * A vCPU has waited for this thread to wake, since @start for the page, and to
 * wake itself.
 */
static void count_fault(SmemvWatch *w, int64_t start)
{
    w->faults++;
    w->away--;
    w->waits += g_get_monotonic_time() - start + 2 * w->delay;
}

static void serve_fault(SmemvWatch *w, const void *address)
{
    int64_t start = g_get_monotonic_time();
    uint64_t page;

    if (!smemv_page_map_find(w->map, address, &page)) {
        smemv_fatal("smemv: page fault at %p, which is no guest RAM", address);
    }
    if (qatomic_read(&w->seen[page]) != SMEMV_SEEN_WATCHED) {
        make_zero(w, page);
    } else if (page < w->back) {
        uffd_wakeup(w->uffd, smemv_page_map_host(w->map, page),
                    SMEMV_PAGE_SIZE);
    } else {
        move_back(w, page, 1);
        count_fault(w, start);
        qatomic_set(&w->seen[page],
                    MAX(smemv_seen_after(elapsed(w), w->ms) -
                        w->out[page / GROUP], SMEMV_SEEN_FIRST));
    }
}

/* Serve the faults that wait now. */
static void serve_faults(SmemvWatch *w)
{
    struct uffd_msg msg;

    while (read(w->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
        if (msg.event == UFFD_EVENT_PAGEFAULT) {
            serve_fault(w, (void *)(uintptr_t)msg.arg.pagefault.address);
        }
    }
}

/* Whether pages are to be moved out, now or later. */
static bool moves_out(const SmemvWatch *w)
{
    return !w->ends && w->away < w->wanted && w->next < w->n_groups &&
           elapsed(w) < 1000.0 * w->ms * MOVES_UNTIL;
}

/*
 * Move out what is due by now: all groups in time, in an order that has each
 * region of memory looked at from early on. What may be spent is spread over
 * the time that is left, as what is out goes on to cost: what that is too
 * little for stays where it is.
 */
static void move_out(SmemvWatch *w)
{
    double all = 1000.0 * w->ms, from = all * MOVES_FROM;
    int64_t us = elapsed(w);
    double most = all * w->vcpus * COST_SHARE;
    double rate = us < from ? 0 :
        MIN(w->n_groups / (all * (MOVES_UNTIL - MOVES_FROM)),
            MOVES_PER_S / 1e6 / GROUP);

    w->due = MIN(w->due + (us - w->counted) * rate, MAX(CATCH_UP * rate, 1));
    w->counted = us;
    if (cost(w, us) > (double)us * w->vcpus * COST_MOST + COST_MOST_BESIDE) {
        w->ends = true;
    }
    for (; moves_out(w) && w->due >= 1 &&
         cost(w, us) <= most * (us - from) / (all - from); w->due--) {
        move_out_group(w, w->next++ * w->stride % w->n_groups);
        serve_faults(w);
    }
}

/*
 * Where the watch ends before its time, nothing is known of the pages that
 * were out, and writes to them are found by the dirty log again.
 */
static void move_all_back(SmemvWatch *w)
{
    while (w->back < w->map->pages) {
        uint64_t n = run_of(w, w->back,
                            MIN(w->back + BACK_PAGES, w->map->pages),
                            SMEMV_SEEN_WATCHED);

        if (n) {
            move_back(w, w->back, n);
        }
        for (uint64_t i = 0; w->ends && i < n; i++) {
            qatomic_set(&w->seen[w->back + i], SMEMV_SEEN_NOTHING);
        }
        w->back += MAX(n, 1);
        if (n) {
            serve_faults(w);
        }
    }
}

/* Who waits for a page of memory that was never touched goes on by this. */
static void unregister(SmemvWatch *w)
{
    for (unsigned i = 0; i < w->map->n_blocks; i++) {
        SmemvBlock *b = &w->map->blocks[i];

        if (uffd_unregister_memory(w->uffd, b->host,
                                   b->pages << SMEMV_PAGE_BITS)) {
            smemv_fatal("smemv: cannot take back guest RAM %s", b->name);
        }
    }
}

/*
 * Wait for a fault. A fault waits as long for this thread to run as this does
 * that has slept, where the host's processors are busy.
 */
static void wait_for_fault(SmemvWatch *w, struct pollfd *fds, unsigned n)
{
    int64_t before = g_get_monotonic_time();

    if (!poll(fds, n, moves_out(w) ? TICK_MS : -1)) {
        int64_t late = g_get_monotonic_time() - before - TICK_MS * 1000;

        w->delay += (late - w->delay) / 16;
    }
}

static void *watch_thread(void *opaque)
{
    SmemvWatch *w = opaque;
    struct pollfd fds[2] = {
        { .fd = w->uffd, .events = POLLIN },
        { .fd = w->stop_fd, .events = POLLIN },
    };

    /* It is to sleep no longer than it asks for, so that it knows its delay. */
    prctl(PR_SET_TIMERSLACK, 1);
    while (!w->ends && !(fds[1].revents & POLLIN)) {
        wait_for_fault(w, fds, ARRAY_SIZE(fds));
        serve_faults(w);
        move_out(w);
    }
    move_all_back(w);
    unregister(w);
    return NULL;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

/* Near the golden section: its multiples are strewn evenly over @n. */
static uint64_t stride_of(uint64_t n)
{
    uint64_t stride = MAX(n * 0.618, 1);

    while (common_divisor(stride, n) != 1) {
        stride++;
    }
    return stride;
}

static bool make_mirror(SmemvWatch *w, Error **errp)
{
    size_t size = map_size(w);

    w->mirror = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->mirror == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map %zu bytes", size);
        w->mirror = NULL;
        return false;
    }
    madvise(w->mirror, size, MADV_NOHUGEPAGE);
    madvise(w->mirror, size, MADV_DONTFORK);
    if (uffd_register_memory(w->uffd, w->mirror, size,
                             UFFDIO_REGISTER_MODE_MISSING, NULL)) {
        error_setg(errp, "cannot register memory with userfaultfd");
        return false;
    }
    return true;
}

static bool watch_prepare(SmemvWatch *w, Error **errp)
{
    if (!smemv_pager_supported(errp)) {
        return false;
    }
    w->stop_fd = eventfd(0, EFD_CLOEXEC);
    w->uffd = uffd_create_fd(UFFD_FEATURE_MOVE, true);
    if (w->stop_fd < 0 || w->uffd < 0) {
        error_setg(errp, "cannot open userfaultfd");
        return false;
    }
    return make_mirror(w, errp) &&
           smemv_pager_register_ram(w->map, w->uffd,
                                    UFFDIO_REGISTER_MODE_MISSING, errp);
}

SmemvWatch *smemv_watch_start(SmemvPageMap *map, uint8_t *seen, unsigned ms,
                              uint64_t wanted, Error **errp)
{
    SmemvWatch *w = g_new0(SmemvWatch, 1);
    CPUState *cpu;

    w->map = map;
    w->seen = seen;
    w->ms = ms;
    w->wanted = wanted;
    w->stop_fd = w->uffd = -1;
    w->n_groups = DIV_ROUND_UP(map->pages, GROUP);
    w->stride = stride_of(w->n_groups);
    w->out = g_new0(uint8_t, w->n_groups);
    CPU_FOREACH(cpu) {
        w->vcpus++;
    }
    if (!watch_prepare(w, errp)) {
        smemv_watch_free(w);
        return NULL;
    }
    w->start = g_get_monotonic_time();
    w->used_before = cpu_time(CLOCK_PROCESS_CPUTIME_ID);
    qemu_thread_create(&w->thread, "smemv-watch", watch_thread, w,
                       QEMU_THREAD_JOINABLE);
    return w;
}

void smemv_watch_end(SmemvWatch *w)
{
    uint64_t one = 1;

    if (write(w->stop_fd, &one, sizeof(one)) != sizeof(one)) {
        smemv_fatal("smemv: cannot end the watch of guest RAM");
    }
    qemu_thread_join(&w->thread);
    w->end = smemv_seen_after(elapsed(w), w->ms);
    trace_smemv_watch_end(w->moved, w->faults);
}

uint8_t smemv_watch_time(const SmemvWatch *w, uint64_t page)
{
    return w->end - w->out[page / GROUP];
}

uint64_t smemv_watch_pages(const SmemvWatch *w)
{
    return w->moved;
}

uint64_t smemv_watch_faults(const SmemvWatch *w)
{
    return w->faults;
}

void smemv_watch_free(SmemvWatch *w)
{
    if (w->uffd >= 0) {
        close(w->uffd);
    }
    if (w->stop_fd >= 0) {
        close(w->stop_fd);
    }
    if (w->mirror) {
        munmap(w->mirror, map_size(w));
    }
    g_free(w->out);
    g_free(w);
}
