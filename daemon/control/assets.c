/* assets.c: uploads and the content they become. See assets.h for files and states. Chunks come
 * in order; every few MiB, and when a file is whole, bytes are made durable first and then, in
 * the store, how many there are with the state of the hash over them. */
#include "control/assets.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "hf/hf.h"
#include "run/people.h"
#include "store/assets.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SYNC_BYTES = 8 << 20, OPEN_MAX_UPLOADS = 16, STALE_DAYS = 7 };

/* A file of an upload that is being written. */
struct upload {
    int64_t id, bytes, got, durable;
    uint32_t file;
    int fd;
    char hash[65];
    char *path;
    crypto_hash_sha256_state sha;
    struct upload *next; /* the last used first */
};

static char *upload_dir(const struct run *r, int64_t id) {
    return cai_format("%s/uploads/%lld", r->o.state_dir, (long long)id);
}

char *asset_path(const struct run *r, const char *kind, const char *hash) {
    return cai_format("%s/%s/%s", r->o.state_dir, strcmp(kind, "model") == 0 ? "models" : "blobs",
                      hash);
}

/* ---- what is offered ------------------------------------------------------------- */

static bool is_name(const char *s) {
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n <= ASSET_NAME_MAX && !s[n] && s[0] != '.' && s[0] != '-';
}

static bool is_file_name(const char *s) {
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-");
    return n > 0 && n <= 200 && !s[n] && s[0] != '.';
}


/* By name, so that an offer's numbers of files do not depend on how a folder was read. */
static int by_path(const void *a, const void *b) {
    return strcmp(((const struct asset_file *)a)->path, ((const struct asset_file *)b)->path);
}

static void hash_offer(struct asset_offer *o) {
    CAI_AUTO(buf) struct cai_buf lines = {0};
    for (size_t i = 0; i < o->n; i++)
        cai_buf_printf(&lines, "%s  %s\n", o->files[i].hash, o->files[i].path);
    if (strcmp(o->kind, "model") == 0)
        cai_sha256(lines.data, lines.len, o->hash);
    else
        snprintf(o->hash, sizeof o->hash, "%s", o->files[0].hash);
}

int asset_offer_check(struct asset_offer *o) {
    bool model = strcmp(o->kind, "model") == 0;
    if (!model && strcmp(o->kind, "data") != 0)
        return cai_fail(CAI_EINPUT, "'%.40s' is no kind of thing that is stored: model or data",
                        o->kind);
    if (!is_name(o->name))
        return cai_fail(CAI_EINPUT, "'%.80s' is not a name: use lower-case letters, digits, '.', "
                        "'_' and '-', at most %d", o->name, ASSET_NAME_MAX);
    if (o->n == 0 || o->n > (model ? ASSET_FILES_MAX : 1))
        return cai_fail(CAI_EINPUT, "%s of %zu files: expected %s", o->kind, o->n,
                        model ? "1 to 1000" : "one");
    qsort(o->files, o->n, sizeof *o->files, by_path);
    o->bytes = 0;
    for (size_t i = 0; i < o->n; i++) {
        const struct asset_file *f = &o->files[i];
        if (!is_file_name(f->path) || !cai_is_sha256(f->hash) || f->bytes < 0 ||
            f->bytes > (int64_t)1 << 50 || (i && strcmp(f->path, o->files[i - 1].path) == 0))
            return cai_fail(CAI_EINPUT, "file %zu, '%.80s': its name, size or hash cannot be", i,
                            f->path);
        o->bytes += f->bytes;
    }
    hash_offer(o);
    return 0;
}

/* ---- files on their way ---------------------------------------------------------- */

/* Bytes first, then the row that says that they are there. */
static int make_durable(struct run *r, struct upload *u) {
    if (u->durable == u->got)
        return 0;
    if (fdatasync(u->fd) < 0)
        return cai_fail_errno("cannot make %s durable", u->path);
    CAI_TRY(store_upload_file_have(r->store, u->id, u->file, u->got, &u->sha, sizeof u->sha));
    u->durable = u->got;
    return 0;
}

/* What was not made durable is sent again. */
static void close_upload(struct run *r, struct upload *u) {
    struct upload **at = &r->front->uploads;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    if (u->fd >= 0)
        close(u->fd);
    free(u->path);
    free(u);
}

static void close_uploads_of(struct run *r, int64_t id) {
    for (struct upload *u = r->front->uploads, *next; u; u = next) {
        next = u->next;
        if (u->id == id)
            close_upload(r, u);
    }
}

void assets_close(struct run *r) {
    while (r->front->uploads) {
        if (make_durable(r, r->front->uploads) < 0)
            cai_warn("%s", cai_error_text());
        close_upload(r, r->front->uploads);
    }
}

static void close_oldest(struct run *r) {
    size_t n = 0;
    struct upload *last = NULL;
    for (struct upload *u = r->front->uploads; u; u = u->next, n++)
        last = u;
    if (n < OPEN_MAX_UPLOADS)
        return;
    if (make_durable(r, last) < 0)
        cai_warn("%s", cai_error_text());
    close_upload(r, last);
}

struct opening {
    struct upload *u;
    const char *dir;
    bool found;
};

static int note_file(void *c, const struct store_upload_file *x) {
    struct opening *o = c;
    o->found = true;
    o->u->bytes = x->bytes;
    o->u->got = o->u->durable = 0;
    o->u->path = cai_path_join(o->dir, x->path);
    snprintf(o->u->hash, sizeof o->u->hash, "%s", x->hash);
    crypto_hash_sha256_init(&o->u->sha);
    if (x->state_len == sizeof o->u->sha) {
        memcpy(&o->u->sha, x->state, sizeof o->u->sha);
        o->u->got = o->u->durable = x->have;
    }
    return 0;
}

/* The file as far as it is durable, and no further: the hash's state is of that. */
static int open_file(struct upload *u) {
    struct stat st;
    u->fd = open(u->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (u->fd < 0 || fstat(u->fd, &st) < 0)
        return cai_fail_errno("%s", u->path);
    if (st.st_size < u->got) { /* somebody cut it: from the beginning */
        u->got = u->durable = 0;
        crypto_hash_sha256_init(&u->sha);
    }
    return ftruncate(u->fd, u->got) < 0 ? cai_fail_errno("%s", u->path) : 0;
}

static int open_upload(struct run *r, int64_t id, uint32_t file, struct upload **ret) {
    for (struct upload **at = &r->front->uploads; *at; at = &(*at)->next) {
        struct upload *u = *at;
        if (u->id != id || u->file != file)
            continue;
        *at = u->next;
        u->next = r->front->uploads;
        r->front->uploads = u;
        *ret = u;
        return 0;
    }
    close_oldest(r);
    CAI_AUTO(mem) char *dir = upload_dir(r, id);
    struct upload *u = cai_alloc(sizeof *u);
    *u = (struct upload){.id = id, .file = file, .fd = -1, .next = r->front->uploads};
    struct opening o = {u, dir, false};
    r->front->uploads = u;
    int rc = store_upload_files_each(r->store, id, file, note_file, &o);
    if (rc == 0 && !o.found)
        rc = cai_fail(CAI_ENOTFOUND, "upload %lld has no file %u", (long long)id, file);
    if (rc == 0)
        rc = open_file(u);
    if (rc < 0)
        close_upload(r, u);
    else
        *ret = u;
    return rc;
}

/* ---- the course of an upload ----------------------------------------------------- */

static int check_room(struct run *r, int64_t uid, int64_t bytes) {
    const struct run_config *c = &r->o.config;
    int64_t own = 0, free_bytes = cai_dir_free_bytes(r->o.state_dir);
    if (bytes > c->upload_mb << 20)
        return cai_fail(CAI_ELIMIT, "%lld MB are more than upload_mb (%lld) in caid's configuration "
                        "allows", (long long)(bytes >> 20), (long long)c->upload_mb);
    CAI_TRY(store_asset_bytes(r->store, uid, &own));
    if (own + bytes > c->quota_mb << 20)
        return cai_fail(CAI_ELIMIT,
                        "%lld MB beside the %lld that you have stored are more than quota_mb "
                        "(%lld) in caid's configuration allows; 'caictl model rm' and 'caictl data "
                        "rm' make room",
                        (long long)(bytes >> 20), (long long)(own >> 20), (long long)c->quota_mb);
    if (free_bytes >= 0 && free_bytes - bytes < c->min_free_mb << 20)
        return cai_fail(CAI_ENOSPC, "%lld MB do not fit: %s has %lld MB free and keeps %lld",
                        (long long)(bytes >> 20), r->o.state_dir, (long long)(free_bytes >> 20),
                        (long long)c->min_free_mb);
    return 0;
}

static int add_rows(struct run *r, int64_t uid, const struct asset_offer *o, int64_t *ret_id) {
    struct store_upload u = {.kind = o->kind, .name = o->name, .uid = uid, .bytes = o->bytes,
                             .files = (int64_t)o->n};
    snprintf(u.hash, sizeof u.hash, "%s", o->hash);
    CAI_TRY(store_begin(r->store));
    int rc = store_upload_add(r->store, &u, ret_id);
    for (size_t i = 0; i < o->n && rc == 0; i++) {
        struct store_upload_file f = {.file = (uint32_t)i, .path = o->files[i].path,
                                      .bytes = o->files[i].bytes, .hash = o->files[i].hash};
        rc = store_upload_file_add(r->store, *ret_id, &f);
    }
    return store_end(r->store, rc);
}

int asset_abandon(struct run *r, int64_t id) {
    CAI_AUTO(mem) char *dir = upload_dir(r, id);
    close_uploads_of(r, id);
    CAI_TRY(store_begin(r->store));
    int rc = store_upload_remove(r->store, id);
    CAI_TRY(store_end(r->store, rc));
    return cai_dir_remove(dir);
}

/* An upload of this name: gone on with when it is of the same content, else begun anew. */
static int meet_upload(struct run *r, int64_t uid, const struct asset_offer *o, int64_t *io_id) {
    struct store_upload u;
    char kind[8], name[64], owner[PERSON_MAX];
    CAI_TRY(store_upload_get(r->store, *io_id, &u, kind, name));
    if (u.uid != uid)
        return cai_fail(CAI_ESTATE, "%s is uploading a %s '%s' already; choose another name",
                        person_name(u.uid, owner), o->kind, o->name);
    if (strcmp(u.hash, o->hash) == 0)
        return store_upload_touch(r->store, u.id);
    CAI_TRY(asset_abandon(r, u.id));
    *io_id = 0;
    return 0;
}

int asset_begin(struct run *r, int64_t uid, const struct asset_offer *o, int64_t *ret_id) {
    struct store_asset a;
    char owner[PERSON_MAX];
    int64_t id = 0;
    *ret_id = 0;
    int rc = store_asset_get(r->store, o->kind, o->name, &a);
    if (rc == 0 && strcmp(a.hash, o->hash) == 0) {
        CAI_AUTO(mem) char *path = asset_path(r, o->kind, o->hash);
        if (cai_file_exists(path))
            return 0;
        /* A database that came back from a backup knows models that are not in it. */
        CAI_TRY(store_asset_remove(r->store, o->kind, o->name));
    } else if (rc == 0) {
        return cai_fail(CAI_ESTATE,
                        "there is a %s '%s' of %s's with other content already; choose another "
                        "name, or 'caictl %s rm %s' first",
                        o->kind, o->name, person_name(a.uid, owner), o->kind, o->name);
    }
    if (rc != CAI_ENOTFOUND && rc != 0)
        return rc;
    rc = store_upload_find(r->store, o->kind, o->name, &id);
    if (rc == 0)
        CAI_TRY(meet_upload(r, uid, o, &id));
    else if (rc != CAI_ENOTFOUND)
        return rc;
    if (!id) {
        CAI_TRY(check_room(r, uid, o->bytes));
        CAI_TRY(add_rows(r, uid, o, &id));
    }
    CAI_AUTO(mem) char *dir = upload_dir(r, id);
    CAI_TRY(cai_dir_make(dir));
    *ret_id = id;
    return 0;
}

/* What came is not what was announced: the file is taken anew. */
static int check_whole(struct run *r, struct upload *u) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[CAI_SHA256_HEX];
    crypto_hash_sha256_state last = u->sha;
    crypto_hash_sha256_final(&last, digest);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    if (strcmp(hex, u->hash) == 0)
        return 0;
    CAI_TRY(store_upload_file_have(r->store, u->id, u->file, 0, "", 0));
    CAI_AUTO(mem) char *name = cai_strdup(strrchr(u->path, '/') + 1);
    close_upload(r, u);
    return cai_fail(CAI_EINPUT, "%s is not what was announced: it changed while it was sent; give "
                    "the command again", name);
}

static int append(struct upload *u, const char *data, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(u->fd, data + done, len - done, u->got + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cai_fail_errno("cannot write %s", u->path);
        done += (size_t)n;
    }
    crypto_hash_sha256_update(&u->sha, (const unsigned char *)data, len);
    /* The disk begins at once, so that making it durable is short. */
    (void)sync_file_range(u->fd, u->got, (off_t)len, SYNC_FILE_RANGE_WRITE);
    u->got += (int64_t)len;
    return 0;
}

int asset_chunk(struct run *r, int64_t id, uint32_t file, int64_t offset, const void *data,
                size_t len, int64_t *ret_got, int64_t *ret_durable) {
    struct upload *u = NULL;
    CAI_TRY(open_upload(r, id, file, &u));
    if (offset == u->got && len > 0) {
        if ((int64_t)len > u->bytes - u->got)
            return cai_fail(CAI_EINPUT, "more bytes than were announced");
        CAI_TRY(append(u, data, len));
        if (u->got == u->bytes)
            CAI_TRY(check_whole(r, u));
        if (u->got == u->bytes || u->got - u->durable >= SYNC_BYTES)
            CAI_TRY(make_durable(r, u));
    }
    *ret_got = u->got;
    *ret_durable = u->durable;
    if (u->got == u->bytes)
        close_upload(r, u);
    return 0;
}

/* ---- whole ----------------------------------------------------------------------- */

struct gathering {
    const char *dir;
    char *first; /* name of the first file, the only one of a data file's */
    char *missing;
};

static int see_file(void *c, const struct store_upload_file *x) {
    struct gathering *g = c;
    CAI_AUTO(mem) char *path = cai_path_join(g->dir, x->path);
    if (!g->first)
        g->first = cai_strdup(x->path);
    if (x->bytes == 0 && x->have == 0)
        return cai_file_write_atomic(path, "", 0);
    if (x->have != x->bytes && !g->missing)
        g->missing = cai_strdup(x->path);
    return 0;
}

/* To its last name; there already: it came there whole, another time. */
static int move_content(struct run *r, const struct store_upload *u, const struct gathering *g) {
    bool model = strcmp(u->kind, "model") == 0;
    CAI_AUTO(mem) char *to = asset_path(r, u->kind, u->hash);
    CAI_AUTO(mem) char *parent = cai_format("%s/%s", r->o.state_dir, model ? "models" : "blobs");
    CAI_AUTO(mem) char *from = model ? cai_strdup(g->dir) : cai_path_join(g->dir, g->first);
    CAI_TRY(cai_dir_make(parent));
    if (cai_file_exists(to))
        return cai_file_sync(parent); /* its name may have been left by a failure of that */
    if (model) {
        CAI_TRY(hf_check(g->dir, false));
        CAI_TRY(cai_file_sync(g->dir));
    }
    return cai_file_rename_durable(from, to);
}

static int name_content(struct run *r, const struct store_upload *u) {
    struct store_asset a = {.kind = u->kind, .name = u->name, .uid = u->uid, .bytes = u->bytes,
                            .files = u->files};
    snprintf(a.hash, sizeof a.hash, "%s", u->hash);
    CAI_TRY(store_begin(r->store));
    int rc = store_asset_add(r->store, &a);
    if (rc == 0)
        rc = store_upload_remove(r->store, u->id);
    return store_end(r->store, rc);
}

int asset_finish(struct run *r, int64_t id) {
    struct store_upload u;
    char kind[8], name[64];
    CAI_AUTO(mem) char *dir = upload_dir(r, id);
    struct gathering g = {.dir = dir};
    CAI_TRY(store_upload_get(r->store, id, &u, kind, name));
    close_uploads_of(r, id);
    CAI_AUTO(mem) char *to = asset_path(r, kind, u.hash);
    int rc = cai_file_exists(to) ? 0 : store_upload_files_each(r->store, id, -1, see_file, &g);
    if (rc == 0 && g.missing)
        rc = cai_fail(CAI_ESTATE, "%s is not whole yet", g.missing);
    if (rc == 0)
        rc = move_content(r, &u, &g);
    bool refused = rc == CAI_EINPUT || rc == CAI_ELIMIT; /* it is no model, and never will be */
    if (rc == 0)
        rc = name_content(r, &u);
    free(g.first);
    free(g.missing);
    if (rc == 0)
        return cai_dir_remove(dir);
    CAI_AUTO(mem) char *text = cai_strdup(cai_error_text());
    if (refused && asset_abandon(r, id) < 0)
        cai_warn("%s", cai_error_text());
    return cai_fail(rc, "%s", text);
}

/* ---- away ------------------------------------------------------------------------ */

static int refuse_used(const char *kind, const char *name, int64_t open, int64_t over, bool force) {
    if (open)
        return cai_fail(CAI_ESTATE, "%s '%s' is used by job %lld, which has not ended; 'caictl "
                        "cancel %lld' first, or wait for its end",
                        kind, name, (long long)open, (long long)open);
    if (over && !force)
        return cai_fail(CAI_ESTATE,
                        "%s '%s' was used by job %lld, which has ended: without it that job cannot "
                        "be requeued or compared with its start; --force removes it all the same",
                        kind, name, (long long)over);
    return 0;
}

int asset_remove(struct run *r, const char *kind, const char *name, bool force) {
    struct store_asset a;
    int64_t names = 0, open = 0, over = 0;
    CAI_TRY(store_asset_get(r->store, kind, name, &a));
    CAI_TRY(store_asset_names(r->store, kind, a.hash, &names));
    CAI_TRY(store_asset_users(r->store, a.hash, &open, &over));
    if (names == 1)
        CAI_TRY(refuse_used(kind, name, open, over, force));
    CAI_TRY(store_asset_remove(r->store, kind, name));
    if (names > 1)
        return 0;
    /* The name is gone first: what a kill leaves of the rest is removed at the next start. */
    CAI_AUTO(mem) char *path = asset_path(r, kind, a.hash);
    return cai_dir_remove(path);
}

struct used {
    const char *hash;
    bool found;
};
static int is_uploaded(void *c, const struct store_upload *u) {
    struct used *x = c;
    x->found = x->found || strcmp(u->hash, x->hash) == 0;
    return 0;
}

static int sweep_model(struct run *r, const char *hash) {
    int64_t names = 0;
    struct used u = {hash, false};
    CAI_TRY(store_asset_names(r->store, "model", hash, &names));
    CAI_TRY(store_uploads_each(r->store, is_uploaded, &u));
    if (names || u.found)
        return 0;
    CAI_AUTO(mem) char *path = asset_path(r, "model", hash);
    cai_info("removes %s, which no name points at", path);
    return cai_dir_remove(path);
}

static int sweep_models(struct run *r) {
    CAI_AUTO(mem) char *dir = cai_path_join(r->o.state_dir, "models");
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : cai_fail_errno("%s", dir);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (cai_is_sha256(e->d_name))
            rc = sweep_model(r, e->d_name);
    closedir(d);
    return rc;
}

struct stale {
    int64_t before_ms, id;
};
static int find_stale(void *c, const struct store_upload *u) {
    struct stale *s = c;
    s->id = u->wall_ms < s->before_ms ? u->id : s->id;
    return s->id ? 1 : 0;
}

int assets_open(struct run *r) {
    struct stale s = {.before_ms = cai_wall_ms() - (int64_t)STALE_DAYS * 86400000};
    for (int rc; (rc = store_uploads_each(r->store, find_stale, &s)) != 0; s.id = 0) {
        CAI_TRY(rc);
        CAI_TRY(asset_abandon(r, s.id));
    }
    return sweep_models(r);
}
