/* memory.c: see memory.h. */
#include "hf/memory.h"

#include "base/check.h"
#include "hf/adapter.h"
#include <stdio.h>

static const int64_t kv_max = (int64_t)2 << 30;
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
    while (slots > 1 && hf_memory_kv(c, slots, positions) > kv_max)
        slots--;
    return slots;
}

/* What one layer's graph holds per token: about eight rows of the model's width, the heads
 * three times, the feed-forward four times. */
int64_t hf_memory_graph(const struct hf_config *c, int64_t tokens) {
    int64_t floats = 8 * c->hidden_size + 3 * (c->num_heads + c->num_kv_heads) * c->head_dim +
                     4 * c->intermediate_size;
    return tokens * floats * (int64_t)sizeof(float);
}

int64_t hf_memory_graphs(const struct hf_config *c, int64_t tokens) {
    return hf_memory_graph(c, tokens) * c->num_layers;
}

int64_t hf_memory_batch(const struct hf_config *c, int64_t tokens) {
    int64_t all = hf_memory_graphs(c, tokens);
    int64_t inputs = tokens * c->hidden_size * (c->num_layers + 1) * (int64_t)sizeof(float);
    return all > hf_graphs_max ? inputs + hf_memory_graph(c, tokens) : all;
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
