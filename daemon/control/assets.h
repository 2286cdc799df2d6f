/* assets.h: models and data files that people put into caid's store, because a service cannot
 * read a home folder. Content is named by its hash and never changes; a name is a row that
 * points at it. A job pins the content at submit.
 *
 * STATE/models/HASH/FILE    a model; HASH: SHA-256 of lines "SHA-256  FILE\n", by name
 * STATE/blobs/HASH          a data file; HASH: its SHA-256
 * STATE/uploads/ID/FILE     on their way
 *
 * Upload  announced → growing → whole. What is acknowledged as durable outlives a kill; the rest
 *         is sent again. Only a whole folder, every hash checked, gets its last name (rename),
 *         and then its row: so there is never half a model. */
#ifndef CAI_CONTROL_ASSETS_H
#define CAI_CONTROL_ASSETS_H

#include "control/control.h"

enum { ASSET_FILES_MAX = 1000, ASSET_NAME_MAX = 63 };

struct asset_file {
    const char *path; /* a plain name */
    int64_t bytes;
    const char *hash; /* SHA-256, hexadecimal */
};
struct asset_offer {
    const char *kind, *name;
    struct asset_file *files; /* by name */
    size_t n;
    int64_t bytes;
    char hash[65];
};

/* Removes what no name points at, and uploads that nobody has gone on with for a week. At start. */
int assets_open(struct run *r);
void assets_close(struct run *r);

/* CAI_EINPUT for names and sizes that cannot be; sorts the files, fills in bytes and hash. */
int asset_offer_check(struct asset_offer *o);
/* *ret_id 0: the content is here under this name already. */
int asset_begin(struct run *r, int64_t uid, const struct asset_offer *o, int64_t *ret_id);
/* `len` bytes at `offset`, which must be how many are here: else nothing is taken and *ret_got
 * says where to go on. *ret_durable of them outlive a kill: all, once the file is whole. */
int asset_chunk(struct run *r, int64_t upload, uint32_t file, int64_t offset, const void *data,
                size_t len, int64_t *ret_got, int64_t *ret_durable);
int asset_finish(struct run *r, int64_t upload);
int asset_abandon(struct run *r, int64_t upload);
/* Takes the name away, and the content when no other name has it. CAI_ESTATE while a job refers
 * to it; with `force` only jobs that have not ended count. */
int asset_remove(struct run *r, const char *kind, const char *name, bool force);
char *asset_path(const struct run *r, const char *kind, const char *hash); /* the caller's */

/* ---- what a job's file names ------------------------------------------------------- */
/* "model:NAME" and "data:NAME" become paths; {"kind", "name", "hash"} of each goes to `uses`.
 * Stored data files are read, as caictl reads those that it is given. */
int assets_resolve(struct run *r, struct job_spec *spec, json_t *uses);
int assets_note_uses(struct run *r, int64_t job, const json_t *uses); /* in the job's log */
/* Paths that caid cannot read are refused with the command that helps. */
int assets_readable(const struct job_spec *spec);

#endif
