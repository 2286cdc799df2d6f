/* params.c: the parameters that a configuration has: which tensor of the file holds each,
 * and which part of it. The one list of tensors: folders are checked, loaded and saved by
 * it. Not for: names (family.c), memory (model/layout.c). */
#include "hf/family.h"
#include "base/check.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list {
    const struct hf_config *c;
    const struct hf_family *f;
    struct hf_param *p;
    int n, cap;
};

/* rows × cols; cols 0: one dimension. Nothing is added that the family does not name. */
static struct hf_param *add(struct list *l, int layer, enum hf_slot slot, int64_t rows,
                            int64_t cols) {
    if (!l->f->tensors[slot])
        return NULL;
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->p = cai_realloc(l->p, (size_t)l->cap, sizeof *l->p);
    }
    struct hf_param *p = &l->p[l->n++];
    char prefix[64] = "";
    memset(p, 0, sizeof *p);
    if (layer >= 0) { /* "model.layers.%d." */
        const char *at = strstr(l->f->layer, "%d");
        CAI_CHECK(at);
        snprintf(prefix, sizeof prefix, "%.*s%d%s", (int)(at - l->f->layer), l->f->layer, layer,
                 at + 2);
    }
    int len = snprintf(p->name, sizeof p->name, "%s%s", prefix, l->f->tensors[slot]);
    CAI_CHECK(len > 0 && (size_t)len < sizeof p->name);
    p->slot = slot;
    p->layer = layer;
    p->ndim = cols ? 2 : 1;
    p->shape[0] = rows;
    p->shape[1] = cols;
    p->file_rows = p->block = rows;
    p->transposed = cols && layer >= 0 && l->f->conv1d;
    return p;
}

/* p's rows are a part of a tensor of `all` rows, from `first` on, or by heads. */
static void place(struct hf_param *p, enum hf_fused how, int64_t all, int64_t first, int64_t part,
                  int64_t head) {
    if (!p || how == HF_APART)
        return;
    p->file_rows = all;
    p->first = first;
    if (how == HF_BY_HEAD) {
        p->first = part * head;
        p->block = head;
        p->step = 3 * head;
    }
}

static void add_qkv(struct list *l, int i, bool bias) {
    const struct hf_config *c = l->c;
    static const enum hf_slot slots[2][3] = {{HF_Q, HF_K, HF_V}, {HF_Q_BIAS, HF_K_BIAS, HF_V_BIAS}};
    int64_t q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
    int64_t first[3] = {0, q, q + kv};
    for (int part = 0; part < 3; part++)
        place(add(l, i, slots[bias][part], part ? kv : q, bias ? 0 : c->hidden_size),
              l->f->fused_qkv, q + 2 * kv, first[part], part, c->head_dim);
}

static void add_gate_up(struct list *l, int i, bool bias) {
    int64_t f = l->c->intermediate_size, cols = bias ? 0 : l->c->hidden_size;
    place(add(l, i, bias ? HF_GATE_BIAS : HF_GATE, f, cols), l->f->fused_mlp, 2 * f, 0, 0, 0);
    place(add(l, i, bias ? HF_UP_BIAS : HF_UP, f, cols), l->f->fused_mlp, 2 * f, f, 1, 0);
}

static void add_layer(struct list *l, int i) {
    const struct hf_config *c = l->c;
    int64_t d = c->hidden_size, q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
    bool full = l->f->qk_norm == HF_QK_FULL;
    add(l, i, HF_ATTENTION_NORM, d, 0);
    add(l, i, HF_ATTENTION_NORM_BIAS, d, 0);
    add_qkv(l, i, false);
    if (c->attention_bias)
        add_qkv(l, i, true);
    add(l, i, HF_Q_NORM, full ? q : c->head_dim, 0);
    add(l, i, HF_K_NORM, full ? kv : c->head_dim, 0);
    add(l, i, HF_O, d, q);
    if (c->attention_bias && !l->f->no_output_bias)
        add(l, i, HF_O_BIAS, d, 0);
    add(l, i, HF_POST_ATTENTION_NORM, d, 0);
    add(l, i, HF_MLP_NORM, d, 0);
    add(l, i, HF_MLP_NORM_BIAS, d, 0);
    add_gate_up(l, i, false);
    if (c->mlp_bias)
        add_gate_up(l, i, true);
    add(l, i, HF_DOWN, d, c->intermediate_size);
    if (c->mlp_bias)
        add(l, i, HF_DOWN_BIAS, d, 0);
    add(l, i, HF_POST_MLP_NORM, d, 0);
}

int hf_params(const struct hf_config *c, bool scalar, struct hf_param **ret, int *ret_n) {
    struct list l = {.c = c, .f = hf_family_find(c->model_type)};
    if (!l.f) {
        CAI_AUTO(buf) struct cai_buf known = {0};
        hf_family_list(&known);
        return cai_fail(CAI_EINPUT, "model_type \"%s\" is not one of: %s", c->model_type,
                        known.data);
    }
    if (scalar && !l.f->scalar_class)
        return cai_fail(CAI_EINPUT, "transformers has no class for a model of the %s family with a "
                        "score head (a preference model, a classifier)",
                        l.f->name);
    int64_t d = c->hidden_size;
    add(&l, -1, HF_EMBEDDING, c->vocab_size, d);
    add(&l, -1, HF_POSITIONS, c->max_positions, d);
    for (int i = 0; i < c->num_layers; i++)
        add_layer(&l, i);
    add(&l, -1, HF_FINAL_NORM, d, 0);
    add(&l, -1, HF_FINAL_NORM_BIAS, d, 0);
    if (scalar)
        add(&l, -1, HF_SCORE, 1, d);
    else if (!c->tie_word_embeddings)
        add(&l, -1, HF_LM_HEAD, c->vocab_size, d);
    *ret = l.p;
    *ret_n = l.n;
    return 0;
}

int hf_param_file_shape(const struct hf_param *p, int64_t ret[2]) {
    ret[p->transposed] = p->file_rows;
    ret[!p->transposed] = p->shape[1];
    return p->ndim;
}

/* ---- in a file ------------------------------------------------------------------- */

static void shape_text(int ndim, const int64_t *shape, char *out, size_t size) {
    size_t len = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, i ? ", %lld" : "%lld", (long long)shape[i]);
    if (len < size)
        snprintf(out + len, size - len, "]");
}

/* Checkpoints of the bare trunk leave its prefix out. */
static const char *bare(const struct hf_family *f, const char *name) {
    size_t n = strlen(f->trunk);
    return strncmp(name, f->trunk, n) == 0 ? name + n : NULL;
}

int hf_param_find(const struct hf_weights *w, const struct hf_config *c, const struct hf_param *p,
                  const struct hf_tensor **ret) {
    return hf_param_find_named(w, p, bare(hf_family(c), p->name), ret);
}

int hf_param_find_named(const struct hf_weights *w, const struct hf_param *p, const char *other,
                        const struct hf_tensor **ret) {
    const struct hf_tensor *t = hf_weights_find(w, p->name);
    if (!t && other)
        t = hf_weights_find(w, other);
    if (!t)
        return cai_fail(CAI_EINPUT, "tensor %s is missing", p->name);
    if (t->dtype != HF_F32 && t->dtype != HF_BF16 && t->dtype != HF_F16)
        return cai_fail(CAI_EINPUT, "tensor %s: only F32, BF16 and F16 weights are read", t->name);
    int64_t shape[2];
    int ndim = hf_param_file_shape(p, shape);
    bool same = t->ndim == ndim;
    for (int i = 0; same && i < ndim; i++)
        same = t->shape[i] == shape[i];
    if (!same) {
        char want[96], have[96];
        shape_text(ndim, shape, want, sizeof want);
        shape_text(t->ndim, t->shape, have, sizeof have);
        return cai_fail(CAI_EINPUT, "tensor %s has shape %s, but config.json asks for %s", t->name,
                        have, want);
    }
    *ret = t;
    return 0;
}

static bool ends_in(const char *name, const char *tail) {
    size_t n = strlen(name), k = strlen(tail);
    return n >= k && strcmp(name + n - k, tail) == 0;
}

/* Tensors that older writers add and that carry nothing, or that another head owns. */
static bool ignorable(const struct hf_family *f, const char *name) {
    for (size_t i = 0; i < CAI_COUNT(f->buffers); i++)
        if (f->buffers[i] && ends_in(name, f->buffers[i]))
            return true;
    return strcmp(name, f->tensors[HF_LM_HEAD]) == 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool listed(const char **names, size_t n, const char *name) {
    return bsearch(&name, names, n, sizeof *names, by_name) != NULL;
}

/* A tensor we do not use means arithmetic we do not do. */
int hf_params_check_unused(const struct hf_weights *w, const struct hf_config *c,
                           const struct hf_param *p, int n) {
    const struct hf_family *f = hf_family(c);
    CAI_AUTO(mem) const char **names = cai_alloc((size_t)n * 2 * sizeof *names + 1);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        const char *other = bare(f, p[i].name);
        names[count++] = p[i].name;
        if (other)
            names[count++] = other;
    }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < hf_weights_count(w); i++) {
        const char *name = hf_weights_at(w, i)->name;
        if (!listed(names, count, name) && !ignorable(f, name))
            return cai_fail(CAI_EINPUT,
                            "tensor %s is not part of the %s family as config.json "
                            "describes it",
                            name, f->name);
    }
    return 0;
}
