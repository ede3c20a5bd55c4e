/*
 * Read-ahead: pages that a fault is likely to want soon.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "pull.h"
#include "readahead.h"

/* Streams that are followed at once. */
#define STREAMS 16

/* Pages between two faults of a stream, at the most. */
#define MAX_STRIDE 64

/* Faults at the same distance that make a stream. */
#define MATCHES 2

/* Pages fetched ahead of a new stream, and of one that goes on for long. */
#define FIRST_WINDOW 8
#define LEAST_WINDOW 2
#define MAX_WINDOW 256

/* Pages that nobody used, in a row, until less is fetched for new streams. */
#define UNUSED 32

/* Requests that wait; what is asked for beyond that is not fetched. */
#define REQUESTS 32

/*
 * While one copies in what has come, another's is on its way: a sequential read
 * over 10 Gbit/s is 1.3 times as fast with two as with one, and no faster with
 * three (native/bench/pager/run --only links).
 */
#define THREADS 2

typedef struct Stream {
    int64_t last;                /* the page that faulted last */
    int64_t stride;              /* pages from one fault to the next */
    unsigned matches;            /* faults in a row that had it */
    int64_t ahead;               /* steps asked for beyond @last */
    unsigned window;             /* pages to ask for next; 0: no stream yet */
    uint64_t used;               /* when, in faults */
} Stream;

/* @n pages, @stride apart, but for the one in the middle. */
typedef struct Request {
    int64_t page;
    int64_t stride;
    unsigned n;
} Request;

struct SmemvReadahead {
    SmemvPager *p;
    QemuThread threads[THREADS];
    bool started;

    /* Guarded by the pager's lock. */
    QemuCond asked;
    Stream streams[STREAMS];
    uint64_t faults;
    unsigned first_window;
    unsigned unused;             /* pages in a row that left so */
    unsigned long *fetched;      /* bitmap: fetched, and not passed yet */
    Request requests[REQUESTS];  /* ring */
    unsigned head, tail;
    unsigned busy;               /* threads that fetch */
};

static void ask(SmemvReadahead *r, int64_t page, int64_t stride, unsigned n)
{
    if (r->head - r->tail < REQUESTS) {
        r->requests[r->head++ % REQUESTS] = (Request) { page, stride, n };
        qemu_cond_signal(&r->asked);
    }
}

/* The stream has come to the page @steps further on. */
static void go_on(SmemvReadahead *r, Stream *s, int64_t steps)
{
    for (int64_t i = 1; i < steps; i++) {
        uint64_t page = s->last + i * s->stride;

        if (page < r->p->map->pages &&
            test_and_clear_bit(page, r->fetched)) {
            r->p->ahead_used++;
            r->unused = 0;
        }
    }
    s->last += steps * s->stride;
    s->ahead = MAX(s->ahead - steps, 0);
    if (s->ahead <= s->window / 2) {
        ask(r, s->last + (s->ahead + 1) * s->stride, s->stride, s->window);
        s->ahead += s->window;
        s->window = MIN(s->window * 2, MAX_WINDOW);
        if (r->first_window < FIRST_WINDOW && !r->unused) {
            r->first_window = FIRST_WINDOW;
        }
    }
}

/* Whether @page lies on the way of @s, or just behind what was asked for. */
static bool continues(const Stream *s, int64_t page, int64_t *steps)
{
    int64_t distance = page - s->last;

    if (!s->window || distance % s->stride) {
        return false;
    }
    *steps = distance / s->stride;
    return *steps > 0 && *steps <= s->ahead + 2;
}

void smemv_readahead_fault(SmemvReadahead *r, uint64_t page)
{
    Stream *near = NULL, *oldest = &r->streams[0];

    r->faults++;
    for (unsigned i = 0; i < STREAMS; i++) {
        Stream *s = &r->streams[i];
        int64_t distance = page - s->last, steps;

        if (s->used && continues(s, page, &steps)) {
            s->used = r->faults;
            go_on(r, s, steps);
            return;
        }
        if (s->used && !s->window && distance && !near &&
            ABS(distance) <= MAX_STRIDE) {
            near = s;
        }
        if (s->used < oldest->used) {
            oldest = s;
        }
    }
    if (!near) {
        *oldest = (Stream) { .last = page, .used = r->faults };
        return;
    }
    near->matches = near->stride == page - near->last ? near->matches + 1 : 1;
    near->stride = page - near->last;
    near->last = page;
    near->used = r->faults;
    if (near->matches >= MATCHES) {
        near->window = r->first_window;
        go_on(r, near, 0);
    }
}

void smemv_readahead_forget(SmemvReadahead *r, uint64_t page)
{
    if (test_and_clear_bit(page, r->fetched)) {
        r->p->ahead_unused++;
        if (++r->unused >= UNUSED) {
            r->unused = 0;
            r->first_window = MAX(r->first_window / 2, LEAST_WINDOW);
        }
    }
}

bool smemv_readahead_busy(const SmemvReadahead *r)
{
    return r->busy;
}

/* Whether @n pages may come in that nobody waits for. Wants the lock. */
static bool may_fetch(const SmemvPager *p, unsigned n)
{
    return p->may_evict && !p->keeps && !p->stop &&
           smemv_pager_held(p) + n <= smemv_pager_high(p->limit);
}

static bool on_a_peer(const SmemvPager *p, int64_t page)
{
    uint8_t place = p->map->place[page];

    return place >= SMEMV_REMOTE && place < SMEMV_REMOTE + SMEMV_MAX_PEERS;
}

/*
 * Fetch what of @q is on sub-hosts, in runs of neighbours. Wants the lock,
 * and gives it up meanwhile.
 */
static void fetch(SmemvReadahead *r, SmemvConn *conns, const Request *q,
                  uint8_t *data)
{
    SmemvPager *p = r->p;
    int64_t pages = p->map->pages;

    for (unsigned i = 0, n; i < q->n; i += n) {
        int64_t first = q->page + i * q->stride, end;
        unsigned most = i < q->n / 2 ? q->n / 2 - i : q->n - i;
        SmemvPair pair;

        n = 1;
        if (first < 0 || first >= pages) {
            break;
        }
        if (i == q->n / 2 || !on_a_peer(p, first)) {
            continue;
        }
        pair = smemv_page_map_get(p->map, first);
        most = MIN(most, SMEMV_PULL_PAGES);
        while (ABS(q->stride) == 1 && n < most) {
            end = first + n * q->stride;
            if (end < 0 || end >= pages ||
                !smemv_pair_equal(smemv_page_map_get(p->map, end), pair)) {
                break;
            }
            n++;
        }
        if (!may_fetch(p, n)) {
            break;
        }
        first = MIN(first, first + (n - 1) * q->stride);
        bitmap_set(r->fetched, first, n);
        p->ahead += n;
        smemv_pull_run(p, conns, first, n, data);
    }
}

static void *readahead_thread(void *opaque)
{
    SmemvReadahead *r = opaque;
    SmemvPager *p = r->p;
    g_autofree uint8_t *data = g_malloc(SMEMV_PULL_PAGES * SMEMV_PAGE_SIZE);
    g_autofree SmemvConn *conns = g_new(SmemvConn, SMEMV_MAX_PEERS);

    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_init(&conns[i], p->session, &p->session->peers[i]);
    }
    qemu_mutex_lock(&p->lock);
    while (!p->stop) {
        if (r->tail != r->head) {
            Request q = r->requests[r->tail++ % REQUESTS];

            r->busy++;
            fetch(r, conns, &q, data);
            r->busy--;
            qemu_cond_broadcast(&p->quiet);
        } else {
            qemu_cond_wait(&r->asked, &p->lock);
        }
    }
    qemu_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < SMEMV_MAX_PEERS; i++) {
        smemv_conn_close(&conns[i]);
    }
    return NULL;
}

SmemvReadahead *smemv_readahead_new(SmemvPager *p)
{
    SmemvReadahead *r = g_new0(SmemvReadahead, 1);

    r->p = p;
    r->first_window = FIRST_WINDOW;
    r->fetched = bitmap_new(p->map->pages);
    qemu_cond_init(&r->asked);
    return r;
}

void smemv_readahead_start(SmemvReadahead *r)
{
    r->started = true;
    for (unsigned i = 0; i < THREADS; i++) {
        qemu_thread_create(&r->threads[i], "smemv-ahead", readahead_thread, r,
                           QEMU_THREAD_JOINABLE);
    }
}

void smemv_readahead_wake(SmemvReadahead *r)
{
    qemu_cond_broadcast(&r->asked);
}

void smemv_readahead_join(SmemvReadahead *r)
{
    for (unsigned i = 0; r->started && i < THREADS; i++) {
        qemu_thread_join(&r->threads[i]);
    }
}

void smemv_readahead_free(SmemvReadahead *r)
{
    qemu_cond_destroy(&r->asked);
    g_free(r->fetched);
    g_free(r);
}
