/*
 * Both ends of a TLS session, in one thread over a socket pair.
 *
 *   tls_test FOLDER HOST
 *
 * where the folder's certificate is for HOST, and its file "peers" knows it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "check.h"
#include "tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BULK ((size_t)3 << 20)

struct pair {
    int fds[2];
    struct tls_session *server, *client;
    enum tls_progress server_is, client_is;
};

static void begin(struct pair *pair, struct tls *tls, const char *host)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                     pair->fds) == 0);
    pair->server = tls_accept(tls, pair->fds[0]);
    pair->client = tls_connect(tls, pair->fds[1], host);
    CHECK(pair->server && pair->client);
    pair->server_is = pair->client_is = TLS_WANTS_READ;
}

static void end(struct pair *pair)
{
    tls_free(pair->server);
    tls_free(pair->client);
    close(pair->fds[0]);
    close(pair->fds[1]);
}

static void step(struct tls_session *session, enum tls_progress *progress)
{
    if (*progress == TLS_WANTS_READ || *progress == TLS_WANTS_WRITE) {
        *progress = tls_handshake(session);
    }
}

/* In turns, until neither gets on. */
static void shake_hands(struct pair *pair)
{
    for (int turn = 0; turn < 10; turn++) {
        step(pair->client, &pair->client_is);
        step(pair->server, &pair->server_is);
    }
}

/* More than the socket takes, so that records are cut off and gone on with. */
static void check_bulk(struct tls_session *from, struct tls_session *to)
{
    uint8_t *data = malloc(BULK);
    uint8_t *copy = calloc(1, BULK);
    uint64_t seed = 7;
    size_t sent = 0, received = 0;
    unsigned refused = 0;

    for (size_t i = 0; i < BULK; i++) {
        data[i] = (uint8_t)random_next(&seed);
    }
    while (received < BULK) {
        ssize_t n = sent < BULK ? tls_send(from, data + sent, BULK - sent) : 0;

        CHECK(n >= 0 || errno == EAGAIN);
        refused += n < 0;
        sent += n > 0 ? (size_t)n : 0;
        n = tls_receive(to, copy + received,
                        BULK - received < 5000 ? BULK - received : 5000);
        CHECK(n > 0 || errno == EAGAIN);
        received += n > 0 ? (size_t)n : 0;
    }
    CHECK(refused > 0);
    CHECK(memcmp(data, copy, BULK) == 0);
    CHECK(tls_receive(to, copy, 1) == -1 && errno == EAGAIN);
    CHECK(!tls_has_more(to));
    free(data);
    free(copy);
}

static void check_known(struct tls *tls, const char *host)
{
    struct pair pair;
    char bytes[4];

    begin(&pair, tls, host);
    shake_hands(&pair);
    CHECK(pair.client_is == TLS_DONE && pair.server_is == TLS_DONE);
    /* Who is there goes on while the identity changes. */
    CHECK(tls_reload(tls));
    check_bulk(pair.client, pair.server);
    check_bulk(pair.server, pair.client);
    CHECK(tls_send(pair.client, "four", 4) == 4);
    CHECK(tls_receive(pair.server, bytes, 1) == 1 && bytes[0] == 'f');
    CHECK(tls_has_more(pair.server));
    CHECK(tls_receive(pair.server, bytes, 4) == 3);
    tls_finish(pair.client);
    CHECK(tls_receive(pair.server, bytes, 4) == 0);
    CHECK(!tls_error(pair.server) && !tls_error(pair.client));
    end(&pair);
}

static void check_another_host(struct tls *tls)
{
    struct pair pair;

    begin(&pair, tls, "another.example");
    shake_hands(&pair);
    CHECK(pair.client_is == TLS_FAILED);
    CHECK(strstr(tls_error(pair.client), "for another host"));
    CHECK(pair.server_is == TLS_FAILED && tls_error(pair.server));
    end(&pair);
}

static void check_end_without_a_word(struct tls *tls, const char *host)
{
    struct pair pair;
    char byte;

    begin(&pair, tls, host);
    shake_hands(&pair);
    shutdown(pair.fds[1], SHUT_WR);
    for (int i = 0; i < 2; i++) {
        CHECK(tls_receive(pair.server, &byte, 1) == -1 && errno == ECONNRESET);
    }
    CHECK(!tls_error(pair.server));
    end(&pair);
}

int main(int argc, char **argv)
{
    char peers[4096];
    struct tls tls;

    CHECK(argc == 3);
    snprintf(peers, sizeof(peers), "%s/peers", argv[1]);
    CHECK(tls_init(&tls, argv[1], peers));
    check_known(&tls, argv[2]);
    check_another_host(&tls);
    check_end_without_a_word(&tls, argv[2]);
    tls_destroy(&tls);
    return 0;
}
