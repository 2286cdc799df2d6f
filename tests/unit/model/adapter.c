/* Adapters over one base: fresh ones change nothing, each changes its own answers alone, the
 * base lives as long as the last of them, and cached passes agree with packed ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../temporary.h"
#include "base/check.h"
#include "base/error.h"
#include "model/model.h"
#include <math.h>
#include <string.h>

enum { LENGTH = 13, VOCAB = 60 };
static int32_t ids[LENGTH];

static const struct hf_config tiny = {
    .model_type = "llama", .vocab_size = VOCAB, .hidden_size = 32, .intermediate_size = 56,
    .num_layers = 2, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .max_positions = 64,
    .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = -1, .eos_token_id = -1,
    .pad_token_id = -1,
};

static const struct hf_adapter lora = {
    .rank = 3, .alpha = 6, .n_targets = 3, .targets = {"q_proj", "v_proj", "up_proj"},
};

static int setup(void **state)
{
    if (make_dir(state) < 0)
        return -1;
    for (int i = 0; i < LENGTH; i++)
        ids[i] = (int32_t)cai_rng_below(cai_key_make(3, 0, "ids", 0, 0), (uint64_t)i, VOCAB);
    return ct_init(1);
}

static struct model *make_base_of(const struct hf_config *config)
{
    struct model *m;
    assert_int_equal(model_new(config, cai_key_make(1, 0, "base", 0, 0), &m), 0);
    float *flat = ct_host_data(m->flat);
    for (int64_t i = 0; i < m->n; i++)
        flat[i] += 0.2f * (float)cai_rng_normal(cai_key_make(2, 0, "more", 0, 0), (uint64_t)i);
    return m;
}

static struct model *make_base(void)
{
    return make_base_of(&tiny);
}

static struct model *adapt(struct model *base, bool scalar, bool moved, uint64_t seed)
{
    struct hf_adapter how = lora;
    struct model *m;
    how.scalar = scalar;
    assert_int_equal(model_adapt(base, &how, cai_key_make(seed, 0, "a", 0, 0), &m), 0);
    float *flat = ct_host_data(m->flat);
    for (int64_t i = 0; moved && i < m->n; i++)
        flat[i] += 0.1f * (float)cai_rng_normal(cai_key_make(seed, 0, "b", 0, 0), (uint64_t)i);
    return m;
}

/* Logits, or the score, of the last row: [VOCAB] or [1]. */
static void answer(const struct model *m, float *out)
{
    const int32_t *const list[1] = {ids};
    int64_t length = LENGTH, last = LENGTH - 1;
    struct pack *p;
    bool scalar = m->head == MODEL_HEAD_SCALAR;
    assert_int_equal(pack_new(m, list, &length, 1, &p), 0);
    ct_scope *s = ct_scope_open();
    ct_tensor *h = ct_index_select(s, transformer_hidden(s, m, p), 0, ct_from_i64(s, &last, 1));
    ct_tensor *y = scalar ? head_scalar(s, m, h) : head_logits(s, m, h);
    assert_int_equal(ct_scope_status(s), 0);
    assert_int_equal(ct_read_f32(y, out, scalar ? 1 : VOCAB), 0);
    ct_scope_close(s);
    pack_free(p);
}

static float apart(const float *a, const float *b)
{
    float worst = 0;
    for (int i = 0; i < VOCAB; i++)
        worst = fmaxf(worst, fabsf(a[i] - b[i]));
    return worst;
}

static void adapters_share_a_base(void **state)
{
    (void)state;
    float plain[VOCAB], one[VOCAB], two[VOCAB], again[VOCAB], score;
    struct model *base = make_base();
    answer(base, plain);
    struct model *fresh = adapt(base, false, false, 5);
    answer(fresh, one);
    assert_true(apart(plain, one) == 0);
    struct model *a = adapt(base, false, true, 6), *b = adapt(base, false, true, 7);
    struct model *pm = adapt(base, true, true, 8);
    assert_true(a->n < base->n / 4 && pm->n > a->n);
    answer(a, one);
    answer(b, two);
    answer(pm, &score);
    assert_true(apart(plain, one) > 0.05f && apart(one, two) > 0.05f && isfinite(score));
    assert_int_equal(ct_fill_(b->flat, 0), 0); /* what becomes of one is no other's matter */
    answer(base, again);
    assert_true(apart(plain, again) == 0);
    model_free(base);
    model_free(fresh);
    answer(a, again);
    assert_true(apart(one, again) == 0);
    answer(b, again);
    assert_true(apart(plain, again) == 0);
    struct model *copy;
    assert_int_equal(model_clone(a, &copy), 0);
    model_free(a);
    answer(copy, again);
    assert_true(apart(one, again) == 0);
    model_free(copy);
    model_free(pm);
    model_free(b);
}

static void cached_equals_packed(void **state)
{
    (void)state;
    float packed[VOCAB], cached[VOCAB];
    const int32_t *const list[1] = {ids};
    int64_t slot = 1, past = 0, length = LENGTH - 1;
    struct model *base = make_base(), *m = adapt(base, false, true, 9);
    struct kv_cache *c;
    answer(m, packed);
    assert_int_equal(kv_cache_new(m, 2, 32, &c), 0);
    ct_scope *s = ct_scope_open();
    transformer_prefill(s, m, c, list, &length, &slot, &past, 1);
    ct_tensor *h = transformer_decode(s, m, c, ids + length, &slot, &length, 1);
    ct_tensor *y = head_logits(s, m, h);
    assert_int_equal(ct_scope_status(s), 0);
    assert_int_equal(ct_read_f32(y, cached, VOCAB), 0);
    assert_true(apart(packed, cached) < 1e-5f);
    ct_scope_close(s);
    kv_cache_free(c);
    model_free(m);
    model_free(base);
}

/* ---- folders ---------------------------------------------------------------------------- */

static char *at(const char *name)
{
    return cai_path_join(dir, name);
}

/* DIR/name with the base, and adapters over it in DIR/name-a, DIR/name-b, DIR/name-pm. */
static void save_world(const char *name)
{
    static const char *const ends[] = {"-a", "-b", "-pm"};
    CAI_AUTO(mem) char *folder = at(name);
    struct model *fresh = make_base(), *base;
    assert_int_equal(model_save(fresh, folder), 0);
    model_free(fresh);
    assert_int_equal(model_load(folder, &base), 0);
    for (uint64_t i = 0; i < 3; i++) {
        CAI_AUTO(mem) char *to = cai_format("%s%s", folder, ends[i]);
        struct model *m = adapt(base, i == 2, true, 20 + i);
        assert_int_equal(model_save(m, to), 0);
        model_free(m);
    }
    model_free(base);
}

/* However many are loaded beside each other, there is one base. */
static void folders_share_a_base(void **state)
{
    (void)state;
    float alone[VOCAB], beside[VOCAB];
    CAI_AUTO(mem) char *whole = at("shared"), *a = at("shared-a"), *b = at("shared-b");
    CAI_AUTO(mem) char *pm = at("shared-pm"), *config = at("shared/config.json");
    struct model *list[4], *first, *other;
    save_world("shared");
    assert_int_equal(model_load(b, &first), 0);
    answer(first, alone);
    model_free(first);
    assert_int_equal(model_load(a, &list[0]), 0);
    assert_int_equal(model_load_beside(b, list, 1, &list[1]), 0);
    assert_int_equal(model_load_beside(pm, list, 2, &list[2]), 0);
    assert_int_equal(model_load_beside(whole, list, 3, &list[3]), 0);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(list[i]->base, list[3]);
    assert_int_equal(list[3]->uses, 4);
    answer(list[1], beside);
    assert_true(apart(alone, beside) == 0);
    /* A folder that was written anew is another base, though its bytes are the same. */
    CAI_AUTO(buf) struct cai_buf text = {0};
    assert_int_equal(cai_file_read(config, 1 << 20, &text), 0);
    assert_int_equal(cai_file_write_atomic(config, text.data, text.len), 0);
    assert_int_equal(model_load_beside(a, list, 4, &other), 0);
    assert_ptr_not_equal(other->base, list[3]);
    model_free(other);
    for (int i = 3; i >= 0; i--)
        model_free(list[i]);
}

/* An adapter names its base by hash, and knows another. */
static void a_changed_base_is_known(void **state)
{
    (void)state;
    char one[65], two[65];
    CAI_AUTO(mem) char *whole = at("changed"), *a = at("changed-a");
    struct model *m, *other;
    save_world("changed");
    assert_int_equal(hf_model_hash(a, one), 0);
    assert_int_equal(model_load(a, &m), 0);
    m->adapter.base[0] = '\0';
    assert_int_equal(model_save(m, a), 0); /* where the base lies is no part of the hash */
    snprintf(m->adapter.base, sizeof(m->adapter.base), "../changed");
    assert_int_equal(model_save(m, a), 0);
    assert_int_equal(hf_model_hash(a, two), 0);
    assert_string_equal(one, two);
    assert_int_equal(model_load(a, &other), 0);
    assert_int_equal(ct_fill_(m->base->flat, 0.5), 0);
    assert_int_equal(model_save(m->base, whole), 0);
    assert_int_equal(hf_model_hash(a, two), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "has changed since the adapter was trained"));
    assert_int_equal(model_save(other, a), CAI_ESTATE); /* what is in memory is of no folder */
    assert_non_null(strstr(cai_error_text(), "has changed since it was loaded"));
    model_free(other);
    model_free(m);
}

/* What computes the same, without knowing of adapters: families differ in where a matrix
 * lies in the file. */
static void merged_equals_unmerged(void **state)
{
    (void)state;
    static const struct {
        const char *family, *target;
    } cases[] = {{"llama", "all-linear"}, {"gpt2", "c_attn"}, {"gpt2", "mlp.c_proj"},
                 {"phi3", "all-linear"}, {"gpt_neox", "query_key_value"}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct hf_config c = tiny;
        struct hf_adapter how = {.rank = 2, .alpha = 3, .n_targets = 1};
        float plain[VOCAB], unmerged[VOCAB], merged[VOCAB];
        CAI_AUTO(mem) char *base = cai_format("%s/base-%zu", dir, i);
        CAI_AUTO(mem) char *adapter = cai_format("%s/adapter-%zu", dir, i);
        CAI_AUTO(mem) char *to = cai_format("%s/merged-%zu", dir, i);
        struct model *fresh, *m, *whole = NULL;
        snprintf(c.model_type, sizeof(c.model_type), "%s", cases[i].family);
        snprintf(how.targets[0], sizeof(how.targets[0]), "%s", cases[i].target);
        c.num_kv_heads = c.num_heads;
        c.attention_bias = c.mlp_bias = hf_family(&c)->norm == HF_NORM_LAYER;
        fresh = make_base_of(&c);
        answer(fresh, plain);
        assert_int_equal(model_save(fresh, base), 0);
        model_free(fresh);
        assert_int_equal(model_load(base, &fresh), 0);
        assert_int_equal(model_adapt(fresh, &how, cai_key_make(3, 0, "m", 0, 0), &m), 0);
        float *flat = ct_host_data(m->flat);
        for (int64_t k = 0; k < m->n; k++)
            flat[k] += 0.1f * (float)cai_rng_normal(cai_key_make(4, 0, "n", 0, 0), (uint64_t)k);
        answer(m, unmerged);
        assert_int_equal(model_save(m, adapter), 0);
        if (hf_adapter_merge(adapter, to) < 0 || model_load(to, &whole) < 0)
            fail_msg("%s: %s", cases[i].family, cai_error_text());
        assert_null(whole->base);
        answer(whole, merged);
        assert_true(apart(plain, unmerged) > 0.05f);
        assert_true(apart(unmerged, merged) < 2e-5f);
        assert_int_equal(hf_adapter_merge(adapter, to), CAI_EINPUT); /* it is there already */
        model_free(whole);
        model_free(m);
        model_free(fresh);
    }
}

/* A preference model may begin with the policy's adapter. */
static void a_head_on_an_adapter(void **state)
{
    (void)state;
    CAI_AUTO(mem) char *a = at("head-a"), *pm = at("head-pm"), *to = at("head-never");
    struct cai_key key = cai_key_make(9, 0, "head", 0, 0);
    struct model *m, *scalar;
    float score;
    save_world("head");
    assert_int_equal(model_load(a, &m), 0);
    assert_int_equal(model_load_scalar(a, key, &scalar), 0);
    assert_true(scalar->head == MODEL_HEAD_SCALAR && scalar->n_params == m->n_params + 1);
    assert_memory_equal(ct_host_data(scalar->flat), ct_host_data(m->flat),
                        (size_t)m->n * sizeof(float));
    answer(scalar, &score);
    assert_true(score != 0 && isfinite(score));
    model_free(scalar);
    model_free(m);
    assert_int_equal(hf_adapter_merge(pm, to), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "PEFT opens it over its base"));
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct model *base = make_base(), *m = adapt(base, false, false, 5), *none;
    struct hf_adapter how = lora;
    assert_int_equal(model_adapt(m, &how, (struct cai_key){0}, &none), CAI_EINPUT);
    snprintf(how.targets[0], sizeof(how.targets[0]), "embed_tokens");
    assert_int_equal(model_adapt(base, &how, (struct cai_key){0}, &none), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "embed_tokens"));
    model_free(m);
    model_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_share_a_base),
        cmocka_unit_test(cached_equals_packed),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(folders_share_a_base),
        cmocka_unit_test(a_changed_base_is_known),
        cmocka_unit_test(merged_equals_unmerged),
        cmocka_unit_test(a_head_on_an_adapter),
    };
    return cmocka_run_group_tests(tests, setup, remove_dir);
}
