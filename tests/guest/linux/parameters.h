/*
 * The guest's parameters, from the kernel command line.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * smemv.fill=SIZE|max      memory to fill and check (default max: all but
 *                          what the kernel needs)
 * smemv.pattern=uniform    any page
 *               hot:10:95  10 % of the pages get 95 % of the accesses
 *               hot:10:95:strewn  and lie evenly among the others
 *               zipf       the page of rank i gets a share as 1 / i^0.99; the
 *                          pages lie by their rank, or strewn (zipf:strewn)
 *               seq        one after the other
 * smemv.once=SIZE          memory that is written once, before the rest
 *                          begins, and given back (default: none)
 * smemv.keep=SECONDS       when it is given back (default 0: at once)
 * smemv.writes=50          per cent of the accesses that rewrite the page
 * smemv.checks=N           how often an access checks its page (default 1): its
 *                          work
 * smemv.rate=N             accesses per second at most (default 0: no limit)
 * smemv.sleep=MS           a thread that is ahead of its rate sleeps once the
 *                          next access is due in more than that (default 1): to
 *                          wake up costs an emulated guest as much as twenty
 *                          accesses do
 * smemv.threads=N          default: one for each CPU
 * smemv.sweep=SECONDS      check all pages in turn this often (default 0:
 *                          never)
 * smemv.disk=SIZE          transfers to and from the first disk, which it
 *                          overwrites, past the cache, with a buffer of SIZE
 *                          (default: none)
 * smemv.churn=SIZE         memory that is taken, checked and given back, again
 *                          and again (default: none)
 * smemv.report=MS          status line this often (default 1000)
 */
#ifndef PARAMETERS_H
#define PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

enum pattern { PATTERN_UNIFORM, PATTERN_HOT, PATTERN_ZIPF, PATTERN_SEQ };

struct parameters {
    uint64_t fill;              /* bytes; 0 for as much as there is */
    enum pattern pattern;
    unsigned hot_pages;         /* per cent */
    unsigned hot_accesses;      /* per cent */
    bool strewn;                /* the hot pages, or all by their rank */
    uint64_t once;              /* bytes */
    unsigned keep;              /* seconds */
    unsigned writes;            /* per cent */
    unsigned checks;            /* an access */
    uint64_t rate;              /* accesses per second; 0 for no limit */
    unsigned sleep;             /* milliseconds */
    unsigned threads;           /* 0 for one a CPU */
    unsigned sweep;             /* seconds; 0 for never */
    uint64_t disk;              /* bytes; 0 for no transfers */
    uint64_t churn;             /* bytes; 0 for none */
    unsigned report;            /* milliseconds */
};

/*
 * Read the parameters out of @line, which is cut to pieces. Returns NULL, or
 * the word that is not understood.
 */
const char *parameters_parse(char *line, struct parameters *p);

#endif
