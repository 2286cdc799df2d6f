/* weights.c: the tensors of a folder by name: model.safetensors, or the shards that
 * model.safetensors.index.json lists. Not for the format of one file (safetensors.c). */
#include "hf/hf.h"
#include "hf/json.h"
#include "hf/safetensors.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>

#define INDEX_MAX_BYTES ((size_t)32 << 20)
#define MAX_SHARDS 4096

struct hf_weights {
    struct hf_file *files;
    size_t num_files;
    struct hf_tensor *tensors; /* by name; names belong to the files */
    size_t n;
};

static int by_name(const void *a, const void *b) {
    const struct hf_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Gathers the tensors of all files and sorts them; a name may occur in one file only. */
static int gather(const char *path, struct hf_weights *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->num_files; i++)
        n += w->files[i].n;
    if (n > HF_MAX_TENSORS)
        return cai_fail(CAI_ELIMIT, "%s: %zu tensors in all, the limit is %d", path, n,
                        HF_MAX_TENSORS);
    w->tensors = cai_alloc(n * sizeof *w->tensors + 1);
    for (size_t i = 0; i < w->num_files; i++) {
        if (w->files[i].n)
            memcpy(w->tensors + w->n, w->files[i].tensors, w->files[i].n * sizeof *w->tensors);
        w->n += w->files[i].n;
    }
    qsort(w->tensors, w->n, sizeof *w->tensors, by_name);
    for (size_t i = 1; i < w->n; i++)
        if (strcmp(w->tensors[i - 1].name, w->tensors[i].name) == 0)
            return cai_fail(CAI_EINPUT, "%s: tensor \"%.100s\" is in more than one shard", path,
                            w->tensors[i].name);
    return 0;
}

int hf_weights_open_file(const char *path, struct hf_weights **ret) {
    struct hf_weights *w = cai_alloc(sizeof *w);
    w->files = cai_alloc(sizeof *w->files);
    w->num_files = 1;
    int rc = hf_file_open(path, w->files);
    if (rc == 0)
        rc = gather(path, w);
    if (rc < 0) {
        hf_weights_close(w);
        return rc;
    }
    *ret = w;
    return 0;
}

/* Shards lie beside their index: a plain file name that ends in .safetensors. */
static int check_shard_name(const char *path, const char *tensor, const json_t *v) {
    const char *s = json_string_value(v);
    size_t n = s ? strlen(s) : 0;
    if (n != json_string_length(v) || n < 13 || n > 255 || strchr(s, '/') || s[0] == '.' ||
        strcmp(s + n - 12, ".safetensors") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: weight_map \"%.100s\" names the file \"%.100s\"; expected a "
                        "plain name such as model-00001-of-00002.safetensors in the same folder",
                        path, tensor, s ? s : hf_json_kind(v));
    return 0;
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names, sorted; the strings belong to the map. */
static int shard_names(const char *path, json_t *map, const char ***ret, size_t *ret_n) {
    CAI_AUTO(mem) const char **names = cai_alloc(json_object_size(map) * sizeof *names + 1);
    size_t n = 0, unique = 0;
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) {
        CAI_TRY(check_shard_name(path, key, v));
        names[n++] = json_string_value(v);
    }
    qsort(names, n, sizeof *names, compare_strings);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || strcmp(names[unique - 1], names[i]) != 0)
            names[unique++] = names[i];
    if (unique == 0 || unique > MAX_SHARDS)
        return cai_fail(unique ? CAI_ELIMIT : CAI_EINPUT,
                        "%s: weight_map names %zu files, expected "
                        "1 to %d",
                        path, unique, MAX_SHARDS);
    *ret_n = unique;
    *ret = names;
    names = NULL;
    return 0;
}

/* The index and the shards must agree: each tensor is where the map says, none is left out. */
static int check_map(const char *path, json_t *map, const char *const *names,
                     const struct hf_weights *w) {
    size_t listed = 0;
    for (size_t i = 0; i < w->num_files; i++)
        for (size_t k = 0; k < w->files[i].n; k++) {
            const char *name = w->files[i].tensors[k].name;
            const char *file = json_string_value(json_object_get(map, name));
            if (!file || strcmp(file, names[i]) != 0)
                return cai_fail(CAI_EINPUT,
                                "%s: tensor \"%.100s\" is in %s, but weight_map says %s", path,
                                name, names[i], file ? file : "nothing of it");
            listed++;
        }
    if (listed == json_object_size(map))
        return 0;
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) if (!hf_weights_find(w, key)) return cai_fail(
        CAI_EINPUT,
        "%s: weight_map says tensor \"%.100s\" is in %s, but it is "
        "not",
        path, key, json_string_value(v));
    return 0;
}

static int open_shards(const char *dir, const char *path, json_t *map, struct hf_weights *w) {
    CAI_AUTO(mem) const char **names = NULL;
    size_t n = 0;
    CAI_TRY(shard_names(path, map, &names, &n));
    w->files = cai_alloc(n * sizeof *w->files);
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(mem) char *shard = cai_path_join(dir, names[i]);
        CAI_TRY(hf_require_file(dir, shard, "a shard that model.safetensors.index.json lists"));
        CAI_TRY(hf_file_open(shard, &w->files[w->num_files]));
        w->num_files++;
    }
    CAI_TRY(gather(path, w));
    return check_map(path, map, names, w);
}

static int open_index(const char *dir, const char *path, struct hf_weights **ret) {
    json_auto_t *index = NULL;
    CAI_TRY(hf_json_load(path, INDEX_MAX_BYTES, HF_JSON_PLAIN, &index));
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        return cai_fail(CAI_EINPUT,
                        "%s: \"weight_map\" must be an object of tensor and file names, "
                        "found %s",
                        path, hf_json_kind(map));
    if (json_object_size(map) > HF_MAX_TENSORS)
        return cai_fail(CAI_ELIMIT, "%s: %zu tensors, the limit is %d", path, json_object_size(map),
                        HF_MAX_TENSORS);
    struct hf_weights *w = cai_alloc(sizeof *w);
    int rc = open_shards(dir, path, map, w);
    if (rc < 0) {
        hf_weights_close(w);
        return rc;
    }
    *ret = w;
    return 0;
}

int hf_weights_open(const char *dir, struct hf_weights **ret) {
    CAI_AUTO(mem) char *single = cai_path_join(dir, "model.safetensors");
    CAI_AUTO(mem) char *index = cai_path_join(dir, "model.safetensors.index.json");
    CAI_AUTO(mem) char *pickle = cai_path_join(dir, "pytorch_model.bin");
    if (cai_file_exists(single))
        return hf_weights_open_file(single, ret);
    if (cai_file_exists(index))
        return open_index(dir, index, ret);
    if (cai_file_exists(pickle))
        return cai_fail(CAI_EINPUT,
                        "%s: pickled weights are never read; save the checkpoint with "
                        "save_pretrained(…, safe_serialization=True)",
                        pickle);
    return hf_require_file(dir, single,
                           "the weights, there or in the shards of "
                           "model.safetensors.index.json");
}

void hf_weights_close(struct hf_weights *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->num_files; i++)
        hf_file_close(&w->files[i]);
    free(w->files);
    free(w->tensors);
    free(w);
}

size_t hf_weights_count(const struct hf_weights *w) {
    return w->n;
}

const struct hf_tensor *hf_weights_at(const struct hf_weights *w, size_t i) {
    CAI_CHECK(i < w->n);
    return &w->tensors[i];
}

const struct hf_tensor *hf_weights_find(const struct hf_weights *w, const char *name) {
    struct hf_tensor key = {.name = name};
    return w->n ? bsearch(&key, w->tensors, w->n, sizeof key, by_name) : NULL;
}

const char *hf_weights_metadata(const struct hf_weights *w, const char *key) {
    return w->num_files ? json_string_value(json_object_get(w->files[0].metadata, key)) : NULL;
}
