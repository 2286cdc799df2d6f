/* shards.c: writes the weights of a folder: one file, or shards and their index, as
 * transformers 4.57 names them. Not for: the format of one file
 * (safetensors_save.c), reading (weights.c). */
#include "hf/hf.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

/* Which shard a tensor belongs to: full ones are never gone back to. */
struct split {
    const struct hf_tensor *tensors;
    size_t n, *first; /* first[i]: the first tensor of shard i; first[shards] = n */
    size_t shards;
};

static void split_make(const struct hf_tensor *tensors, size_t n, size_t limit, struct split *ret) {
    size_t bytes = 0;
    bool alone = false; /* the shard before is one tensor larger than the limit */
    *ret = (struct split){.tensors = tensors, .n = n,
                          .first = cai_alloc((n + 2) * sizeof *ret->first)};
    for (size_t i = 0; i < n; i++) {
        bool large = tensors[i].bytes > limit;
        if (i == 0 || large || alone || bytes + tensors[i].bytes > limit) {
            ret->first[ret->shards++] = i;
            bytes = 0;
        }
        bytes += tensors[i].bytes;
        alone = large;
    }
    ret->shards = ret->shards ? ret->shards : 1; /* no tensors: an empty file */
    ret->first[ret->shards] = n;
}

static void shard_name(size_t i, size_t shards, char name[64]) {
    if (shards == 1)
        snprintf(name, 64, SINGLE);
    else
        snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", i + 1, shards);
}

static int64_t numel(const struct hf_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

static int write_index(const char *dir, const struct split *s) {
    json_t *map = json_object();
    json_int_t bytes = 0, elements = 0;
    for (size_t i = 0; i < s->shards; i++) {
        char name[64];
        shard_name(i, s->shards, name);
        for (size_t k = s->first[i]; k < s->first[i + 1]; k++) {
            json_object_set_new(map, s->tensors[k].name, json_string(name));
            bytes += (json_int_t)s->tensors[k].bytes;
            elements += numel(&s->tensors[k]);
        }
    }
    json_auto_t *o = json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_parameters", elements,
                               "total_size", bytes, "weight_map", map);
    CAI_CHECK(o);
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    CAI_AUTO(mem) char *line = cai_format("%s\n", text);
    CAI_AUTO(mem) char *path = cai_path_join(dir, INDEX);
    return cai_file_write_atomic(path, line, strlen(line));
}

/* Another way in which weights may lie here, which readers would take instead or as well. */
static bool is_stale(const char *name, size_t shards) {
    size_t i, of;
    int end = 0;
    if (strcmp(name, SINGLE) == 0)
        return shards > 1;
    if (strcmp(name, INDEX) == 0)
        return shards == 1;
    return sscanf(name, "model-%5zu-of-%5zu.safetensors%n", &i, &of, &end) == 2 && end > 0 &&
           name[end] == '\0' && (shards == 1 || of != shards);
}

static int remove_stale(const char *dir, size_t shards) {
    DIR *d = opendir(dir);
    if (!d)
        return cai_fail_errno("%s", dir);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        CAI_AUTO(mem) char *path = cai_path_join(dir, e->d_name);
        if (is_stale(e->d_name, shards) && unlink(path) < 0)
            rc = cai_fail_errno("removing %s", path);
    }
    closedir(d);
    return rc;
}

int hf_weights_save_folder(const char *dir, const struct hf_tensor *tensors, size_t n,
                           size_t limit, hf_fetch fetch, void *context) {
    struct split s;
    int rc = 0;
    split_make(tensors, n, limit, &s);
    for (size_t i = 0; rc == 0 && i < s.shards; i++) {
        char name[64];
        shard_name(i, s.shards, name);
        CAI_AUTO(mem) char *path = cai_path_join(dir, name);
        rc = hf_weights_save_fetched(path, tensors + s.first[i], s.first[i + 1] - s.first[i], NULL,
                                     fetch, context);
    }
    if (rc == 0 && s.shards > 1)
        rc = write_index(dir, &s);
    if (rc == 0)
        rc = remove_stale(dir, s.shards);
    free(s.first);
    return rc;
}
