/* safetensors_save.c: writes one safetensors file durably: streamed to a temporary file
 * beside the target, fsync, rename. Order and padding follow the format's own writer:
 * wider dtypes first, then by name, header padded to 8 bytes. Not for reading. */
#include "hf/hf.h"
#include "hf/safetensors.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static int write_order(const void *a, const void *b) {
    const struct hf_tensor *x = *(const struct hf_tensor *const *)a;
    const struct hf_tensor *y = *(const struct hf_tensor *const *)b;
    size_t sx = hf_dtype_size(x->dtype), sy = hf_dtype_size(y->dtype);
    if (sx != sy)
        return sx > sy ? -1 : 1;
    if (x->dtype != y->dtype)
        return x->dtype < y->dtype ? -1 : 1;
    return strcmp(x->name, y->name);
}

static json_t *metadata_object(const char *const *metadata) {
    json_t *o = json_object();
    json_object_set_new(o, "format", json_string("pt")); /* transformers asks for it */
    for (size_t i = 0; metadata && metadata[i]; i += 2) {
        CAI_CHECK(metadata[i + 1]);
        json_object_set_new(o, metadata[i], json_string(metadata[i + 1]));
    }
    return o;
}

static json_t *tensor_object(const struct hf_tensor *t, size_t begin) {
    size_t bytes = hf_dtype_size(t->dtype);
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++) {
        CAI_CHECK(t->shape[i] >= 0);
        CAI_CHECK(!__builtin_mul_overflow(bytes, (size_t)t->shape[i], &bytes));
        json_array_append_new(shape, json_integer(t->shape[i]));
    }
    CAI_CHECK(bytes == t->bytes);
    return json_pack("{sssos[II]}", "dtype", hf_dtype_name(t->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + bytes));
}

/* Length and padded JSON, ready to be written. */
static int make_header(const char *path, const struct hf_tensor *const *order, size_t n,
                       const char *const *metadata, struct cai_buf *ret) {
    json_auto_t *o = json_object();
    json_object_set_new(o, "__metadata__", metadata_object(metadata));
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (json_object_get(o, order[i]->name) ||
            json_object_set_new(o, order[i]->name, tensor_object(order[i], at)) < 0)
            return cai_fail(CAI_EINPUT, "%s: tensor name \"%.100s\" is not UTF-8 or occurs twice",
                            path, order[i]->name);
        at += order[i]->bytes;
    }
    char *text = json_dumps(o, JSON_COMPACT);
    CAI_CHECK(text);
    size_t len = strlen(text), padded = (len + 7) / 8 * 8;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    cai_buf_append(ret, prefix, 8);
    cai_buf_append(ret, text, len);
    free(text);
    while (ret->len < 8 + padded)
        cai_buf_putc(ret, ' ');
    if (padded > HF_MAX_HEADER)
        return cai_fail(CAI_ELIMIT, "%s: a header of %zu bytes, the limit is %zu", path, padded,
                        HF_MAX_HEADER);
    return cai_buf_status(ret);
}

static int write_all(int fd, const char *path, const void *data, size_t len) {
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len < (size_t)1 << 30 ? len : (size_t)1 << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cai_fail_errno("cannot write %s", path);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Where data comes from that is not there. */
struct source {
    hf_fetch fetch;
    void *context;
};

static int write_tensor(int fd, const char *path, const struct hf_tensor *t,
                        const struct source *from) {
    if (t->data || t->bytes == 0)
        return write_all(fd, path, t->data, t->bytes);
    CAI_CHECK(from->fetch);
    CAI_AUTO(mem) void *data = NULL;
    CAI_TRY(from->fetch(from->context, t, &data));
    return write_all(fd, path, data, t->bytes);
}

static int write_file(int fd, const char *path, const struct cai_buf *header,
                      const struct hf_tensor *const *order, size_t n, const struct source *from) {
    CAI_TRY(write_all(fd, path, header->data, header->len));
    for (size_t i = 0; i < n; i++)
        CAI_TRY(write_tensor(fd, path, order[i], from));
    CAI_TRY(CAI_FAILPOINT("weights.sync.before"));
    if (fsync(fd) < 0)
        return cai_fail_errno("cannot make %s durable", path);
    return CAI_FAILPOINT("weights.sync.after");
}

int hf_weights_save(const char *path, const struct hf_tensor *tensors, size_t n,
                    const char *const *metadata) {
    return hf_weights_save_fetched(path, tensors, n, metadata, NULL, NULL);
}

int hf_weights_save_fetched(const char *path, const struct hf_tensor *tensors, size_t n,
                            const char *const *metadata, hf_fetch fetch, void *context) {
    const struct source from = {fetch, context};
    CAI_AUTO(mem) const struct hf_tensor **order = cai_alloc(n * sizeof *order + 1);
    for (size_t i = 0; i < n; i++)
        order[i] = &tensors[i];
    qsort(order, n, sizeof *order, write_order);
    CAI_AUTO(buf) struct cai_buf header = {0};
    CAI_TRY(make_header(path, order, n, metadata, &header));
    CAI_AUTO(mem) char *temporary = cai_format("%s.tmp-%d", path, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return cai_fail_errno("cannot write %s", path);
    int rc = write_file(fd, path, &header, order, n, &from);
    if (close(fd) < 0 && rc == 0)
        rc = cai_fail_errno("cannot write %s", path);
    if (rc == 0)
        rc = cai_file_rename_durable(temporary, path);
    if (rc < 0)
        unlink(temporary);
    return rc;
}
