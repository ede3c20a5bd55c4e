/*
 * Measures a memserver, memcached or redis (valkey) in the same way: values of
 * 4 KiB by a key that is a number, one page a request.
 *
 *   kv_bench memserver|memcached|redis ADDRESS PORT PID SECONDS
 *
 * prints JSON: microseconds of a GET with one outstanding, and on one and four
 * connections with a pipeline the values a second, and the values for each
 * second that the server's process had of a processor.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "../../wire/smemv-wire.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEYS 8192
#define VALUE SMEMV_WIRE_PAGE_SIZE
#define CONNECTIONS 4
#define BATCH 32 /* requests in one write; two such are outstanding */
#define MAX_MESSAGE (VALUE + 256)
#define MAX_SAMPLES (1 << 20)

/* A protocol in which every request, and every answer, has one length. */
struct protocol {
    const char *name;
    size_t (*put)(uint8_t *message, unsigned key);
    size_t (*get)(uint8_t *message, unsigned key);
    size_t put_answer, get_answer;
    /* How an answer begins if all is well. */
    const char *put_begins, *get_begins;
    void (*greet)(int fd);
};

static struct sockaddr_in address;
static const struct protocol *protocol;
static uint8_t value[VALUE];
static uint32_t value_crc;

__attribute__((noreturn))
static void fail(const char *what)
{
    fprintf(stderr, "%s: ", protocol->name);
    perror(what);
    exit(1);
}

static void send_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

        if (n <= 0) {
            fail("send");
        }
        data += n;
        size -= (size_t)n;
    }
}

static void receive_all(int fd, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = recv(fd, data, size, 0);

        if (n <= 0) {
            fail("recv");
        }
        data += n;
        size -= (size_t)n;
    }
}

static size_t memserver_request(uint8_t *message, unsigned opcode,
                                unsigned count, unsigned key)
{
    const struct smemv_wire_request r = {
        .opcode = (uint8_t)opcode,
        .count = (uint16_t)count,
        .address = (uint64_t)key << SMEMV_WIRE_PAGE_BITS,
    };

    smemv_wire_put_request(message, &r);
    return SMEMV_WIRE_HEADER_SIZE;
}

static size_t memserver_put(uint8_t *message, unsigned key)
{
    const struct smemv_wire_entry entry = { SMEMV_WIRE_ENTRY_PRESENT,
                                            value_crc };
    size_t size = memserver_request(message, SMEMV_WIRE_PUT, 1, key);

    smemv_wire_put_entry(message + size, &entry);
    memcpy(message + size + SMEMV_WIRE_ENTRY_SIZE, value, VALUE);
    return size + SMEMV_WIRE_ENTRY_SIZE + VALUE;
}

static size_t memserver_get(uint8_t *message, unsigned key)
{
    return memserver_request(message, SMEMV_WIRE_GET, 1, key);
}

/* One that is answered with OK before there is anything to measure. */
static void memserver_call(int fd, unsigned opcode, const uint8_t *payload,
                           size_t size, size_t answer_size)
{
    uint8_t message[512];
    size_t header = memserver_request(message, opcode, 0, 0);

    memcpy(message + header, payload, size);
    send_all(fd, message, header + size);
    receive_all(fd, message, SMEMV_WIRE_HEADER_SIZE + answer_size);
    if (message[2] != SMEMV_WIRE_OK) {
        fail(smemv_wire_opcode_name(opcode));
    }
}

static void memserver_greet(int fd)
{
    const struct smemv_wire_hello hello = { 1, 1, 0 };
    const struct smemv_wire_open open = { .reserve = KEYS, .name = "bench" };
    const struct smemv_wire_attach attach = { .epoch = 0 };
    uint8_t payload[SMEMV_WIRE_OPEN_SIZE];

    smemv_wire_put_hello(payload, &hello);
    memserver_call(fd, SMEMV_WIRE_HELLO, payload, SMEMV_WIRE_HELLO_SIZE,
                   SMEMV_WIRE_HELLO_SIZE);
    smemv_wire_put_open(payload, &open);
    memserver_call(fd, SMEMV_WIRE_OPEN, payload, SMEMV_WIRE_OPEN_SIZE, 8);
    smemv_wire_put_attach(payload, &attach);
    memserver_call(fd, SMEMV_WIRE_ATTACH, payload, SMEMV_WIRE_ATTACH_SIZE, 8);
}

static size_t with_value(uint8_t *message, int header)
{
    memcpy(message + header, value, VALUE);
    memcpy(message + header + VALUE, "\r\n", 2);
    return (size_t)header + VALUE + 2;
}

static size_t memcached_put(uint8_t *message, unsigned key)
{
    return with_value(message, sprintf((char *)message,
                                       "set k%08u 0 0 %d\r\n", key, VALUE));
}

static size_t memcached_get(uint8_t *message, unsigned key)
{
    return (size_t)sprintf((char *)message, "get k%08u\r\n", key);
}

static size_t redis_put(uint8_t *message, unsigned key)
{
    return with_value(message,
                      sprintf((char *)message,
                              "*3\r\n$3\r\nSET\r\n$9\r\nk%08u\r\n$%d\r\n", key,
                              VALUE));
}

static size_t redis_get(uint8_t *message, unsigned key)
{
    return (size_t)sprintf((char *)message,
                           "*2\r\n$3\r\nGET\r\n$9\r\nk%08u\r\n", key);
}

static void no_greeting(int fd)
{
    (void)fd;
}

#define LENGTH(text) (sizeof(text) - 1)

static const struct protocol protocols[] = {
    { "memserver", memserver_put, memserver_get, SMEMV_WIRE_HEADER_SIZE,
      SMEMV_WIRE_HEADER_SIZE + SMEMV_WIRE_ENTRY_SIZE + VALUE, "s\x04", "s\x05",
      memserver_greet },
    { "memcached", memcached_put, memcached_get, LENGTH("STORED\r\n"),
      LENGTH("VALUE k00000000 0 4096\r\n") + VALUE + LENGTH("\r\nEND\r\n"),
      "STORED", "VALUE", no_greeting },
    { "redis", redis_put, redis_get, LENGTH("+OK\r\n"),
      LENGTH("$4096\r\n") + VALUE + LENGTH("\r\n"), "+OK", "$4096",
      no_greeting },
};

static int connect_to_server(void)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        fail("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    protocol->greet(fd);
    return fd;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Seconds that a process has had of processors so far. */
static double processor_time(int pid)
{
    unsigned long user, system;
    char path[64], line[1024];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "r");
    if (!file || !fgets(line, sizeof(line), file) ||
        sscanf(strrchr(line, ')'),
               ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2) {
        fail(path);
    }
    fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* A connection with a pipeline, over keys of its own. */
struct stream {
    pthread_t thread;
    int fd;
    bool put;
    unsigned first_key;
    double end;
    double values;
};

static size_t fill_batch(const struct stream *s, uint8_t *batch, unsigned key)
{
    size_t size = 0;

    for (unsigned i = 0; i < BATCH; i++) {
        size += (s->put ? protocol->put : protocol->get)(
            batch + size, s->first_key + (key + i) % (KEYS / CONNECTIONS));
    }
    return size;
}

static void take_answers(const struct stream *s, uint8_t *answers)
{
    size_t each = s->put ? protocol->put_answer : protocol->get_answer;
    const char *begins = s->put ? protocol->put_begins : protocol->get_begins;

    receive_all(s->fd, answers, BATCH * each);
    for (unsigned i = 0; i < BATCH; i++) {
        if (memcmp(answers + i * each, begins, strlen(begins)) != 0) {
            fail("a wrong answer");
        }
    }
}

static void *run_stream(void *argument)
{
    struct stream *s = argument;
    uint8_t *batch = malloc(BATCH * MAX_MESSAGE);
    uint8_t *answers = malloc(BATCH * MAX_MESSAGE);
    unsigned key = 0;

    send_all(s->fd, batch, fill_batch(s, batch, key));
    while (seconds() < s->end) {
        key += BATCH;
        send_all(s->fd, batch, fill_batch(s, batch, key));
        take_answers(s, answers);
        s->values += BATCH;
    }
    take_answers(s, answers);
    s->values += BATCH;
    free(batch);
    free(answers);
    return NULL;
}

static void bench_throughput(int *fds, unsigned count, bool put, int pid,
                             double time)
{
    struct stream streams[CONNECTIONS];
    double processor = processor_time(pid);
    double start = seconds();
    double values = 0;

    for (unsigned i = 0; i < count; i++) {
        streams[i] = (struct stream){ .fd = fds[i], .put = put,
                                      .first_key = i * (KEYS / CONNECTIONS),
                                      .end = start + time };
        pthread_create(&streams[i].thread, NULL, run_stream, &streams[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(streams[i].thread, NULL);
        values += streams[i].values;
    }
    processor = processor_time(pid) - processor;
    printf("\"%s_%u\": {\"per_s\": %.0f, \"per_processor_s\": %.0f}, ",
           put ? "put" : "get", count, values / (seconds() - start),
           values / processor);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;

    return (x > y) - (x < y);
}

static void bench_latency(int fd, double time)
{
    float *samples = malloc(MAX_SAMPLES * sizeof(*samples));
    uint8_t message[MAX_MESSAGE];
    double end = seconds() + time;
    unsigned count = 0;
    unsigned key = 0;
    double start;

    while (seconds() < end && count < MAX_SAMPLES) {
        key = (key * 1103515245 + 12345) % KEYS;
        start = seconds();
        send_all(fd, message, protocol->get(message, key));
        receive_all(fd, message, protocol->get_answer);
        samples[count++] = (float)((seconds() - start) * 1e6);
    }
    qsort(samples, count, sizeof(*samples), compare);
    printf("\"get_us\": {\"p50\": %.2f, \"p99\": %.2f}", samples[count / 2],
           samples[count / 100 * 99]);
    free(samples);
}

int main(int argc, char **argv)
{
    int fds[CONNECTIONS];
    double time;
    int pid;

    for (size_t i = 0; i < sizeof(protocols) / sizeof(*protocols); i++) {
        if (argc == 6 && strcmp(argv[1], protocols[i].name) == 0) {
            protocol = &protocols[i];
        }
    }
    if (!protocol || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
        fprintf(stderr, "usage: kv_bench memserver|memcached|redis ADDRESS "
                "PORT PID SECONDS\n");
        return 2;
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[3]));
    pid = atoi(argv[4]);
    time = atof(argv[5]) / 5;
    memset(value, 'v', sizeof(value));
    value_crc = smemv_wire_crc32c(value, sizeof(value));
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = connect_to_server();
    }
    printf("{");
    bench_throughput(fds, 4, true, pid, time);
    bench_throughput(fds, 4, false, pid, time);
    bench_throughput(fds, 1, true, pid, time);
    bench_throughput(fds, 1, false, pid, time);
    bench_latency(fds[0], time);
    printf("}\n");
    return 0;
}
