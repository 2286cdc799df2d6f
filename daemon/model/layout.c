/* layout.c: which parameters a configuration has, where each lies in the flat buffer,
 * and the views the forward pass uses. Not for: reading weights (load.c). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <stddef.h>
#include <string.h>

/* Every parameter starts at a multiple of this, so that kernels see aligned rows and a
 * shard boundary never falls inside a cache line. */
enum { PAD = 128 };

/* What a hostile config.json could ask for is refused before anything is multiplied. */
static int check_sizes(const struct hf_config *c)
{
    struct {
        const char *name;
        int64_t value, max;
    } sizes[] = {
        {"vocab_size", c->vocab_size, 1 << 22},
        {"hidden_size", c->hidden_size, 1 << 17},
        {"intermediate_size", c->intermediate_size, 1 << 20},
        {"num_hidden_layers", c->num_layers, HF_MAX_LAYERS},
        {"num_attention_heads", c->num_heads, 1 << 12},
        {"num_key_value_heads", c->num_kv_heads, 1 << 12},
        {"head_dim", c->head_dim, 1 << 12},
        {"max_position_embeddings", c->max_positions, MODEL_MAX_POSITIONS},
    };
    for (size_t i = 0; i < CAI_COUNT(sizes); i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return cai_fail(CAI_EINPUT, "config.json: %s is %lld, expected 1 to %lld",
                            sizes[i].name, (long long)sizes[i].value, (long long)sizes[i].max);
    if (c->num_heads % c->num_kv_heads)
        return cai_fail(CAI_EINPUT,
                        "config.json: num_attention_heads %lld is not a multiple of "
                        "num_key_value_heads %lld",
                        (long long)c->num_heads, (long long)c->num_kv_heads);
    const struct hf_family *f = hf_family_find(c->model_type);
    if (f && !f->learned_positions && hf_rotary_dim(c) % 2)
        return cai_fail(CAI_EINPUT, "config.json: %lld elements of a head turn, which is odd; "
                        "rotary positions need pairs", (long long)hf_rotary_dim(c));
    return 0;
}

void model_place(const struct hf_param *file, int n, struct model_param **ret_params,
                 int64_t *ret_numel)
{
    struct model_param *params = cai_alloc((size_t)n * sizeof(*params) + 1);
    int64_t offset = 0;
    for (int i = 0; i < n; i++) {
        struct model_param *p = &params[i];
        p->file = file[i];
        p->numel = file[i].ndim == 2 ? file[i].shape[0] * file[i].shape[1] : file[i].shape[0];
        p->decay = file[i].ndim == 2;
        p->offset = offset;
        offset += (p->numel + PAD - 1) / PAD * PAD;
    }
    *ret_params = params;
    *ret_numel = offset;
}

int model_layout(const struct hf_config *config, enum model_head head,
                 struct model_param **ret_params, int *ret_n, int64_t *ret_numel)
{
    CAI_TRY(check_sizes(config));
    CAI_AUTO(mem) struct hf_param *file = NULL;
    int n;
    CAI_TRY(hf_params(config, head == MODEL_HEAD_SCALAR, &file, &n));
    model_place(file, n, ret_params, ret_numel);
    *ret_n = n;
    return 0;
}

/* Keeps a view of `numel` elements of the flat buffer; a parameter's is a tensor of
 * its own to the gradient engine, so that it can become a leaf. */
static int keep_view(struct model *m, int64_t offset, int64_t numel, const int64_t *shape,
                     int ndim, bool parameter, ct_tensor **ret)
{
    ct_scope *s = ct_scope_open();
    ct_tensor *v = ct_view(s, ct_narrow(s, m->flat, 0, offset, numel), shape, ndim);
    if (parameter)
        v = ct_detach(s, v);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(v, ret);
    ct_scope_close(s);
    return rc;
}

static const struct model_param *find(const struct model *m, enum hf_slot slot, int layer)
{
    for (int i = 0; i < m->n_params; i++)
        if (m->params[i].file.slot == slot && m->params[i].file.layer == layer)
            return &m->params[i];
    return NULL;
}

/* One matrix over n parameters from p on, if they are there and lie without gaps. */
static int keep_fused(struct model *m, const struct model_param *p, int n, ct_tensor **ret)
{
    int64_t rows = 0, numel = 0;
    if (!p)
        return 0;
    for (int i = 0; i < n; i++) {
        if (p[i].offset != p->offset + numel)
            return 0;
        rows += p[i].file.shape[0];
        numel += p[i].numel;
    }
    int64_t shape[2] = {rows, p->file.shape[1]};
    return keep_view(m, p->offset, numel, shape, p->file.ndim, false, ret);
}

static int fuse_layer(struct model *m, int i)
{
    struct model_layer *l = &m->layers[i];
    CAI_TRY(keep_fused(m, find(m, HF_Q, i), 3, &l->qkv));
    CAI_TRY(keep_fused(m, find(m, HF_Q_BIAS, i), 3, &l->qkv_bias));
    CAI_TRY(keep_fused(m, find(m, HF_GATE, i), 2, &l->gate_up));
    return keep_fused(m, find(m, HF_GATE_BIAS, i), 2, &l->gate_up_bias);
}

/* Where a layer keeps the view of a slot. */
#define AT(slot, field) [slot] = offsetof(struct model_layer, field) + 1
static const size_t in_layer[HF_SLOTS] = {
    AT(HF_ATTENTION_NORM, attention_norm), AT(HF_ATTENTION_NORM_BIAS, attention_norm_bias),
    AT(HF_Q, q), AT(HF_K, k), AT(HF_V, v), AT(HF_Q_BIAS, q_bias), AT(HF_K_BIAS, k_bias),
    AT(HF_V_BIAS, v_bias), AT(HF_Q_NORM, q_norm), AT(HF_K_NORM, k_norm), AT(HF_O, o),
    AT(HF_O_BIAS, o_bias), AT(HF_POST_ATTENTION_NORM, post_attention_norm),
    AT(HF_MLP_NORM, mlp_norm), AT(HF_MLP_NORM_BIAS, mlp_norm_bias), AT(HF_GATE, gate),
    AT(HF_UP, up), AT(HF_GATE_BIAS, gate_bias), AT(HF_UP_BIAS, up_bias), AT(HF_DOWN, down),
    AT(HF_DOWN_BIAS, down_bias), AT(HF_POST_MLP_NORM, post_mlp_norm),
};
#undef AT

static enum model_projection projection_of(enum hf_slot slot)
{
    static const enum hf_slot slots[MODEL_PROJECTIONS] = {HF_Q, HF_K, HF_V, HF_O, HF_GATE, HF_UP,
                                                          HF_DOWN};
    enum model_projection i = MODEL_Q;
    while (i < MODEL_PROJECTIONS && slots[i] != slot)
        i++;
    CAI_CHECK(i < MODEL_PROJECTIONS);
    return i;
}

static ct_tensor **place_of(struct model *m, const struct hf_param *p)
{
    if (p->matrix != HF_WHOLE) {
        struct model_lora *l = &m->layers[p->layer].lora[projection_of(p->slot)];
        return p->matrix == HF_LORA_A ? &l->a : &l->b;
    }
    switch (p->slot) {
    case HF_EMBEDDING:
        return &m->embedding;
    case HF_POSITIONS:
        return &m->positions;
    case HF_FINAL_NORM:
        return &m->final_norm;
    case HF_FINAL_NORM_BIAS:
        return &m->final_norm_bias;
    case HF_LM_HEAD:
        return &m->lm_head;
    case HF_SCORE:
        return &m->score;
    default:
        CAI_CHECK(p->layer >= 0 && in_layer[p->slot]);
        return (ct_tensor **)((char *)&m->layers[p->layer] + in_layer[p->slot] - 1);
    }
}

/* The parts of a fused matrix share the factor A of the first. */
static void share_factors(struct model_layer *l)
{
    for (int i = 1; i < MODEL_PROJECTIONS; i++)
        if (l->lora[i].b && !l->lora[i].a)
            l->lora[i].a = l->lora[i - 1].a;
}

/* What an adapter does not have of its own is its base's. */
static void borrow(struct model *m)
{
    const struct model *b = m->base;
    m->embedding = b->embedding;
    m->positions = b->positions;
    m->final_norm = b->final_norm;
    m->final_norm_bias = b->final_norm_bias;
    m->lm_head = m->head == MODEL_HEAD_LM ? b->lm_head : NULL;
    m->rope = b->rope;
    m->rope_local = b->rope_local;
    memcpy(m->layers, b->layers, (size_t)m->config.num_layers * sizeof(*m->layers));
}

static int bind_views(struct model *m)
{
    if (m->base)
        borrow(m);
    for (int i = 0; i < m->n_params; i++) {
        struct model_param *p = &m->params[i];
        CAI_TRY(keep_view(m, p->offset, p->numel, p->file.shape, p->file.ndim, true, &p->view));
        *place_of(m, &p->file) = p->view;
    }
    for (int i = 0; i < m->config.num_layers && m->base; i++)
        share_factors(&m->layers[i]);
    for (int i = 0; i < m->config.num_layers && !m->base; i++)
        CAI_TRY(fuse_layer(m, i));
    if (!m->base && m->head == MODEL_HEAD_LM && m->config.tie_word_embeddings)
        m->lm_head = m->embedding;
    return 0;
}

static int make_ropes(struct model *m)
{
    if (m->family->learned_positions || m->base)
        return 0;
    CAI_TRY(rope_new(&m->config, false, &m->rope));
    return m->family->local_rope ? rope_new(&m->config, true, &m->rope_local) : 0;
}

static int alloc_flat(struct model *m)
{
    ct_scope *s = ct_scope_open();
    ct_tensor *flat = ct_zeros(s, CT_F32, &m->n, 1); /* [N] */
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(flat, &m->flat);
    ct_scope_close(s);
    return rc;
}

int model_make(const struct hf_config *config, enum model_head head, struct model_param *params,
               int n, int64_t numel, struct model *base, struct model **ret)
{
    struct model *m = cai_alloc(sizeof(*m));
    m->config = *config;
    m->family = hf_family(config);
    m->config.sequence_classification = head == MODEL_HEAD_SCALAR;
    m->config.dtype = HF_F32; /* what the weights are here, and are saved in */
    m->head = head;
    m->params = params;
    m->n_params = n;
    m->n = numel;
    m->layers = cai_alloc((size_t)config->num_layers * sizeof(*m->layers));
    m->uses = 1;
    m->base = base;
    if (base)
        base->uses++;
    int rc = alloc_flat(m);
    if (rc == 0)
        rc = bind_views(m);
    if (rc == 0)
        rc = make_ropes(m);
    if (rc < 0) {
        model_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

int model_alloc(const struct hf_config *config, enum model_head head, const char *dir,
                struct model **ret)
{
    struct model_param *params;
    int n;
    int64_t numel;
    CAI_TRY(model_layout(config, head, &params, &n, &numel));
    CAI_TRY(model_make(config, head, params, n, numel, NULL, ret));
    (*ret)->dir = dir ? cai_strdup(dir) : NULL;
    return 0;
}

static void free_own(struct model *m)
{
    for (int i = 0; m->layers && i < m->config.num_layers; i++) {
        ct_free(m->layers[i].qkv);
        ct_free(m->layers[i].qkv_bias);
        ct_free(m->layers[i].gate_up);
        ct_free(m->layers[i].gate_up_bias);
    }
    rope_free(m->rope);
    rope_free(m->rope_local);
}

void model_free(struct model *m)
{
    if (!m || --m->uses > 0)
        return;
    if (!m->base)
        free_own(m);
    for (int i = 0; i < m->n_params; i++)
        ct_free(m->params[i].view);
    ct_free(m->flat);
    free(m->params);
    free(m->layers);
    free(m->dir);
    model_free(m->base);
    free(m);
}

const struct model_param *model_find(const struct model *m, enum hf_slot slot)
{
    for (int i = 0; i < m->n_params; i++)
        if (m->params[i].file.slot == slot)
            return &m->params[i];
    return NULL;
}

bool model_same_inputs(const struct model *a, const struct model *b)
{
    const struct hf_config *x = &a->config, *y = &b->config;
    bool turns = a->rope && b->rope;
    if (x->vocab_size != y->vocab_size || !a->rope != !b->rope || !a->rope_local != !b->rope_local)
        return false;
    return !turns || (x->rope_theta == y->rope_theta && hf_rotary_dim(x) == hf_rotary_dim(y) &&
                      x->rope_local_theta == y->rope_local_theta &&
                      !memcmp(&x->rope, &y->rope, sizeof(x->rope)) &&
                      (x->rope.kind == HF_ROPE_DEFAULT || x->max_positions == y->max_positions));
}

int model_host_open(const struct model *m, float **ret)
{
    *ret = ct_host_data(m->flat);
    if (*ret)
        return 0;
    *ret = cai_realloc(NULL, (size_t)m->n, sizeof(**ret));
    return ct_read_f32(m->flat, *ret, m->n);
}

int model_host_close(const struct model *m, float *flat, bool changed)
{
    if (flat == ct_host_data(m->flat))
        return 0;
    int rc = changed ? ct_write_host_(m->flat, CT_F32, flat) : 0;
    free(flat);
    return rc;
}
