/*
 * How a session begins, goes on in the next process, and ends.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef SMEMV_LIFETIME_H
#define SMEMV_LIFETIME_H

#include "session.h"

/*
 * Makes a session as @open says, without its memory yet. @workers: PUTs that
 * may be worked on at once. @memory: as enum memory_kind. NULL: no memory.
 */
struct session *session_new(const struct smemv_wire_open *open,
                            uint64_t max_pages, unsigned workers,
                            unsigned memory);
void session_free(struct session *session);

/*
 * Commits the memory that was reserved, if @early only what the first PUTs
 * need, and has the session kept beyond the end of the process; takes long.
 */
struct verdict session_commit(struct session *session, bool early);

/*
 * The session of a process before this one, from the memfd of its record and
 * two more, in any order, of which it takes over all three. NULL: @wrong says
 * what is wrong with them.
 */
struct session *session_restore(int record_fd, const int fds[2],
                                uint64_t max_pages, unsigned workers,
                                unsigned memory, const char **wrong);

/* Lets go of the session's memory, which waits for the next process. */
void session_leave(struct session *session);

/*
 * Frees the memory of a session that is closed, wherever it is kept; takes
 * long. The session itself stays until it is freed.
 */
void session_free_memory(struct session *session);

/* What the index may take: 3 % and a little; dense it takes 0.1 %. */
size_t session_index_limit(uint64_t reserve);

#endif
