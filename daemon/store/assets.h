/* assets.h: what people have put into caid's store: models and data files under names, the
 * uploads that are on their way, and each person's share of worker time. Rows only; the bytes
 * are files beside the database (run/assets.h). Nothing here commits by itself. */
#ifndef CAI_STORE_ASSETS_H
#define CAI_STORE_ASSETS_H

#include "store/store.h"

/* ---- names ----------------------------------------------------------------------- */
struct store_asset {
    const char *kind, *name; /* kind: "model" or "data" */
    char hash[65];           /* of the content: see run/assets.h */
    int64_t uid, bytes, files, wall_ms;
};
int store_asset_add(struct store *s, const struct store_asset *a); /* CAI_ESTATE: name is taken */
/* ret's kind and name are the caller's strings. CAI_ENOTFOUND. */
int store_asset_get(struct store *s, const char *kind, const char *name, struct store_asset *ret);
int store_asset_remove(struct store *s, const char *kind, const char *name);
/* By kind, then name. */
int store_assets_each(struct store *s, int (*f)(void *c, const struct store_asset *a), void *c);
/* Names of this content, of any person. */
int store_asset_names(struct store *s, const char *kind, const char *hash, int64_t *ret);
/* The first job whose specification names the content and that has not ended, and the first that
 * has; 0: none. */
int store_asset_users(struct store *s, const char *hash, int64_t *ret_open, int64_t *ret_over);
/* Bytes of a person's assets, with those announced and not whole. */
int store_asset_bytes(struct store *s, int64_t uid, int64_t *ret);

/* ---- uploads --------------------------------------------------------------------- */
struct store_upload {
    int64_t id;
    const char *kind, *name;
    char hash[65];
    int64_t uid, bytes, files, wall_ms, have; /* have: durable bytes; set by reading */
};
/* One for a name; CAI_ESTATE when there is one. */
int store_upload_add(struct store *s, const struct store_upload *u, int64_t *ret_id);
int store_upload_get(struct store *s, int64_t id, struct store_upload *ret, char ret_kind[8],
                     char ret_name[64]);
int store_upload_find(struct store *s, const char *kind, const char *name, int64_t *ret_id);
int store_upload_remove(struct store *s, int64_t id); /* with its files' rows */
int store_upload_touch(struct store *s, int64_t id);
int store_uploads_each(struct store *s, int (*f)(void *c, const struct store_upload *u), void *c);

struct store_upload_file {
    uint32_t file;    /* index in the upload */
    const char *path; /* a plain name */
    int64_t bytes, have;
    const char *hash;  /* SHA-256 as announced */
    const void *state; /* of the hash over the first `have` bytes; NULL = nothing yet */
    size_t state_len;
};
int store_upload_file_add(struct store *s, int64_t upload, const struct store_upload_file *f);
int store_upload_file_have(struct store *s, int64_t upload, uint32_t file, int64_t have,
                           const void *state, size_t state_len);
/* In order of `file`; file < 0: all, else that one. */
int store_upload_files_each(struct store *s, int64_t upload, int64_t file,
                            int (*f)(void *c, const struct store_upload_file *x), void *c);

/* ---- shares ---------------------------------------------------------------------- */
/* Worker seconds that a person has used, as they stood at wall_ms (run/share.h lets them fade). */
int store_share_set(struct store *s, int64_t uid, double seconds, int64_t wall_ms);
int store_shares_each(struct store *s,
                      int (*f)(void *c, int64_t uid, double seconds, int64_t wall_ms), void *c);

#endif
