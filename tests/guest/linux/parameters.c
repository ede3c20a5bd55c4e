/*
 * The guest's parameters, from the kernel command line.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "parameters.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "smemv."

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    *out = strtoull(text, &end, 10);
    return end != text && !*end && *out <= max;
}

static bool small(const char *text, unsigned max, unsigned *out)
{
    uint64_t value;
    bool ok = number(text, max, &value);

    *out = value;
    return ok;
}

static bool size(const char *text, uint64_t *out)
{
    char *end;

    *out = 0;
    if (!strcmp(text, "max")) {
        return true;
    }
    *out = strtoull(text, &end, 10);
    switch (*end) {
    case 'K':
        *out <<= 10;
        end++;
        break;
    case 'M':
        *out <<= 20;
        end++;
        break;
    case 'G':
        *out <<= 30;
        end++;
        break;
    }
    return end != text && !*end && *out;
}

static bool pattern(char *text, struct parameters *p)
{
    char *pages, *accesses, *where;

    if (!strcmp(text, "uniform")) {
        p->pattern = PATTERN_UNIFORM;
        return true;
    }
    if (!strcmp(text, "seq")) {
        p->pattern = PATTERN_SEQ;
        return true;
    }
    p->strewn = !strcmp(text, "zipf:strewn");
    if (p->strewn || !strcmp(text, "zipf")) {
        p->pattern = PATTERN_ZIPF;
        return true;
    }
    if (strcmp(strsep(&text, ":"), "hot")) {
        return false;
    }
    pages = strsep(&text, ":");
    accesses = strsep(&text, ":");
    where = strsep(&text, ":");
    p->strewn = where && !strcmp(where, "strewn");
    p->pattern = PATTERN_HOT;
    return pages && accesses && !text && (!where || p->strewn) &&
           small(pages, 99, &p->hot_pages) && p->hot_pages &&
           small(accesses, 100, &p->hot_accesses);
}

static bool set(const char *name, char *value, struct parameters *p)
{
    if (!strcmp(name, "fill")) {
        return size(value, &p->fill);
    } else if (!strcmp(name, "once")) {
        return size(value, &p->once) && p->once;
    } else if (!strcmp(name, "keep")) {
        return small(value, 86400, &p->keep);
    } else if (!strcmp(name, "pattern")) {
        return pattern(value, p);
    } else if (!strcmp(name, "writes")) {
        return small(value, 100, &p->writes);
    } else if (!strcmp(name, "checks")) {
        return small(value, 1000000, &p->checks) && p->checks;
    } else if (!strcmp(name, "rate")) {
        return number(value, 1000000000, &p->rate);
    } else if (!strcmp(name, "sleep")) {
        return small(value, 1000, &p->sleep);
    } else if (!strcmp(name, "threads")) {
        return small(value, 256, &p->threads);
    } else if (!strcmp(name, "sweep")) {
        return small(value, 86400, &p->sweep);
    } else if (!strcmp(name, "disk")) {
        return size(value, &p->disk);
    } else if (!strcmp(name, "churn")) {
        return size(value, &p->churn);
    } else if (!strcmp(name, "report")) {
        return small(value, 60000, &p->report) && p->report;
    }
    return false;
}

const char *parameters_parse(char *line, struct parameters *p)
{
    char *word;

    *p = (struct parameters) {
        .pattern = PATTERN_UNIFORM,
        .writes = 50,
        .checks = 1,
        .sleep = 1,
        .report = 1000,
    };
    while ((word = strsep(&line, " \n"))) {
        char *name = word, *value = word;

        if (strncmp(word, PREFIX, strlen(PREFIX))) {
            continue;
        }
        strsep(&value, "=");
        if (!value || !set(name + strlen(PREFIX), value, p)) {
            return word;
        }
    }
    return NULL;
}
