/*
 * The command line.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "options.h"

#include "../wire/smemv-wire.h"
#include "version.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_WORKERS 64

/*
 * More threads than processors, on a small host: the kernel then lets a page
 * fault's GET go before the bulk transfers of another worker.
 */
#define LEAST_WORKERS 4

static const char help[] =
    "Usage: smemv-memserver --capacity BYTES [OPTION]...\n"
    "Holds pages of virtual machines' memory for their main hosts.\n"
    "\n"
    "  --listen ADDRESS:PORT   serve TCP there (repeatable)\n"
    "  --tls FOLDER            with TLS 1.3 and the certificates in FOLDER, which\n"
    "                          are read again on SIGHUP: ca-cert.pem, {server,\n"
    "                          client}-{cert,key}.pem and perhaps ca-crl.pem\n"
    "  --peers FILE            the hosts that may connect then: names or addresses\n"
    "                          in their certificates, one a line\n"
    "  --plain                 without TLS also where it is not loopback\n"
    "  --control PATH          serve a local socket there, for root only\n"
    "  --metrics ADDRESS:PORT or PATH  serve metrics there over HTTP, on loopback\n"
    "                          or a local socket for root only\n"
    "  --capacity BYTES        memory that sessions may reserve in all\n"
    "  --workers N             threads that serve (default: one a processor,\n"
    "                          at least 4)\n"
    "  --max-sessions N        (default 256)\n"
    "  --max-connections N     in all (default 16384)\n"
    "  --max-connections-per-peer N  from one address (default 4096)\n"
    "  --help, --version\n"
    "\n"
    "Sockets handed over by systemd are served too.\n";

__attribute__((noreturn))
static void refuse(const char *option, const char *value)
{
    fprintf(stderr, "smemv-memserver: --%s: \"%s\" is not a number it may be\n",
            option, value);
    exit(2);
}

static uint64_t number(const char *option, const char *value, uint64_t least,
                       uint64_t most)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(value, &end, 10);
    if (errno || *end || value[0] < '0' || value[0] > '9' || n < least ||
        n > most) {
        refuse(option, value);
    }
    return n;
}

static unsigned default_workers(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < LEAST_WORKERS ? LEAST_WORKERS
                             : n > MAX_WORKERS ? MAX_WORKERS : (unsigned)n;
}

void options_parse(struct options *options, int argc, char **argv)
{
    enum { LISTEN, TLS, PEERS, PLAIN, CONTROL, METRICS, CAPACITY, WORKERS, SESSIONS, CONNECTIONS, PER_PEER,
           HELP, VERSION };
    static const struct option names[] = {
        [LISTEN] = { "listen", required_argument, NULL, LISTEN },
        [TLS] = { "tls", required_argument, NULL, TLS },
        [PEERS] = { "peers", required_argument, NULL, PEERS },
        [PLAIN] = { "plain", no_argument, NULL, PLAIN },
        [CONTROL] = { "control", required_argument, NULL, CONTROL },
        [METRICS] = { "metrics", required_argument, NULL, METRICS },
        [CAPACITY] = { "capacity", required_argument, NULL, CAPACITY },
        [WORKERS] = { "workers", required_argument, NULL, WORKERS },
        [SESSIONS] = { "max-sessions", required_argument, NULL, SESSIONS },
        [CONNECTIONS] = { "max-connections", required_argument, NULL,
                          CONNECTIONS },
        [PER_PEER] = { "max-connections-per-peer", required_argument, NULL,
                       PER_PEER },
        [HELP] = { "help", no_argument, NULL, HELP },
        [VERSION] = { "version", no_argument, NULL, VERSION },
        { 0 },
    };
    int option;

    *options = (struct options){ .workers = default_workers(),
                                 .max_sessions = 256,
                                 .max_connections = 16384,
                                 .max_connections_per_peer = 4096 };
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case LISTEN:
            if (options->listen_count == LISTEN_MAX) {
                refuse("listen", optarg);
            }
            options->listen[options->listen_count++] = optarg;
            break;
        case TLS:
            options->tls = optarg;
            break;
        case PEERS:
            options->known = optarg;
            break;
        case PLAIN:
            options->plain = true;
            break;
        case CONTROL:
            options->control = optarg;
            break;
        case METRICS:
            options->metrics = optarg;
            break;
        case CAPACITY:
            options->capacity = number("capacity", optarg, SMEMV_WIRE_PAGE_SIZE,
                                       UINT64_C(1) << 60) /
                                SMEMV_WIRE_PAGE_SIZE;
            break;
        case WORKERS:
            options->workers = (unsigned)number("workers", optarg, 1,
                                                MAX_WORKERS);
            break;
        case SESSIONS:
            options->max_sessions = (unsigned)number("max-sessions", optarg, 1,
                                                     2048);
            break;
        case CONNECTIONS:
            options->max_connections = (unsigned)number("max-connections",
                                                        optarg, 1, 1 << 20);
            break;
        case PER_PEER:
            options->max_connections_per_peer = (unsigned)number(
                "max-connections-per-peer", optarg, 1, 1 << 20);
            break;
        case HELP:
            fputs(help, stdout);
            exit(0);
        case VERSION:
            puts("smemv-memserver " SMEMV_MEMSERVER_VERSION);
            exit(0);
        default:
            fputs(help, stderr);
            exit(2);
        }
    }
    if (optind < argc || !options->capacity) {
        fputs(help, stderr);
        exit(2);
    }
    if (!options->tls != !options->known || (options->tls && options->plain)) {
        fputs("smemv-memserver: --tls and --peers go together, and without "
              "--plain\n", stderr);
        exit(2);
    }
}
