/* Adapters over one base: fresh ones change nothing, each changes its own answers alone, the
 * base lives as long as the last of them, and cached passes agree with packed ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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
    (void)state;
    for (int i = 0; i < LENGTH; i++)
        ids[i] = (int32_t)cai_rng_below(cai_key_make(3, 0, "ids", 0, 0), (uint64_t)i, VOCAB);
    return ct_init(1);
}

static struct model *make_base(void)
{
    struct model *m;
    assert_int_equal(model_new(&tiny, cai_key_make(1, 0, "base", 0, 0), &m), 0);
    float *flat = ct_host_data(m->flat);
    for (int64_t i = 0; i < m->n; i++)
        flat[i] += 0.2f * (float)cai_rng_normal(cai_key_make(2, 0, "more", 0, 0), (uint64_t)i);
    return m;
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
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
