/*
 * The init of a guest that is a memcached: gives its network card the address
 * smemv.address=A.B.C.D/24 of the kernel command line, and becomes
 * memcached with smemv.memory=MIB of memory.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CARD "eth0"

static void parameter(const char *name, const char *format, void *value)
{
    char line[1024] = "", *at;
    FILE *file = fopen("/proc/cmdline", "re");

    if (!file || !fgets(line, sizeof(line), file)) {
        give_up("cannot read /proc/cmdline: %s", strerror(errno));
    }
    fclose(file);
    at = strstr(line, name);
    if (!at || sscanf(at + strlen(name), format, value) != 1) {
        give_up("parameter %s is wanted", name);
    }
}

static void set_up_card(const char *address, const char *card)
{
    struct ifreq request = { 0 };
    struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", card);
    in->sin_family = AF_INET;
    if (inet_pton(AF_INET, address, &in->sin_addr) != 1 ||
        ioctl(fd, SIOCSIFADDR, &request)) {
        give_up("cannot give %s the address %s", card, address);
    }
    inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
    if (ioctl(fd, SIOCSIFNETMASK, &request)) {
        give_up("cannot set the netmask of %s: %s", card, strerror(errno));
    }
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request)) {
        give_up("cannot bring %s up: %s", card, strerror(errno));
    }
    close(fd);
}

int main(void)
{
    char address[32], memory[16];

    machine_set_up();
    parameter("smemv.address=", "%31s", address);
    parameter("smemv.memory=", "%15s", memory);
    set_up_card(address, CARD);
    say("memcached at %s", address);
    /*
     * Without what looks for items that expired, a minute after it began: it
     * writes to all items on its way, beside one migration and not another.
     */
    execl("/memcached", "memcached", "-u", "root", "-l", address, "-m", memory,
          "-t", "1", "-o", "no_lru_crawler", (char *)NULL);
    give_up("cannot run memcached: %s", strerror(errno));
}
