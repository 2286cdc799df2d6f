/* memory.c: see memory.h. */
#include "hf/memory.h"

#include "base/check.h"
#include "hf/adapter.h"
#include "hf/family.h"
#include <stdio.h>
#include <string.h>

/* The head's logits are made in chunks of so many elements, or so many rows (shim/train.cpp). */
enum { FLOAT = 4, HALF = 2, CHUNK_ELEMENTS = 2 << 20, CHUNK_ROWS = 48 };
/* Of the gradient's norm (learn/shard.c), and glibc's DEFAULT_MMAP_THRESHOLD_MAX. */
enum { NORM_STRETCH = 16 << 20, HEAP_MAX = 32 << 20 };

const int64_t hf_kv_max = (int64_t)2 << 30;
const int64_t hf_graphs_max = (int64_t)1 << 30;

static int64_t count(const struct hf_param *p, int n) {
    int64_t all = 0;
    for (int i = 0; i < n; i++) {
        int64_t numel = p[i].ndim == 2 ? p[i].shape[0] * p[i].shape[1] : p[i].shape[0];
        all += (numel + HF_PARAM_STEP - 1) / HF_PARAM_STEP * HF_PARAM_STEP;
    }
    return all;
}

static int count_adapter(const char *dir, const struct hf_config *c, int64_t *ret) {
    struct hf_adapter a;
    CAI_AUTO(mem) struct hf_param *p = NULL;
    int n;
    CAI_TRY(hf_adapter_load(dir, &a));
    CAI_TRY(hf_adapter_params(c, &a, &p, &n));
    *ret = count(p, n);
    return 0;
}

int hf_memory_footprint(const char *dir, bool scalar, struct hf_footprint *ret,
                        struct hf_config *ret_config) {
    struct hf_config c;
    CAI_AUTO(mem) struct hf_param *p = NULL;
    int n;
    CAI_TRY(hf_config_load(dir, &c));
    CAI_TRY(hf_params(&c, scalar, &p, &n));
    int64_t base = count(p, n), own = 0;
    if (hf_adapter_is(dir))
        CAI_TRY(count_adapter(dir, &c, &own));
    /* An embedding that is no head is only looked up, and has no copy. */
    int64_t looked_up = c.tie_word_embeddings && !scalar ? 0 : c.vocab_size * c.hidden_size;
    *ret = (struct hf_footprint){base + own, own ? own : base, base - looked_up};
    if (ret_config)
        *ret_config = c;
    return 0;
}

int64_t hf_memory_kv(const struct hf_config *c, int64_t slots, int64_t positions) {
    int64_t position = 2 * c->num_layers * c->num_kv_heads * c->head_dim * (int64_t)sizeof(float);
    int64_t rows = (positions + HF_CACHE_STEP - 1) / HF_CACHE_STEP * HF_CACHE_STEP;
    return position * rows * (slots + 1);
}

int64_t hf_memory_slots(const struct hf_config *c, int64_t wanted, int64_t positions) {
    int64_t slots = wanted < 1 ? 1 : wanted;
    while (slots > 1 && hf_memory_kv(c, slots, positions) > hf_kv_max)
        slots--;
    return slots;
}

/* About eight rows of the model's width, the heads three times, the feed-forward four times: more
 * than is held. What is decided by it must not change, since that would change bits. */
int64_t hf_memory_graphs(const struct hf_config *c, int64_t tokens) {
    int64_t floats = 8 * c->hidden_size + 3 * (c->num_heads + c->num_kv_heads) * c->head_dim +
                     4 * c->intermediate_size;
    return tokens * floats * FLOAT * c->num_layers;
}

bool hf_memory_recomputes(const struct hf_config *c, int64_t tokens, const char *how) {
    if (strcmp(how, "auto") != 0)
        return strcmp(how, "always") == 0;
    return hf_memory_graphs(c, tokens) > hf_graphs_max;
}

/* Rows of a layer, in elements: what is attended with, and the feed-forward's inner ones. */
struct widths {
    int64_t d, q, kv, inner, inners; /* inners: how many inner rows an activation is made of */
};

static struct widths widths_of(const struct hf_config *c) {
    const struct hf_family *f = hf_family_find(c->model_type);
    return (struct widths){c->hidden_size, c->num_heads * c->head_dim,
                           c->num_kv_heads * c->head_dim, c->intermediate_size,
                           f && !f->gated ? 1 : 2};
}

/* A layer of the plain kind (model/layer_half.c): in bfloat16 it keeps values, what attention gave,
 * what the activation is made of, and norms' and activation's results, rounded alone. */
static bool is_plain(const struct hf_config *c) {
    const struct hf_family *f = hf_family_find(c->model_type);
    bool biased = f && (f->attention_bias == HF_BIAS_ALWAYS || f->mlp_bias == HF_BIAS_ALWAYS);
    return f && f->norm == HF_NORM_RMS && f->qk_norm == HF_QK_NONE && f->gated && !f->parallel &&
           c->activation == HF_SILU && !biased && !c->attention_bias && !c->mlp_bias;
}

/* Bytes per token that a layer's graph keeps: its input and that of the second norm; queries,
 * keys, values and what attention gave; what the activation is made of; and the inputs of the
 * products, rounded ones beside what was rounded. */
static int64_t graph_row(const struct widths *w, bool half, bool plain) {
    if (half && plain)
        return FLOAT * (2 * w->d + w->q + w->kv) +
               HALF * (2 * w->d + w->q + w->kv + (w->inners + 1) * w->inner);
    int64_t kept = 2 * w->d + 2 * w->q + 2 * w->kv + w->inners * w->inner;
    int64_t inputs = 2 * w->d + w->inner, rounded = 2 * w->d + w->q + w->inner;
    return FLOAT * kept + (half ? HALF * rounded : FLOAT * inputs);
}

/* What a layer's scope holds besides while it is computed again: its three sums, heads before they
 * are turned, and in bfloat16 what the products' inputs were rounded from. */
static int64_t scope_row(const struct widths *w, bool half) {
    return FLOAT * (3 * w->d + w->q + w->kv + (half ? 2 * w->d + w->inner : 0));
}

int64_t hf_memory_feed(const struct hf_config *c, int64_t tokens) {
    struct widths w = widths_of(c);
    return tokens * (graph_row(&w, false, is_plain(c)) + scope_row(&w, false));
}

/* A layer's matrices, in elements. */
static int64_t matrices(const struct widths *w) {
    return w->d * (2 * w->q + 2 * w->kv) + (w->inners + 1) * w->inner * w->d;
}

/* The feed-forward's backward: gradients of its output, its activation and what that is made of,
 * and those of its matrices before they are added: one, or both of a rounded product. */
static int64_t layer_moment(const struct widths *w, const struct hf_training *how) {
    int64_t rows = FLOAT * (w->d + (1 + w->inners) * w->inner);
    int64_t matrix = w->inner * w->d * FLOAT;
    if (how->half) {
        rows += HALF * w->inners * w->inner;
        matrix = w->inners * w->inner * w->d * (FLOAT + HALF);
    }
    return rows * how->tokens + matrix;
}

/* The head's backward: its input twice and that's gradient, a chunk of logits, the gradient of
 * its matrix; rounded matrix, chunk and product beside them. A score head has next to nothing,
 * but then the embedding's gradient comes last, when the graphs are gone. */
static int64_t head_moment(const struct hf_config *c, const struct hf_training *how) {
    int64_t rows = how->tokens * c->hidden_size * FLOAT, matrix = c->vocab_size * c->hidden_size;
    int64_t chunk = CHUNK_ELEMENTS > CHUNK_ROWS * c->vocab_size ? CHUNK_ELEMENTS
                                                                : CHUNK_ROWS * c->vocab_size;
    if (how->tokens * c->vocab_size < chunk)
        chunk = how->tokens * c->vocab_size;
    if (how->scalar)
        return 2 * rows;
    return 3 * rows + (how->half ? 0 : chunk * FLOAT) + matrix * FLOAT +
           (how->half ? HALF * (2 * chunk + 2 * matrix + how->tokens * c->hidden_size) : 0);
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

int64_t hf_memory_batch(const struct hf_config *c, const struct hf_training *how) {
    struct widths w = widths_of(c);
    int64_t layers = how->recompute ? 1 : c->num_layers, d = w.d * FLOAT;
    int64_t graphs = layers * (how->tokens * graph_row(&w, how->half, is_plain(c)) +
                               (how->half ? HALF * matrices(&w) : 0));
    int64_t inputs = how->tokens * d * (how->recompute ? c->num_layers + 1 : 1);
    int64_t head = head_moment(c, how), layer = layer_moment(&w, how);
    int64_t embedding = c->vocab_size * d, all;
    if (how->recompute) /* no graph is there while the head is at work */
        all = inputs + larger(larger(head, embedding),
                              graphs + layer + how->tokens * scope_row(&w, how->half));
    else
        all = larger(inputs + graphs + larger(head, layer), embedding);
    /* The norm's copy is in fp64, and taken after backward; but what lies in the C library's
     * heap, blocks up to 32 MiB, stays there and is seldom used again as a whole. */
    int64_t copy = 2 * FLOAT * (how->normed < NORM_STRETCH ? how->normed : NORM_STRETCH);
    return copy <= HEAP_MAX ? all + copy : larger(all, copy);
}

void hf_memory_text(int64_t bytes, char *text, size_t size) {
    double b = (double)bytes;
    if (b >= 99.95e6)
        snprintf(text, size, "%.1f GB", b / 1e9);
    else if (b >= 0.95e6)
        snprintf(text, size, "%.0f MB", b / 1e6);
    else
        snprintf(text, size, "%.0f kB", b / 1e3);
}

void hf_memory_slots_text(int64_t slots, int64_t positions, char *text, size_t size) {
    if (positions >= 1000000)
        snprintf(text, size, "%lld × %lld,%03lld,%03lld", (long long)slots,
                 (long long)(positions / 1000000), (long long)(positions / 1000 % 1000),
                 (long long)(positions % 1000));
    else if (positions >= 1000)
        snprintf(text, size, "%lld × %lld,%03lld", (long long)slots, (long long)(positions / 1000),
                 (long long)(positions % 1000));
    else
        snprintf(text, size, "%lld × %lld", (long long)slots, (long long)positions);
}
