/* uploads.c: verbs about stored models and data: asset.begin, asset.chunk, asset.finish,
 * asset.list, asset.rm. None but rm carries a key: each can be given again as it is. */
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "control/assets.h"
#include "control/control.h"
#include "run/people.h"
#include "store/assets.h"
#include <string.h>

/* ---- sending ----------------------------------------------------------------------- */

/* `ret`'s texts are the request's. */
static int read_offer(const struct request *q, struct asset_offer *ret) {
    const json_t *list = json_object_get(q->args, "files");
    size_t i;
    json_t *row;
    *ret = (struct asset_offer){.kind = request_text(q, "kind"), .name = request_text(q, "name")};
    ret->files = cai_alloc((json_array_size(list) + 1) * sizeof *ret->files);
    json_array_foreach(list, i, row) {
        const char *path = json_string_value(json_object_get(row, "path"));
        const char *hash = json_string_value(json_object_get(row, "sha256"));
        const json_t *bytes = json_object_get(row, "bytes");
        if (!path || !hash || !json_is_integer(bytes))
            return cai_fail(CAI_EINPUT, "file %zu: expected path, bytes and sha256", i);
        ret->files[ret->n++] = (struct asset_file){path, json_integer_value(bytes), hash};
    }
    return asset_offer_check(ret);
}

static int add_have(void *c, const struct store_upload_file *x) {
    json_array_append_new(c, json_pack("{s:s, s:I}", "path", x->path, "have",
                                       (json_int_t)x->have));
    return 0;
}

/* Content that is here under another name need not be sent. */
static json_t *have_all(const struct asset_offer *o) {
    json_t *files = json_array();
    for (size_t i = 0; i < o->n; i++)
        json_array_append_new(files, json_pack("{s:s, s:I}", "path", o->files[i].path, "have",
                                               (json_int_t)o->files[i].bytes));
    return files;
}

static int offer(const struct request *q, const struct asset_offer *o, json_t **ret) {
    struct run *r = q->run;
    int64_t id = 0;
    CAI_TRY(asset_begin(r, q->who->uid, o, &id));
    CAI_AUTO(mem) char *path = asset_path(r, o->kind, o->hash);
    bool here = cai_file_exists(path);
    json_t *files = here ? have_all(o) : json_array();
    int rc = id && !here ? store_upload_files_each(r->store, id, -1, add_have, files) : 0;
    *ret = json_pack("{s:I, s:b, s:s, s:o}", "upload", (json_int_t)id, "whole", id == 0, "hash",
                     o->hash, "files", files);
    return rc;
}

static int begin(const struct request *q, json_t **ret) {
    struct asset_offer o;
    CAI_TRY(person_may(q->run, q->who, q->who->uid, "this"));
    int rc = read_offer(q, &o);
    if (rc == 0)
        rc = offer(q, &o, ret);
    free(o.files);
    return rc;
}

static int mine(const struct request *q, int64_t id) {
    struct store_upload u;
    char kind[8], name[64];
    CAI_TRY(store_upload_get(q->run->store, id, &u, kind, name));
    CAI_AUTO(mem) char *what = cai_format("the %s '%s'", kind, name);
    return person_may(q->run, q->who, u.uid, what);
}

static int chunk(const struct request *q, json_t **ret) {
    int64_t got = 0, durable = 0, id = request_int(q, "upload", 0);
    CAI_TRY(mine(q, id));
    CAI_TRY(asset_chunk(q->run, id, (uint32_t)request_int(q, "file", 0),
                        request_int(q, "offset", 0), q->data, q->len, &got, &durable));
    *ret = json_pack("{s:I, s:I}", "got", (json_int_t)got, "durable", (json_int_t)durable);
    return 0;
}

/* Given again after the answer was lost, it finds what it made. */
static int finish(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    const char *kind = request_text(q, "kind"), *name = request_text(q, "name");
    struct store_asset a;
    int64_t id = 0;
    char owner[PERSON_MAX];
    int rc = store_upload_find(r->store, kind, name, &id);
    if (rc == 0)
        CAI_TRY(mine(q, id));
    if (rc == 0) {
        CAI_TRY(asset_finish(r, id));
        cai_info("%s stored %s '%s'", person_name(q->who->uid, owner), kind, name);
    } else if (rc != CAI_ENOTFOUND) {
        return rc;
    }
    CAI_TRY(store_asset_get(r->store, kind, name, &a));
    if (strcmp(a.hash, request_text(q, "hash")) != 0)
        return cai_fail(CAI_ESTATE, "%s '%s' has another content than this", kind, name);
    *ret = json_pack("{s:s, s:s, s:s, s:I, s:I}", "kind", kind, "name", name, "hash", a.hash,
                     "bytes", (json_int_t)a.bytes, "files", (json_int_t)a.files);
    return 0;
}

/* ---- looking, removing ------------------------------------------------------------- */

struct asset_list {
    struct run *run;
    const char *kind;
    json_t *rows;
};

static int list_whole(void *c, const struct store_asset *a) {
    struct asset_list *l = c;
    char user[PERSON_MAX];
    if (strcmp(a->kind, l->kind) != 0)
        return 0;
    CAI_AUTO(mem) char *path = asset_path(l->run, a->kind, a->hash);
    json_array_append_new(
        l->rows, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "name", a->name, "hash",
                           a->hash, "user", person_name(a->uid, user), "bytes",
                           (json_int_t)a->bytes, "files", (json_int_t)a->files, "at_ms",
                           (json_int_t)a->wall_ms, "have", (json_int_t)a->bytes, "state",
                           cai_file_exists(path) ? "whole" : "missing"));
    return 0;
}

static int list_upload(void *c, const struct store_upload *u) {
    struct asset_list *l = c;
    char user[PERSON_MAX];
    if (strcmp(u->kind, l->kind) != 0)
        return 0;
    json_array_append_new(
        l->rows, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "name", u->name, "hash",
                           u->hash, "user", person_name(u->uid, user), "bytes",
                           (json_int_t)u->bytes, "files", (json_int_t)u->files, "at_ms",
                           (json_int_t)u->wall_ms, "have", (json_int_t)u->have, "state",
                           "uploading"));
    return 0;
}

static int list(const struct request *q, json_t **ret) {
    struct asset_list l = {q->run, request_text(q, "kind"), json_array()};
    int rc = store_assets_each(q->run->store, list_whole, &l);
    if (rc == 0)
        rc = store_uploads_each(q->run->store, list_upload, &l);
    *ret = json_pack("{s:o}", "rows", l.rows);
    return rc;
}

static int rm(const struct request *q, json_t **ret) {
    struct run *r = q->run;
    const char *kind = request_text(q, "kind"), *name = request_text(q, "name");
    struct store_asset a;
    int64_t id = 0;
    CAI_AUTO(mem) char *what = cai_format("%s '%s'", kind, name);
    if (store_upload_find(r->store, kind, name, &id) == 0) {
        CAI_TRY(mine(q, id));
        CAI_TRY(asset_abandon(r, id));
    } else {
        CAI_TRY(store_asset_get(r->store, kind, name, &a));
        CAI_TRY(person_may(r, q->who, a.uid, what));
        CAI_TRY(asset_remove(r, kind, name, request_flag(q, "force")));
    }
    *ret = json_pack("{s:s, s:s}", "kind", kind, "name", name);
    return 0;
}

const struct verb asset_verbs[] = {
    {"asset.begin", false, "kind:s! name:s! files:l!", begin},
    {"asset.chunk", false, "upload:i! file:i! offset:i!", chunk},
    {"asset.finish", false, "kind:s! name:s! hash:s!", finish},
    {"asset.list", false, "kind:s!", list},
    {"asset.rm", true, "kind:s! name:s! force:b", rm},
    {0},
};
