/* safetensors.c: the strict reader of one file: u64 length, JSON header, data. Every
 * byte of the data belongs to exactly one tensor. Not for folders and shards (weights.c),
 * nor for writing (safetensors_save.c). */
#include "hf/safetensors.h"
#include "hf/json.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [HF_F32] = {"F32", 4}, [HF_BF16] = {"BF16", 2}, [HF_F16] = {"F16", 2}, [HF_F64] = {"F64", 8},
    [HF_I64] = {"I64", 8}, [HF_I32] = {"I32", 4},   [HF_I16] = {"I16", 2}, [HF_I8] = {"I8", 1},
    [HF_U8] = {"U8", 1},   [HF_BOOL] = {"BOOL", 1},
};

size_t hf_dtype_size(enum hf_dtype t) {
    CAI_CHECK((size_t)t < CAI_COUNT(dtypes));
    return dtypes[t].size;
}

const char *hf_dtype_name(enum hf_dtype t) {
    CAI_CHECK((size_t)t < CAI_COUNT(dtypes));
    return dtypes[t].name;
}

static int parse_dtype(const char *path, const char *name, const json_t *o, enum hf_dtype *ret) {
    const char *s = json_string_value(json_object_get(o, "dtype"));
    for (size_t i = 0; s && i < CAI_COUNT(dtypes); i++)
        if (strcmp(s, dtypes[i].name) == 0) {
            *ret = (enum hf_dtype)i;
            return 0;
        }
    return cai_fail(CAI_EINPUT,
                    "%s: tensor \"%.100s\": dtype %.32s is not supported; expected F64, "
                    "F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL",
                    path, name, s ? s : hf_json_kind(json_object_get(o, "dtype")));
}

/* Fills ndim, shape and, from them, the number of bytes the tensor must have. */
static int parse_shape(const char *path, const json_t *o, struct hf_tensor *t) {
    const json_t *list = json_object_get(o, "shape");
    if (!json_is_array(list) || json_array_size(list) > CAI_COUNT(t->shape))
        return cai_fail(CAI_EINPUT,
                        "%s: tensor \"%.100s\": shape must be a list of at most %zu "
                        "sizes",
                        path, t->name, CAI_COUNT(t->shape));
    t->ndim = (int)json_array_size(list);
    t->bytes = hf_dtype_size(t->dtype);
    for (int i = 0; i < t->ndim; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        int64_t d = json_is_integer(v) ? json_integer_value(v) : -1;
        if (d < 0)
            return cai_fail(CAI_EINPUT,
                            "%s: tensor \"%.100s\": shape holds something other than a "
                            "size of 0 or more",
                            path, t->name);
        t->shape[i] = d;
        if (__builtin_mul_overflow(t->bytes, (size_t)d, &t->bytes))
            return cai_fail(CAI_EINPUT, "%s: tensor \"%.100s\": the product of its shape overflows",
                            path, t->name);
    }
    return 0;
}

static int parse_offsets(const char *path, const json_t *o, size_t data_size, struct hf_tensor *t,
                         const char *data) {
    const json_t *list = json_object_get(o, "data_offsets");
    const json_t *b = json_array_get(list, 0), *e = json_array_get(list, 1);
    if (json_array_size(list) != 2 || !json_is_integer(b) || !json_is_integer(e) ||
        json_integer_value(b) < 0)
        return cai_fail(CAI_EINPUT, "%s: tensor \"%.100s\": data_offsets must be [begin, end]",
                        path, t->name);
    int64_t begin = json_integer_value(b), end = json_integer_value(e);
    if (end < begin || (uint64_t)end > data_size)
        return cai_fail(CAI_EINPUT,
                        "%s: tensor \"%.100s\": data_offsets [%lld, %lld] are out of "
                        "range; the file has %zu bytes of data (truncated?)",
                        path, t->name, (long long)begin, (long long)end, data_size);
    if ((uint64_t)(end - begin) != t->bytes)
        return cai_fail(CAI_EINPUT,
                        "%s: tensor \"%.100s\": data_offsets span %lld bytes, but shape "
                        "and dtype %s need %zu",
                        path, t->name, (long long)(end - begin), hf_dtype_name(t->dtype), t->bytes);
    t->data = data + begin;
    return 0;
}

static int parse_tensor(const char *path, const char *key, const json_t *o, const char *data,
                        size_t data_size, struct hf_tensor *t) {
    if (!json_is_object(o) || json_object_size(o) != 3)
        return cai_fail(CAI_EINPUT,
                        "%s: tensor \"%.100s\": expected exactly dtype, shape and "
                        "data_offsets",
                        path, key);
    t->name = key; /* for messages; the caller keeps a copy */
    CAI_TRY(parse_dtype(path, key, o, &t->dtype));
    CAI_TRY(parse_shape(path, o, t));
    return parse_offsets(path, o, data_size, t, data);
}

static int check_metadata(const char *path, const json_t *meta) {
    if (!json_is_object(meta))
        return cai_fail(CAI_EINPUT, "%s: __metadata__ must be an object of strings, found %s", path,
                        hf_json_kind(meta));
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)meta, key, v) if (!json_is_string(v)) return cai_fail(
        CAI_EINPUT, "%s: __metadata__ \"%.100s\" must be a string, found %s", path, key,
        hf_json_kind(v));
    return 0;
}

static int by_offset(const void *a, const void *b) {
    const struct hf_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty tensors first */
}

/* Sorted by offset, each begins where the one before ends, and the last ends the file. */
static int check_cover(const char *path, const struct hf_file *f, const char *data,
                       size_t data_size) {
    size_t at = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct hf_tensor *t = &f->tensors[i];
        size_t begin = (size_t)((const char *)t->data - data);
        if (begin != at)
            return cai_fail(CAI_EINPUT,
                            "%s: tensor \"%.100s\" begins at byte %zu of the data, but "
                            "the one before ends at %zu (%s)",
                            path, t->name, begin, at, begin > at ? "a hole" : "they overlap");
        at += t->bytes;
    }
    if (at != data_size)
        return cai_fail(CAI_EINPUT,
                        "%s: the tensors end at byte %zu of the data, but the file has "
                        "%zu",
                        path, at, data_size);
    return 0;
}

static int parse_header(const char *path, json_t *header, const char *data, size_t data_size,
                        struct hf_file *f) {
    f->tensors = cai_alloc(json_object_size(header) * sizeof *f->tensors + 1);
    const char *key;
    json_t *v;
    json_object_foreach(header, key, v) {
        if (strcmp(key, "__metadata__") == 0) {
            CAI_TRY(check_metadata(path, v));
            f->metadata = json_incref(v);
            continue;
        }
        struct hf_tensor t = {0};
        CAI_TRY(parse_tensor(path, key, v, data, data_size, &t));
        t.name = cai_strdup(key);
        f->tensors[f->n++] = t;
    }
    qsort(f->tensors, f->n, sizeof *f->tensors, by_offset);
    return check_cover(path, f, data, data_size);
}

/* Members of the outermost object, counted before anything is allocated for them. */
static size_t count_members(const char *json, size_t len) {
    size_t n = 0;
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted) {
            if (json[i] == '\\')
                i++; /* what is escaped ends nothing */
            else
                quoted = json[i] != '"';
        } else if (json[i] == '"') {
            quoted = true;
        } else {
            depth += (json[i] == '{' || json[i] == '[') - (json[i] == '}' || json[i] == ']');
            n += depth == 1 && json[i] == ':';
        }
    }
    return n;
}

int hf_file_parse(const char *path, const void *bytes, size_t size, struct hf_file *ret) {
    const unsigned char *p = bytes;
    if (size < 8)
        return cai_fail(CAI_EINPUT, "%s: %zu bytes; a safetensors file has at least 8 (truncated?)",
                        path, size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    if (n > HF_MAX_HEADER)
        return cai_fail(CAI_ELIMIT,
                        "%s: the header claims %llu bytes, the limit is %zu; is this a "
                        "safetensors file?",
                        path, (unsigned long long)n, HF_MAX_HEADER);
    if (n > size - 8)
        return cai_fail(CAI_EINPUT,
                        "%s: the header claims %llu bytes, the file has %zu "
                        "(truncated?)",
                        path, (unsigned long long)n, size);
    if (n == 0 || p[8] != '{')
        return cai_fail(CAI_EINPUT, "%s: the header must begin with '{'", path);
    size_t members = count_members((const char *)p + 8, n);
    if (members > HF_MAX_TENSORS + 1) /* and __metadata__ */
        return cai_fail(CAI_ELIMIT, "%s: %zu tensors, the limit is %d", path, members,
                        HF_MAX_TENSORS);
    json_auto_t *header = NULL;
    CAI_TRY(hf_json_parse(path, (const char *)p + 8, n, HF_JSON_PLAIN, &header));
    struct hf_file f = {0};
    int rc = parse_header(path, header, (const char *)p + 8 + n, size - 8 - n, &f);
    if (rc < 0) {
        hf_file_close(&f);
        return rc;
    }
    *ret = f;
    return 0;
}

static int map_file(const char *path, int fd, struct hf_file *ret) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return cai_fail_errno("%s", path);
    if (!S_ISREG(st.st_mode))
        return cai_fail(CAI_EINPUT, "%s is not a regular file; expected safetensors", path);
    size_t size = (size_t)st.st_size;
    void *map = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (map == MAP_FAILED)
        return cai_fail_errno("cannot map %s", path);
    int rc = hf_file_parse(path, map, size, ret);
    if (rc < 0) {
        if (map)
            munmap(map, size);
        return rc;
    }
    ret->map = map;
    ret->size = size;
    return 0;
}

int hf_file_open(const char *path, struct hf_file *ret) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cai_fail_errno("%s", path);
    int rc = map_file(path, fd, ret);
    close(fd);
    return rc;
}

void hf_file_close(struct hf_file *f) {
    for (size_t i = 0; i < f->n; i++)
        free((char *)f->tensors[i].name);
    free(f->tensors);
    json_decref(f->metadata);
    if (f->map)
        munmap(f->map, f->size);
    *f = (struct hf_file){0};
}
