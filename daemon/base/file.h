/* file.h: whole files and durable writes.
 * Durable means: temporary file beside the target, write, fsync, rename, fsync of
 * the directory; a reader sees the old content or the new, never a mixture. A
 * failed fsync is never retried on that file. */
#ifndef CAI_BASE_FILE_H
#define CAI_BASE_FILE_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

#define CAI_SHA256_HEX 65 /* 64 digits and NUL */

/* Reads a regular file whole; CAI_ELIMIT when it is larger than `max` bytes. */
int cai_file_read(const char *path, size_t max, struct cai_buf *ret);
int cai_file_write_atomic(const char *path, const void *data, size_t len);
int cai_file_sync(const char *path); /* fsync of a file or directory by name */
/* Writes a file's own bytes over themselves and syncs them: what a reader sees is then on the
 * disk, also where an earlier fsync has failed and the kernel calls its pages clean. Nobody else
 * may write it meanwhile. 0 when there is no such file. */
int cai_file_renew(const char *path);
/* rename + fsync of the parent directory; works for folders too. */
int cai_file_rename_durable(const char *from, const char *to);
bool cai_file_exists(const char *path);
int cai_dir_make(const char *path);   /* mkdir -p, 0750; a new one is durable */
int cai_dir_remove(const char *path); /* rm -r, does not follow links; 0 if absent */
/* Bytes and number of the files below a folder, or of one file; links are not followed. */
int cai_dir_size(const char *path, int64_t *ret_bytes, int64_t *ret_files);
int64_t cai_dir_free_bytes(const char *path); /* negative code on failure */
char *cai_path_join(const char *dir, const char *name); /* the caller's */

void cai_sha256(const void *data, size_t len, char ret_hex[CAI_SHA256_HEX]);
bool cai_is_sha256(const char *s); /* 64 lower-case hex digits and nothing else */
int cai_file_sha256(const char *path, char ret_hex[CAI_SHA256_HEX]);

#endif
