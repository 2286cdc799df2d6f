/* blobs.c: content-addressed files beside the database. A file that exists under its hash
 * is complete, because it arrived there by an atomic rename; a crash leaves at most a
 * temporary file or an unreferenced blob. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "store/sql.h"

int store_blob_put(struct store *s, const void *data, size_t len, char ret_hash[65],
                   char **ret_path) {
    CAI_AUTO(mem) char *dir = cai_path_join(s->dir, "blobs");
    CAI_TRY(cai_dir_make(dir));
    CAI_TRY(CAI_FAILPOINT("blob.put.before"));
    cai_sha256(data, len, ret_hash);
    char *path = cai_path_join(dir, ret_hash);
    int rc = cai_file_exists(path) ? 0 : cai_file_write_atomic(path, data, len);
    if (rc == 0)
        rc = CAI_FAILPOINT("blob.put.after");
    if (rc == 0 && ret_path)
        *ret_path = path;
    else
        free(path);
    return rc;
}
