/* merge_adapter.c: a low-rank adapter and its base made one folder of whole weights, for
 * programs that know nothing of adapters: w + scale · b a for every matrix that has the two
 * (Hu et al. 2021, §4.1). Not for: running adapters unmerged (model/layer.c). */
#include "hf/adapter.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <stdlib.h>
#include <string.h>

/* One tensor of the merged folder, and the factors of its product where it has one. A fused
 * matrix is one tensor here: its A is shared and its B has the rows of all parts. */
struct merged {
    const struct hf_param *p;
    const struct hf_tensor *base, *a, *b; /* a, b: [r, in] [out, r]; NULL without */
};

struct merge {
    struct hf_adapter how;
    struct hf_config config; /* the base's; as it is written */
    struct hf_weights *base, *adapter;
    struct hf_param *params, *factors;
    int n_params, n_factors;
    struct merged *list;
    struct hf_tensor *tensors; /* of the list, without data */
    size_t n;
};

static void merge_free(struct merge *m) {
    hf_weights_close(m->base);
    hf_weights_close(m->adapter);
    free(m->params);
    free(m->factors);
    free(m->list);
    free(m->tensors);
}

static int find_factors(const struct merge *m, struct merged *x) {
    for (int i = 0; i < m->n_factors; i++) {
        const struct hf_param *f = &m->factors[i];
        if (f->slot != x->p->slot || f->layer != x->p->layer)
            continue;
        if (f->matrix == HF_LORA_A)
            CAI_TRY(hf_adapter_find(m->adapter, f, &x->a));
        else
            CAI_TRY(hf_adapter_find(m->adapter, f, &x->b));
    }
    return 0;
}

static int add_tensor(struct merge *m, const struct hf_param *p) {
    struct merged x = {.p = p};
    CAI_TRY(hf_param_find(m->base, &m->config, p, &x.base));
    if (m->n && m->list[m->n - 1].base == x.base) /* another part of a fused one */
        return 0;
    CAI_TRY(find_factors(m, &x));
    CAI_CHECK(!x.a == !x.b);
    struct hf_tensor t = {.name = p->name, .dtype = HF_F32, .bytes = sizeof(float)};
    t.ndim = hf_param_file_shape(p, t.shape);
    for (int i = 0; i < t.ndim; i++)
        t.bytes *= (size_t)t.shape[i];
    m->list[m->n] = x;
    m->tensors[m->n++] = t;
    return 0;
}

static int open_all(const char *dir, struct merge *m) {
    CAI_AUTO(mem) char *base = NULL;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "adapter_model.safetensors");
    CAI_TRY(hf_adapter_load(dir, &m->how));
    if (m->how.scalar)
        return cai_fail(CAI_EINPUT, "%s: the adapter of a preference model or classifier is not "
                        "merged; PEFT opens it over its base", dir);
    CAI_TRY(hf_adapter_base(dir, &m->how, &base));
    CAI_TRY(hf_config_load(base, &m->config));
    CAI_TRY(hf_weights_open(base, &m->base));
    CAI_TRY(hf_weights_open_file(path, &m->adapter));
    CAI_TRY(hf_params(&m->config, false, &m->params, &m->n_params));
    CAI_TRY(hf_adapter_params(&m->config, &m->how, &m->factors, &m->n_factors));
    CAI_TRY(hf_adapter_check_unused(m->adapter, m->factors, m->n_factors));
    m->list = cai_alloc((size_t)m->n_params * sizeof *m->list + 1);
    m->tensors = cai_alloc((size_t)m->n_params * sizeof *m->tensors + 1);
    for (int i = 0; i < m->n_params; i++)
        CAI_TRY(add_tensor(m, &m->params[i]));
    m->config.dtype = HF_F32;
    return 0;
}

/* w [out, in] (transposed: [in, out]) += scale · b a, row by row of b. */
static void add_product(const struct merge *m, const struct merged *x, float *w) {
    int64_t out = x->b->shape[0], in = x->a->shape[1], r = m->how.rank;
    float *a = cai_realloc(NULL, (size_t)(r * in), sizeof *a);
    float *b = cai_realloc(NULL, (size_t)(out * r), sizeof *b);
    float *row = cai_realloc(NULL, (size_t)in, sizeof *row);
    double scale = hf_adapter_scale(&m->how);
    hf_tensor_floats(x->a, 0, a, r * in);
    hf_tensor_floats(x->b, 0, b, out * r);
    for (int64_t i = 0; i < out; i++) {
        memset(row, 0, (size_t)in * sizeof *row);
        for (int64_t k = 0; k < r; k++) {
            float factor = (float)(scale * (double)b[i * r + k]);
            for (int64_t j = 0; j < in; j++)
                row[j] += factor * a[k * in + j];
        }
        for (int64_t j = 0; j < in; j++)
            w[x->p->transposed ? j * out + i : i * in + j] += row[j];
    }
    free(row);
    free(b);
    free(a);
}

static int fetch(void *context, const struct hf_tensor *t, void **ret) {
    const struct merge *m = context;
    const struct merged *x = NULL;
    for (size_t i = 0; !x && i < m->n; i++)
        x = strcmp(m->tensors[i].name, t->name) == 0 ? &m->list[i] : NULL;
    CAI_CHECK(x);
    float *w = malloc(t->bytes);
    if (!w)
        return cai_fail(CAI_ENOMEM, "%s: no memory for %zu bytes", t->name, t->bytes);
    hf_tensor_floats(x->base, 0, w, (int64_t)(t->bytes / sizeof *w));
    if (x->a)
        add_product(m, x, w);
    *ret = w;
    return 0;
}

static int write_all(const char *dir, struct merge *m, const char *to) {
    CAI_TRY(hf_weights_save_folder(to, m->tensors, m->n, HF_SHARD_BYTES, fetch, m));
    CAI_TRY(hf_config_save(to, &m->config));
    CAI_TRY(hf_copy_tokenizer(dir, to));
    return cai_file_sync(to);
}

int hf_adapter_merge(const char *dir, const char *to) {
    struct merge m = {0};
    CAI_AUTO(mem) char *partial = cai_format("%s.partial", to);
    if (cai_file_exists(to))
        return cai_fail(CAI_EINPUT, "%s exists; name a folder that does not", to);
    int rc = open_all(dir, &m);
    if (rc == 0)
        rc = cai_dir_remove(partial);
    if (rc == 0)
        rc = cai_dir_make(partial);
    if (rc == 0)
        rc = write_all(dir, &m, partial);
    if (rc == 0)
        rc = cai_file_rename_durable(partial, to);
    merge_free(&m);
    return rc < 0 ? cai_fail_in("merging %s", dir) : 0;
}
