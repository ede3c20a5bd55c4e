/*
 * Measures a memserver beside what it cannot beat: a bare TCP ping-pong of
 * the same sizes, for the time of one GET, and memory copied through a bare
 * TCP connection, for throughput.
 *
 *   memserver_bench ADDRESS PORT SECONDS [FOLDER]
 *
 * with TLS to the memserver, and to it alone, if there is a FOLDER with
 * certificates and known hosts. It prints JSON: latencies in microseconds,
 * throughput in bytes a second. Takes a session of PAGES pages for the time
 * being. The two of a pair are measured in turns, so that a busy machine is so
 * for both.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "../../memserver/tls.h"
#include "../../wire/smemv-wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGES 16384
#define GET_ANSWER \
    (SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_ENTRY_SIZE + SMEMV_WIRE_PAGE_SIZE)
#define MAX_FRAME (SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_MAX_PAYLOAD)
#define MAX_SAMPLES (1 << 20)
#define TURNS 10
#define DEPTH 16 /* requests of 256 pages outstanding in a pipeline */
#define MAX_DESCRIPTORS 64

static struct sockaddr_in memserver;
static struct tls tls;
static struct tls_session *tls_of[MAX_DESCRIPTORS]; /* by descriptor */
static struct smemv_wire_open session = { .reserve = PAGES, .name = "bench" };

__attribute__((noreturn))
static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void send_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = tls_of[fd] ? tls_send(tls_of[fd], data, size)
                               : send(fd, data, size, MSG_NOSIGNAL);

        if (n <= 0) {
            fail("send");
        }
        data += n;
        size -= (size_t)n;
    }
}

/* False at the end of the connection. */
static bool receive_all(int fd, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = tls_of[fd] ? tls_receive(tls_of[fd], data, size)
                               : recv(fd, data, size, 0);

        if (n < 0) {
            fail("recv");
        }
        if (n == 0) {
            return false;
        }
        data += n;
        size -= (size_t)n;
    }
    return true;
}

static int connect_to(const struct sockaddr_in *address)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)address,
                          sizeof(*address))) {
        fail("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* Reads a response into @payload and insists on OK. */
static void expect_ok(int fd, uint8_t *payload)
{
    uint8_t header[SMEMV_WIRE_HEADER_SIZE];
    struct smemv_wire_response r;
    const char *wrong;

    if (!receive_all(fd, header, sizeof(header))) {
        fail("the memserver closed the connection");
    }
    wrong = smemv_wire_get_response(header, &r);
    if (wrong || r.status != SMEMV_WIRE_OK) {
        fprintf(stderr, "memserver: %s: %s\n",
                smemv_wire_opcode_name(r.opcode),
                wrong ? wrong : smemv_wire_status_name(r.status));
        exit(1);
    }
    receive_all(fd, payload, r.length);
}

static void request(uint8_t *frame, unsigned opcode, unsigned count,
                    uint64_t page)
{
    const struct smemv_wire_request r = { .opcode = (uint8_t)opcode,
                                          .count = (uint16_t)count,
                                          .address = page << 12 };

    smemv_wire_put_request(frame, &r);
}

/* On a blocking socket all of it is one step. */
static void shake_hands(int fd, const char *host)
{
    if (fd >= MAX_DESCRIPTORS) {
        fail("too many descriptors");
    }
    tls_of[fd] = tls_connect(&tls, fd, host);
    if (!tls_of[fd] || tls_handshake(tls_of[fd]) != TLS_DONE) {
        fprintf(stderr, "TLS: %s\n",
                tls_of[fd] ? tls_error(tls_of[fd]) : "no memory");
        exit(1);
    }
}

/* A connection that is attached to the session, which is opened if need be. */
static int attach(const char *host)
{
    const struct smemv_wire_hello hello = { 1, 1, 0 };
    struct smemv_wire_attach a = { .epoch = 1 };
    uint8_t frame[256];
    uint8_t *payload = frame + SMEMV_WIRE_HEADER_SIZE;
    int fd = connect_to(&memserver);

    if (tls.folder) {
        shake_hands(fd, host);
    }
    memcpy(a.id, session.id, sizeof(a.id));
    request(frame, SMEMV_WIRE_HELLO, 0, 0);
    smemv_wire_put_hello(payload, &hello);
    send_all(fd, frame, SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_HELLO_SIZE);
    expect_ok(fd, payload);
    request(frame, SMEMV_WIRE_OPEN, 0, 0);
    smemv_wire_put_open(payload, &session);
    send_all(fd, frame, SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_OPEN_SIZE);
    expect_ok(fd, payload);
    request(frame, SMEMV_WIRE_ATTACH, 0, 0);
    smemv_wire_put_attach(payload, &a);
    send_all(fd, frame, SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_ATTACH_SIZE);
    expect_ok(fd, payload);
    return fd;
}

static void close_session(int fd)
{
    struct smemv_wire_close c = { .id = { 0 } };
    uint8_t frame[SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_CLOSE_SIZE];

    memcpy(c.id, session.id, sizeof(c.id));
    request(frame, SMEMV_WIRE_CLOSE, 0, 0);
    smemv_wire_put_close(frame + SMEMV_WIRE_HEADER_SIZE, &c);
    send_all(fd, frame, sizeof(frame));
    expect_ok(fd, frame);
    close(fd);
}

/* The other end of the bare connections: for 16 bytes a GET's answer. */
static void *answer_pings(void *argument)
{
    static uint8_t answer[GET_ANSWER];
    uint8_t ping[SMEMV_WIRE_HEADER_SIZE];
    int fd = *(int *)argument;

    while (receive_all(fd, ping, sizeof(ping))) {
        send_all(fd, answer, sizeof(answer));
    }
    return NULL;
}

/* The other end of a bare stream: reads, and says when all is there. */
static void *swallow(void *argument)
{
    static uint8_t waste[MAX_FRAME];
    int fd = *(int *)argument;

    while (receive_all(fd, waste, MAX_FRAME)) {
        send_all(fd, waste, SMEMV_WIRE_HEADER_SIZE);
    }
    return NULL;
}

/* Two ends of a TCP connection on this machine. */
static void bare_connection(int *here, int *there)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    const int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
        listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&address, &size)) {
        fail("listen");
    }
    *here = connect_to(&address);
    *there = accept(listener, NULL, NULL);
    if (*there < 0) {
        fail("accept");
    }
    setsockopt(*there, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    close(listener);
}

struct samples {
    unsigned count;
    float *microseconds;
};

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;

    return (x > y) - (x < y);
}

static double percentile(struct samples *samples, double part)
{
    qsort(samples->microseconds, samples->count, sizeof(float), compare);
    return samples->microseconds[(size_t)(part * (samples->count - 1))];
}

/* One request outstanding, for a time. */
static void ping(int fd, double time, struct samples *samples)
{
    static uint8_t answer[GET_ANSWER];
    uint8_t frame[SMEMV_WIRE_HEADER_SIZE];
    double end = seconds() + time;
    uint64_t page = 0;
    double start, now = seconds();

    while (now < end && samples->count < MAX_SAMPLES) {
        page = (page * 1103515245 + 12345) % PAGES;
        request(frame, SMEMV_WIRE_GET, 1, page);
        start = seconds();
        send_all(fd, frame, sizeof(frame));
        receive_all(fd, answer, sizeof(answer));
        now = seconds();
        samples->microseconds[samples->count++] = (float)((now - start) * 1e6);
    }
}

/* A pipeline of requests of 256 pages, over pages of its own. */
struct stream {
    pthread_t reader, writer;
    int fd;
    unsigned opcode; /* PUT or GET, or 0: a bare connection */
    uint64_t first_page;
    double end;
    unsigned answers; /* to requests that were sent */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned outstanding;
    bool sent_all;
};

static void *read_answers(void *argument)
{
    struct stream *s = argument;
    uint8_t *payload = malloc(MAX_FRAME);

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->outstanding && !s->sent_all) {
            pthread_cond_wait(&s->moved, &s->lock);
        }
        if (!s->outstanding) {
            break;
        }
        pthread_mutex_unlock(&s->lock);
        if (s->opcode) {
            expect_ok(s->fd, payload);
        } else {
            receive_all(s->fd, payload, SMEMV_WIRE_HEADER_SIZE);
        }
        pthread_mutex_lock(&s->lock);
        s->outstanding--;
        s->answers++;
        pthread_cond_signal(&s->moved);
    }
    pthread_mutex_unlock(&s->lock);
    free(payload);
    return NULL;
}

/* A PUT of as many zero pages as there may be, but for its header. */
static uint8_t *new_put(void)
{
    uint8_t *frame = calloc(1, MAX_FRAME);
    const struct smemv_wire_entry entry = {
        SMEMV_WIRE_ENTRY_PRESENT,
        smemv_wire_crc32c(frame, SMEMV_WIRE_PAGE_SIZE)
    };

    for (unsigned i = 0; i < SMEMV_WIRE_MAX_PAGES; i++) {
        smemv_wire_put_entry(frame + SMEMV_WIRE_HEADER_SIZE +
                             i * SMEMV_WIRE_ENTRY_SIZE, &entry);
    }
    return frame;
}

/* Puts every page there: a GET's answer has its full length from now on. */
static void fill(int fd)
{
    uint8_t *frame = new_put();

    for (uint64_t page = 0; page < PAGES; page += SMEMV_WIRE_MAX_PAGES) {
        request(frame, SMEMV_WIRE_PUT, SMEMV_WIRE_MAX_PAGES, page);
        send_all(fd, frame, MAX_FRAME);
        expect_ok(fd, frame);
    }
    free(frame);
}

static void *write_requests(void *argument)
{
    struct stream *s = argument;
    size_t size = s->opcode == SMEMV_WIRE_GET ? SMEMV_WIRE_HEADER_SIZE
                                              : MAX_FRAME;
    uint8_t *frame = new_put();

    for (unsigned i = 0; seconds() < s->end; i++) {
        request(frame, s->opcode, SMEMV_WIRE_MAX_PAGES,
                s->first_page + i % 16 * SMEMV_WIRE_MAX_PAGES);
        pthread_mutex_lock(&s->lock);
        while (s->outstanding == DEPTH) {
            pthread_cond_wait(&s->moved, &s->lock);
        }
        s->outstanding++;
        pthread_cond_signal(&s->moved);
        pthread_mutex_unlock(&s->lock);
        send_all(s->fd, frame, size);
    }
    pthread_mutex_lock(&s->lock);
    s->sent_all = true;
    pthread_cond_signal(&s->moved);
    pthread_mutex_unlock(&s->lock);
    free(frame);
    return NULL;
}

/* Bytes of pages a second over @count connections. */
static double throughput(const int *fds, unsigned count, unsigned opcode,
                         double time)
{
    struct stream streams[4];
    double start = seconds();
    double pages = 0;

    for (unsigned i = 0; i < count; i++) {
        streams[i] = (struct stream){ .fd = fds[i], .opcode = opcode,
                                      .first_page = i * PAGES / 4,
                                      .end = start + time,
                                      .lock = PTHREAD_MUTEX_INITIALIZER,
                                      .moved = PTHREAD_COND_INITIALIZER };
        pthread_create(&streams[i].reader, NULL, read_answers, &streams[i]);
        pthread_create(&streams[i].writer, NULL, write_requests, &streams[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(streams[i].writer, NULL);
        pthread_join(streams[i].reader, NULL);
        pages += (double)streams[i].answers * SMEMV_WIRE_MAX_PAGES;
    }
    return pages * SMEMV_WIRE_PAGE_SIZE / (seconds() - start);
}

static double median(double *values)
{
    for (int i = 1; i < TURNS; i++) {
        for (int j = i; j > 0 && values[j - 1] > values[j]; j--) {
            double larger = values[j - 1];

            values[j - 1] = values[j];
            values[j] = larger;
        }
    }
    return values[TURNS / 2];
}

/* Bulk traffic beside what is measured, on all connections but the first. */
struct bulk {
    const int *fds;
    double time;
};

static void *bulk_put(void *argument)
{
    struct bulk *bulk = argument;

    throughput(bulk->fds + 1, 3, SMEMV_WIRE_PUT, bulk->time);
    return NULL;
}

/* One GET outstanding, beside bulk traffic if @busy. */
static void bench_latency(const int *fds, bool busy, double time)
{
    struct bulk bulk = { fds, time / TURNS };
    struct samples get = { .microseconds = malloc(MAX_SAMPLES * sizeof(float)) };
    struct samples bare = { .microseconds = malloc(MAX_SAMPLES * sizeof(float)) };
    pthread_t other;
    int here, there;

    bare_connection(&here, &there);
    pthread_create(&other, NULL, answer_pings, &there);
    for (int turn = 0; turn < TURNS; turn++) {
        pthread_t beside;

        if (busy) {
            pthread_create(&beside, NULL, bulk_put, &bulk);
        }
        ping(fds[0], time / TURNS / 2, &get);
        ping(here, time / TURNS / 2, &bare);
        if (busy) {
            pthread_join(beside, NULL);
        }
    }
    shutdown(here, SHUT_WR);
    pthread_join(other, NULL);
    printf("\"%s\": {\"get_us\": {\"p50\": %.2f, \"p99\": %.2f}, "
           "\"ping_pong_us\": {\"p50\": %.2f, \"p99\": %.2f}},\n ",
           busy ? "busy" : "idle",
           percentile(&get, 0.5), percentile(&get, 0.99),
           percentile(&bare, 0.5), percentile(&bare, 0.99));
    close(here);
    close(there);
    free(get.microseconds);
    free(bare.microseconds);
}

static void bench_throughput(const int *fds, unsigned count, double time)
{
    double put[TURNS], get[TURNS], bare[TURNS];
    int here[4], there[4];
    pthread_t others[4];

    for (unsigned i = 0; i < count; i++) {
        bare_connection(&here[i], &there[i]);
        pthread_create(&others[i], NULL, swallow, &there[i]);
    }
    for (int turn = 0; turn < TURNS; turn++) {
        put[turn] = throughput(fds, count, SMEMV_WIRE_PUT, time / TURNS / 3);
        get[turn] = throughput(fds, count, SMEMV_WIRE_GET, time / TURNS / 3);
        bare[turn] = throughput(here, count, 0, time / TURNS / 3);
    }
    for (unsigned i = 0; i < count; i++) {
        shutdown(here[i], SHUT_WR);
        pthread_join(others[i], NULL);
        close(here[i]);
        close(there[i]);
    }
    printf("\"connections_%u\": {\"put_bytes_per_s\": %.0f, "
           "\"get_bytes_per_s\": %.0f, \"bare_bytes_per_s\": %.0f}%s",
           count, median(put), median(get), median(bare),
           count == 4 ? "}\n" : ",\n ");
}

int main(int argc, char **argv)
{
    int fds[4];
    double time;

    memserver.sin_family = AF_INET;
    if (argc < 4 || argc > 5 || inet_pton(AF_INET, argv[1], &memserver.sin_addr) != 1) {
        fprintf(stderr, "usage: memserver_bench ADDRESS PORT SECONDS "
                "[FOLDER]\n");
        return 2;
    }
    memserver.sin_port = htons((uint16_t)atoi(argv[2]));
    time = atof(argv[3]) / 4;
    if (argc == 5) {
        char peers[4096];

        snprintf(peers, sizeof(peers), "%s/peers", argv[4]);
        if (!tls_init(&tls, argv[4], peers)) {
            return 1;
        }
    }
    if (getrandom(session.id, sizeof(session.id), 0) < 0) {
        fail("getrandom");
    }
    for (int i = 0; i < 4; i++) {
        fds[i] = attach(argv[1]);
    }
    fill(fds[0]);
    printf("{");
    bench_latency(fds, false, time);
    bench_latency(fds, true, time);
    bench_throughput(fds, 1, time);
    bench_throughput(fds, 4, time);
    close_session(fds[0]);
    return 0;
}
