/* checkpoint.c: see checkpoint.h. */
#include "learn/checkpoint.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { JSON_MAX = 16 << 20, NAME_MAX_BYTES = 64, WORLD_MAX = 4096 };

static int rank_of(const struct checkpoint *c) {
    return c->comm != NULL ? comm_rank(c->comm) : 0;
}

static int world_of(const struct checkpoint *c) {
    return c->comm != NULL ? comm_world(c->comm) : 1;
}

/* Every rank learns whether any failed, so that none waits for a dead collective. */
static int agree(const struct checkpoint *c, int rc) {
    if (c->comm == NULL || world_of(c) == 1)
        return rc;
    int64_t failed = rc < 0 ? -(int64_t)rc : 0;
    int r = comm_all_reduce_max(c->comm, &failed, 1);
    if (rc < 0 || r < 0)
        return rc < 0 ? rc : r;
    if (failed > 0)
        return cai_fail(-(int)failed, "another rank could not take part in the checkpoint");
    return 0;
}

/* ---- tensors -------------------------------------------------------------------------- */

static char *tensor_file(const char *folder, int rank) {
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "tensors-%d.safetensors", rank);
    return cai_path_join(folder, name);
}

/* What one tensor's elements are of the whole: its ranges, or one of everything. */
static const struct shard_range *ranges_of(const struct checkpoint_tensor *x,
                                           struct shard_range *whole, int *ret_n) {
    *whole = (struct shard_range){0, ct_numel(x->t), 0};
    *ret_n = x->ranges ? x->n_ranges : 1;
    return x->ranges ? x->ranges : whole;
}

/* What a rank writes: names and host copies. */
struct written {
    struct hf_tensor *tensors;
    char **names;
    float **data; /* one for each tensor of the state */
    size_t n, n_data;
};

static void written_free(struct written *w) {
    for (size_t i = 0; i < w->n; i++)
        free(w->names[i]);
    for (size_t i = 0; i < w->n_data; i++)
        free(w->data[i]);
    free(w->tensors);
    free(w->names);
    free(w->data);
}

static int add_written(const struct checkpoint_tensor *x, struct written *w) {
    struct shard_range whole;
    int n;
    int64_t numel = ct_numel(x->t);
    const struct shard_range *r = ranges_of(x, &whole, &n);
    float *data = w->data[w->n_data++] = cai_realloc(NULL, (size_t)numel + 1, sizeof *data);
    for (int i = 0; i < n; i++) {
        int64_t len = r[i].to - r[i].from;
        if (len == 0)
            continue;
        w->names[w->n] = cai_format("%s@%lld", x->name, (long long)r[i].from);
        w->tensors[w->n] = (struct hf_tensor){.name = w->names[w->n], .dtype = HF_F32, .ndim = 1,
                                              .shape = {len}, .data = data + r[i].at,
                                              .bytes = (size_t)len * sizeof *data};
        w->n++;
    }
    return ct_read_f32(x->t, data, numel);
}

static int write_tensors(const struct checkpoint *c, const char *folder,
                         const struct checkpoint_tensor *tensors, size_t n) {
    size_t most = 1;
    int rc = 0;
    for (size_t i = 0; i < n; i++)
        most += tensors[i].ranges ? (size_t)tensors[i].n_ranges : 1;
    struct written w = {.tensors = cai_alloc(most * sizeof *w.tensors),
                        .names = cai_alloc(most * sizeof *w.names),
                        .data = cai_alloc((n + 1) * sizeof *w.data)};
    for (size_t i = 0; i < n && rc == 0; i++)
        if (tensors[i].ranges || rank_of(c) == 0)
            rc = add_written(&tensors[i], &w);
    CAI_AUTO(mem) char *path = tensor_file(folder, rank_of(c));
    if (rc == 0 && w.n > 0)
        rc = hf_weights_save(path, w.tensors, w.n, NULL);
    written_free(&w);
    return rc;
}

/* The element that a part of `name` begins with, or -1 for another tensor. */
static int64_t part_start(const struct hf_tensor *t, const char *name) {
    size_t len = strlen(name);
    char *end;
    if (strncmp(t->name, name, len) != 0 || t->name[len] != '@' || t->dtype != HF_F32)
        return -1;
    long long from = strtoll(t->name + len + 1, &end, 10);
    return *end == '\0' && from >= 0 ? (int64_t)from : -1;
}

/* Copies what the part, which begins with element `from`, has of x's elements into
 * data [numel of x]; how many those are is added. */
static void take_part(const struct hf_tensor *part, int64_t from, const struct checkpoint_tensor *x,
                      float *data, int64_t *taken) {
    struct shard_range whole;
    int n;
    const struct shard_range *r = ranges_of(x, &whole, &n);
    int64_t to = from + (int64_t)(part->bytes / sizeof *data);
    for (int i = 0; i < n; i++) {
        int64_t low = from > r[i].from ? from : r[i].from, high = to < r[i].to ? to : r[i].to;
        if (low >= high)
            continue;
        /* The mapping may be unaligned. */
        memcpy(data + r[i].at + low - r[i].from,
               (const char *)part->data + (size_t)(low - from) * sizeof *data,
               (size_t)(high - low) * sizeof *data);
        *taken += high - low;
    }
}

/* From the files of all ranks that wrote the state. */
struct parts {
    const char *folder;
    struct hf_weights **files; /* [n]; NULL for a rank that had nothing to write */
    int n;
};

static int open_parts(struct parts *p) {
    int rc = 0;
    p->files = cai_alloc((size_t)p->n * sizeof *p->files);
    for (int i = 0; i < p->n && rc == 0; i++) {
        CAI_AUTO(mem) char *path = tensor_file(p->folder, i);
        if (cai_file_exists(path))
            rc = hf_weights_open_file(path, &p->files[i]);
    }
    return rc;
}

static void close_parts(struct parts *p) {
    for (int i = 0; i < p->n && p->files; i++)
        hf_weights_close(p->files[i]);
    free(p->files);
}

static int fill_tensor(const struct parts *p, const struct checkpoint_tensor *x) {
    int64_t numel = ct_numel(x->t), taken = 0;
    CAI_AUTO(mem) float *data = cai_realloc(NULL, (size_t)numel + 1, sizeof *data);
    for (int i = 0; i < p->n; i++)
        for (size_t k = 0; p->files[i] && k < hf_weights_count(p->files[i]); k++) {
            const struct hf_tensor *part = hf_weights_at(p->files[i], k);
            int64_t from = part_start(part, x->name);
            if (from >= 0)
                take_part(part, from, x, data, &taken);
        }
    if (taken != numel)
        return cai_fail(CAI_EINPUT, "%s: tensor %s has %lld of %lld elements there; the checkpoint "
                        "belongs to another model", p->folder, x->name, (long long)taken,
                        (long long)numel);
    return ct_write_host_(x->t, CT_F32, data);
}

static int read_tensors(const char *folder, int world, const struct checkpoint_tensor *tensors,
                        size_t n) {
    struct parts p = {.folder = folder, .n = world};
    int rc = open_parts(&p);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = fill_tensor(&p, &tensors[i]);
    close_parts(&p);
    return rc;
}

/* ---- manifest --------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int ordinary(const struct dirent *d) {
    return d->d_name[0] != '.' && strcmp(d->d_name, "MANIFEST.json") != 0;
}

static int manifest_entry(const char *folder, const char *name, json_t *files) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    char hash[CAI_SHA256_HEX];
    struct stat st;
    if (stat(path, &st) != 0)
        return cai_fail_errno("%s", path);
    CAI_TRY(cai_file_sha256(path, hash));
    json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", name, "bytes",
                                           (json_int_t)st.st_size, "sha256", hash));
    return 0;
}

static int write_json(const char *folder, const char *name, const json_t *o,
                      char ret_hash[CAI_SHA256_HEX]) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS);
    CAI_CHECK(text != NULL);
    if (ret_hash != NULL)
        cai_sha256(text, strlen(text), ret_hash);
    return cai_file_write_atomic(path, text, strlen(text));
}

static int write_manifest(const char *folder, char ret_hash[CAI_SHA256_HEX]) {
    struct dirent **list = NULL;
    int n = scandir(folder, &list, ordinary, by_name), rc = 0;
    if (n < 0)
        return cai_fail_errno("%s", folder);
    json_t *files = json_array();
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = manifest_entry(folder, list[i]->d_name, files);
        free(list[i]);
    }
    free(list);
    json_t *o = json_pack("{s:i, s:o}", "format", 1, "files", files);
    if (rc == 0)
        rc = write_json(folder, "MANIFEST.json", o, ret_hash);
    json_decref(o);
    return rc;
}

static int read_json(const char *folder, const char *name, const char *hash, json_t **ret) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    CAI_AUTO(buf) struct cai_buf text = {0};
    char found[CAI_SHA256_HEX];
    json_error_t e;
    CAI_TRY(cai_file_read(path, JSON_MAX, &text));
    cai_sha256(text.data, text.len, found);
    if (hash != NULL && hash[0] != '\0' && strcmp(hash, found) != 0)
        return cai_fail(CAI_EINPUT, "%s: its SHA-256 is %s, %s was committed", path, found, hash);
    *ret = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        return cai_fail(CAI_EINPUT, "%s:%d: not a JSON object: %s", path, e.line, e.text);
    }
    return 0;
}

static int check_file(const char *folder, const json_t *entry) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *hash = json_string_value(json_object_get(entry, "sha256"));
    if (name == NULL || hash == NULL || strchr(name, '/') != NULL)
        return cai_fail(CAI_EINPUT, "%s: MANIFEST.json has a malformed entry", folder);
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    char found[CAI_SHA256_HEX];
    CAI_TRY(cai_file_sha256(path, found));
    if (strcmp(found, hash) != 0)
        return cai_fail(CAI_EINPUT, "%s: damaged, its SHA-256 is %s, the manifest says %s", path,
                        found, hash);
    return 0;
}

static int check_manifest(const char *folder, const char *hash) {
    json_t *o = NULL, *entry;
    size_t i;
    CAI_TRY(read_json(folder, "MANIFEST.json", hash, &o));
    int rc = json_array_size(json_object_get(o, "files")) > 0
                 ? 0
                 : cai_fail(CAI_EINPUT, "%s: MANIFEST.json lists no files", folder);
    json_array_foreach(json_object_get(o, "files"), i, entry) {
        if (rc == 0)
            rc = check_file(folder, entry);
    }
    json_decref(o);
    return rc;
}

/* ---- folders ------------------------------------------------------------------------------ */

static bool step_of(const char *name, unsigned long long *ret) {
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9')
        return false;
    *ret = strtoull(name + 5, &end, 10);
    return *end == '\0';
}

static int newest_first(const void *x, const void *y) {
    const unsigned long long *a = x, *b = y;
    return *a > *b ? -1 : *a < *b;
}

/* The oldest step that stays: the keep-th newest of those up to `step`. */
static unsigned long long oldest_kept(struct dirent *const *list, int n, uint64_t step,
                                      uint32_t keep) {
    CAI_AUTO(mem) unsigned long long *steps = cai_realloc(NULL, (size_t)n + 1, sizeof *steps);
    size_t found = 0;
    for (int i = 0; i < n; i++)
        if (step_of(list[i]->d_name, &steps[found]) && steps[found] <= step)
            found++;
    qsort(steps, found, sizeof *steps, newest_first);
    size_t last = keep ? keep - 1 : 0;
    return found == 0 ? 0 : steps[last < found ? last : found - 1];
}

/* caid leaves this file in a state that a person pinned. */
static bool is_pinned(const char *state) {
    CAI_AUTO(mem) char *marker = cai_path_join(state, "PINNED");
    return cai_file_exists(marker);
}

/* Removes all but the newest `keep` folders up to `step`; later ones are of a future that
 * was rolled back, and go too. What is pinned stays. */
static int prune(const char *folder, uint64_t step, uint32_t keep) {
    struct dirent **list = NULL;
    int n = scandir(folder, &list, NULL, by_name), rc = 0;
    if (n < 0)
        return cai_fail_errno("%s", folder);
    unsigned long long oldest = oldest_kept(list, n, step, keep), x;
    for (int i = 0; i < n; i++) {
        if (rc == 0 && step_of(list[i]->d_name, &x) && (x < oldest || x > step)) {
            CAI_AUTO(mem) char *path = cai_path_join(folder, list[i]->d_name);
            rc = is_pinned(path) ? 0 : cai_dir_remove(path);
        }
        free(list[i]);
    }
    free(list);
    return rc;
}

/* ---- save ----------------------------------------------------------------------------------- */

static int begin(const struct checkpoint *c, const char *temporary) {
    if (rank_of(c) != 0)
        return 0;
    CAI_TRY(cai_dir_make(c->folder));
    CAI_TRY(cai_dir_remove(temporary));
    return cai_dir_make(temporary);
}

static int finish(const struct checkpoint *c, uint64_t step, const char *temporary,
                  const char *final, const json_t *state) {
    char hash[CAI_SHA256_HEX];
    if (rank_of(c) != 0)
        return 0;
    json_t *copy = json_copy((json_t *)(uintptr_t)state);
    json_object_set_new(copy, "world", json_integer(world_of(c)));
    int rc = write_json(temporary, "state.json", copy, NULL);
    json_decref(copy);
    CAI_TRY(rc);
    CAI_TRY(write_manifest(temporary, hash));
    CAI_TRY(cai_file_sync(temporary));
    CAI_TRY(cai_dir_remove(final));
    CAI_TRY(cai_file_rename_durable(temporary, final));
    if (c->host != NULL && c->host->commit != NULL)
        CAI_TRY(c->host->commit(c->host->context, final, hash, step));
    return prune(c->folder, step, c->keep);
}

int checkpoint_save(const struct checkpoint *c, uint64_t step,
                    const struct checkpoint_tensor *tensors, size_t n, const json_t *state) {
    CAI_AUTO(mem) char *final = cai_format("%s/step-%llu", c->folder, (unsigned long long)step);
    CAI_AUTO(mem) char *temporary = cai_format("%s.tmp", final);
    CAI_TRY(agree(c, begin(c, temporary)));
    CAI_TRY(agree(c, write_tensors(c, temporary, tensors, n)));
    return agree(c, finish(c, step, temporary, final, state));
}

/* ---- load ------------------------------------------------------------------------------------ */

static int load(const char *folder, const char *hash,
                const struct checkpoint_tensor *tensors, size_t n, json_t **ret_state) {
    CAI_TRY(check_manifest(folder, hash));
    CAI_TRY(read_json(folder, "state.json", NULL, ret_state));
    json_int_t world = json_integer_value(json_object_get(*ret_state, "world"));
    if (world < 1 || world > WORLD_MAX)
        return cai_fail(CAI_EINPUT, "%s: state.json does not say how many ranks wrote it", folder);
    return read_tensors(folder, (int)world, tensors, n);
}

int checkpoint_load(const struct checkpoint *c, const char *folder, const char *manifest_hash,
                    const struct checkpoint_tensor *tensors, size_t n, json_t **ret_state) {
    *ret_state = NULL;
    int rc = agree(c, load(folder, manifest_hash, tensors, n, ret_state));
    if (rc < 0) {
        json_decref(*ret_state);
        *ret_state = NULL;
    }
    return rc;
}

/* ---- trainers --------------------------------------------------------------------------------- */

/* Names live as long as the program; there are two prefixes. */
static const char *const policy_names[] = {"policy.flat", "policy.exp_avg", "policy.exp_avg_sq"};
static const char *const value_names[] = {"value.flat", "value.exp_avg", "value.exp_avg_sq"};

size_t checkpoint_add_trainer(const struct trainer *t, const char *prefix,
                              struct checkpoint_tensor *tensors, size_t n, json_t *state) {
    struct trainer_state s;
    trainer_state(t, &s);
    const char *const *names = strcmp(prefix, "value") == 0 ? value_names : policy_names;
    const struct shard_range *ranges = s.sharded ? s.ranges : NULL;
    tensors[n++] = (struct checkpoint_tensor){.name = names[0], .t = s.flat};
    tensors[n++] = (struct checkpoint_tensor){names[1], s.exp_avg, ranges, s.n_ranges};
    tensors[n++] = (struct checkpoint_tensor){names[2], s.exp_avg_sq, ranges, s.n_ranges};
    json_object_set_new(state, prefix, json_pack("{s:I, s:I}", "step", (json_int_t)s.step, "bad",
                                                 (json_int_t)s.bad));
    return n;
}

int checkpoint_add_base(const struct trainer *t, const char *prefix, json_t *state) {
    struct model *base = trainer_model(t)->base;
    const char *hash;
    if (base == NULL)
        return 0;
    CAI_TRY(model_folder_hash(base, &hash));
    json_object_set_new(json_object_get(state, prefix), "base",
                        json_pack("{s:s, s:s}", "path", base->dir ? base->dir : "", "hash", hash));
    return 0;
}

static int check_base(const struct trainer *t, const char *prefix, const json_t *o) {
    struct model *base = trainer_model(t)->base;
    const json_t *said = json_object_get(o, "base");
    const char *hash, *was = json_string_value(json_object_get(said, "hash"));
    if (!base != !said)
        return cai_fail(CAI_EINPUT, "state.json: \"%s\" is the state of %s; this run trains %s",
                        prefix, said ? "an adapter" : "whole weights",
                        base ? "an adapter" : "whole weights");
    if (base == NULL)
        return 0;
    CAI_TRY(model_folder_hash(base, &hash));
    if (was == NULL || strcmp(was, hash) != 0)
        return cai_fail(CAI_EINPUT, "state.json: \"%s\" was trained over a base with hash %.12s…; "
                        "%s has %.12s…", prefix, was ? was : "", base->dir ? base->dir : "this one",
                        hash);
    return 0;
}

int checkpoint_set_trainer(struct trainer *t, const char *prefix, const json_t *state) {
    const json_t *o = json_object_get(state, prefix);
    const json_t *step = json_object_get(o, "step"), *skipped = json_object_get(o, "bad");
    if (!json_is_integer(step) || !json_is_integer(skipped))
        return cai_fail(CAI_EINPUT, "state.json: \"%s\" has no counts", prefix);
    CAI_TRY(check_base(t, prefix, o));
    trainer_set_counts(t, json_integer_value(step), json_integer_value(skipped));
    return 0;
}
