/* layout.c: which parameters a configuration has, where each lies in the flat buffer,
 * and the views the forward pass uses. Not for: reading weights (load.c). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <stdarg.h>
#include <string.h>

/* Every parameter starts at a multiple of this, so that kernels see aligned rows and a
 * shard boundary never falls inside a cache line. */
enum { PAD = 128 };

struct layout {
    struct model_param *params;
    int n, cap;
    int64_t offset;
};

__attribute__((format(printf, 4, 5))) static void add(struct layout *l, int64_t rows,
                                                      int64_t cols, const char *format, ...)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->params = cai_realloc(l->params, (size_t)l->cap, sizeof(*l->params));
    }
    struct model_param *p = &l->params[l->n++];
    memset(p, 0, sizeof(*p));
    va_list args;
    va_start(args, format);
    int len = vsnprintf(p->name, sizeof(p->name), format, args);
    va_end(args);
    CAI_CHECK(len > 0 && (size_t)len < sizeof(p->name));
    p->ndim = cols ? 2 : 1;
    p->shape[0] = rows;
    p->shape[1] = cols;
    p->numel = cols ? rows * cols : rows;
    p->decay = cols != 0;
    p->offset = l->offset;
    l->offset += (p->numel + PAD - 1) / PAD * PAD;
}

static void add_layer(struct layout *l, const struct hf_config *c, int i)
{
    int64_t d = c->hidden_size, f = c->intermediate_size;
    int64_t q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
    add(l, d, 0, "model.layers.%d.input_layernorm.weight", i);
    add(l, q, d, "model.layers.%d.self_attn.q_proj.weight", i);
    add(l, kv, d, "model.layers.%d.self_attn.k_proj.weight", i);
    add(l, kv, d, "model.layers.%d.self_attn.v_proj.weight", i);
    if (c->attention_bias) {
        add(l, q, 0, "model.layers.%d.self_attn.q_proj.bias", i);
        add(l, kv, 0, "model.layers.%d.self_attn.k_proj.bias", i);
        add(l, kv, 0, "model.layers.%d.self_attn.v_proj.bias", i);
    }
    add(l, d, q, "model.layers.%d.self_attn.o_proj.weight", i);
    if (c->attention_bias)
        add(l, d, 0, "model.layers.%d.self_attn.o_proj.bias", i);
    add(l, d, 0, "model.layers.%d.post_attention_layernorm.weight", i);
    add(l, f, d, "model.layers.%d.mlp.gate_proj.weight", i);
    add(l, f, d, "model.layers.%d.mlp.up_proj.weight", i);
    if (c->mlp_bias) {
        add(l, f, 0, "model.layers.%d.mlp.gate_proj.bias", i);
        add(l, f, 0, "model.layers.%d.mlp.up_proj.bias", i);
    }
    add(l, d, f, "model.layers.%d.mlp.down_proj.weight", i);
    if (c->mlp_bias)
        add(l, d, 0, "model.layers.%d.mlp.down_proj.bias", i);
}

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
        {"num_hidden_layers", c->num_layers, 1 << 12},
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
    if (c->head_dim % 2)
        return cai_fail(CAI_EINPUT, "config.json: head_dim %lld is odd; rotary positions need "
                        "pairs", (long long)c->head_dim);
    return 0;
}

int model_layout(const struct hf_config *config, enum model_head head,
                 struct model_param **ret_params, int *ret_n, int64_t *ret_numel)
{
    CAI_TRY(check_sizes(config));
    struct layout l = {0};
    add(&l, config->vocab_size, config->hidden_size, "model.embed_tokens.weight");
    for (int i = 0; i < config->num_layers; i++)
        add_layer(&l, config, i);
    add(&l, config->hidden_size, 0, "model.norm.weight");
    if (head == MODEL_HEAD_SCALAR)
        add(&l, 1, config->hidden_size, "score.weight");
    else if (!config->tie_word_embeddings)
        add(&l, config->vocab_size, config->hidden_size, "lm_head.weight");
    *ret_params = l.params;
    *ret_n = l.n;
    *ret_numel = l.offset;
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

/* One matrix over parameters [first, first + n), if they lie without gaps. */
static int keep_fused(struct model *m, const struct model_param *first, int n, ct_tensor **ret)
{
    int64_t rows = 0, numel = 0;
    for (int i = 0; i < n; i++) {
        if (first[i].offset != first->offset + numel)
            return 0;
        rows += first[i].shape[0];
        numel += first[i].numel;
    }
    int64_t shape[2] = {rows, first->shape[1]};
    return keep_view(m, first->offset, numel, shape, first->ndim, false, ret);
}

static int bind_layer(struct model *m, struct model_layer *l, int *next)
{
    const struct hf_config *c = &m->config;
    struct model_param *p = m->params + *next;
    l->attention_norm = (p++)->view;
    CAI_TRY(keep_fused(m, p, 3, &l->qkv));
    l->q = (p++)->view;
    l->k = (p++)->view;
    l->v = (p++)->view;
    if (c->attention_bias) {
        CAI_TRY(keep_fused(m, p, 3, &l->qkv_bias));
        l->q_bias = (p++)->view;
        l->k_bias = (p++)->view;
        l->v_bias = (p++)->view;
    }
    l->o = (p++)->view;
    if (c->attention_bias)
        l->o_bias = (p++)->view;
    l->mlp_norm = (p++)->view;
    CAI_TRY(keep_fused(m, p, 2, &l->gate_up));
    l->gate = (p++)->view;
    l->up = (p++)->view;
    if (c->mlp_bias) {
        CAI_TRY(keep_fused(m, p, 2, &l->gate_up_bias));
        l->gate_bias = (p++)->view;
        l->up_bias = (p++)->view;
    }
    l->down = (p++)->view;
    if (c->mlp_bias)
        l->down_bias = (p++)->view;
    *next = (int)(p - m->params);
    return 0;
}

static int bind_views(struct model *m)
{
    for (int i = 0; i < m->n_params; i++) {
        struct model_param *p = &m->params[i];
        CAI_TRY(keep_view(m, p->offset, p->numel, p->shape, p->ndim, true, &p->view));
    }
    int next = 0;
    m->embedding = m->params[next++].view;
    for (int i = 0; i < m->config.num_layers; i++)
        CAI_TRY(bind_layer(m, &m->layers[i], &next));
    m->final_norm = m->params[next++].view;
    if (m->head == MODEL_HEAD_SCALAR)
        m->score = m->params[next++].view;
    else
        m->lm_head = m->config.tie_word_embeddings ? m->embedding : m->params[next++].view;
    CAI_CHECK(next == m->n_params);
    return 0;
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

int model_alloc(const struct hf_config *config, enum model_head head, const char *dir,
                struct model **ret)
{
    struct model_param *params;
    int n;
    int64_t numel;
    CAI_TRY(model_layout(config, head, &params, &n, &numel));
    struct model *m = cai_alloc(sizeof(*m));
    m->config = *config;
    m->config.sequence_classification = head == MODEL_HEAD_SCALAR;
    m->config.dtype = HF_F32; /* what the weights are here, and are saved in */
    m->head = head;
    m->params = params;
    m->n_params = n;
    m->n = numel;
    m->layers = cai_alloc((size_t)config->num_layers * sizeof(*m->layers));
    m->dir = dir ? cai_strdup(dir) : NULL;
    int rc = alloc_flat(m);
    if (rc == 0)
        rc = bind_views(m);
    if (rc == 0)
        rc = rope_tables(config, &m->rope_cos, &m->rope_sin);
    if (rc < 0) {
        model_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (int i = 0; m->layers && i < m->config.num_layers; i++) {
        ct_free(m->layers[i].qkv);
        ct_free(m->layers[i].qkv_bias);
        ct_free(m->layers[i].gate_up);
        ct_free(m->layers[i].gate_up_bias);
    }
    for (int i = 0; i < m->n_params; i++)
        ct_free(m->params[i].view);
    ct_free(m->rope_cos);
    ct_free(m->rope_sin);
    ct_free(m->flat);
    free(m->params);
    free(m->layers);
    free(m->dir);
    free(m);
}

const struct model_param *model_find(const struct model *m, const char *name)
{
    for (int i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return &m->params[i];
    return NULL;
}

float *model_host(const struct model *m)
{
    float *data = ct_host_data(m->flat);
    if (!data)
        cai_fail(CAI_ESTATE, "the weights are not in host memory");
    return data;
}
