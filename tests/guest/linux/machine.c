/*
 * The machine around the guest program.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "machine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/module.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE 512

static void say_line(const char *format, va_list args)
{
    char line[LINE] = "smemv-guest: ";
    size_t used = strlen(line);
    int size = vsnprintf(line + used, LINE - used - 1, format, args);

    used += size < LINE - (int)used - 2 ? size : LINE - (int)used - 2;
    line[used++] = '\n';
    /* One write a line: the lines of several threads do not mix. */
    if (write(STDOUT_FILENO, line, used) < 0) {
        reboot(RB_POWER_OFF);
    }
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_line(format, args);
    va_end(args);
}

void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_line(format, args);
    va_end(args);
    /* Let the console drain. */
    sleep(1);
    reboot(RB_POWER_OFF);
    _exit(1);
}

static void mount_at(const char *type, const char *target)
{
    mkdir(target, 0755);
    if (mount(type, target, type, 0, NULL) && errno != EBUSY) {
        give_up("cannot mount %s: %s", target, strerror(errno));
    }
}

static void load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || syscall(SYS_finit_module, fd, "",
                          MODULE_INIT_COMPRESSED_FILE)) {
        give_up("cannot load %s: %s", path, strerror(errno));
    }
    close(fd);
}

void machine_set_up(void)
{
    glob_t modules;

    mount_at("proc", "/proc");
    mount_at("sysfs", "/sys");
    mount_at("devtmpfs", "/dev");
    if (glob("/modules/*", 0, NULL, &modules) == 0) {
        for (size_t i = 0; i < modules.gl_pathc; i++) {
            load_module(modules.gl_pathv[i]);
        }
        globfree(&modules);
    }
}

/* The first line of the file at @path, without its end; "" if it has none. */
static void first_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "re");

    line[0] = 0;
    if (file) {
        if (fgets(line, size, file)) {
            line[strcspn(line, "\n")] = 0;
        }
        fclose(file);
    }
}

/*
 * Append "NAME=VALUE" to @list for each file that @pattern matches, NAME being
 * the file's folder.
 */
static void list_files(const char *pattern, const char *skip, char *list,
                       size_t size)
{
    glob_t files;

    list[0] = 0;
    if (glob(pattern, 0, NULL, &files)) {
        return;
    }
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char path[256], value[64];
        char *name;
        size_t used = strlen(list);

        first_line(files.gl_pathv[i], value, sizeof(value));
        snprintf(path, sizeof(path), "%s", files.gl_pathv[i]);
        *strrchr(path, '/') = 0;
        name = strrchr(path, '/') + 1;
        if (strcmp(name, skip)) {
            snprintf(list + used, size - used, "%s%s=%s", used ? "," : "",
                     name, value);
        }
    }
    globfree(&files);
}

void machine_describe(void)
{
    char disks[160], cards[160];

    list_files("/sys/block/vd*/size", "", disks, sizeof(disks));
    list_files("/sys/class/net/*/address", "lo", cards, sizeof(cards));
    say("config cpus=%ld memory_kb=%ld disks=%s cards=%s",
        sysconf(_SC_NPROCESSORS_ONLN),
        sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024),
        disks[0] ? disks : "none", cards[0] ? cards : "none");
}

uint64_t machine_physical(const void *address)
{
    uint64_t entry = 0, page = (uintptr_t)address >> 12;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return 0;
    }
    if (pread(fd, &entry, sizeof(entry), page * sizeof(entry)) !=
        sizeof(entry)) {
        entry = 0;
    }
    close(fd);
    /* Bits 0 to 54 are the frame number, bit 63 says that there is one. */
    return entry >> 63 ? (entry & ((UINT64_C(1) << 55) - 1)) << 12 : 0;
}
