/* The forward passes against each other: packed, cached token by token, cached in pieces. */
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

static const struct hf_config tiny = {
    .model_type = "llama", .vocab_size = 96, .hidden_size = 32, .intermediate_size = 56,
    .num_layers = 3, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .max_positions = 64,
    .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = -1, .eos_token_id = -1,
    .pad_token_id = -1,
};

enum { A_LEN = 17, B_LEN = 9 };
static int32_t a_ids[A_LEN], b_ids[B_LEN];

static struct model *make(bool biased)
{
    struct hf_config c = tiny;
    struct model *m;
    c.attention_bias = c.mlp_bias = biased;
    assert_int_equal(model_new(&c, cai_key_make(1, 0, "test", 0, 0), &m), 0);
    struct cai_key key = cai_key_make(2, 0, "test", 0, 0);
    float *flat = ct_host_data(m->flat);
    for (int64_t i = 0; i < m->n; i++) /* larger weights, biases and norms too: a sharper test */
        flat[i] += 0.2f * (float)cai_rng_normal(key, (uint64_t)i);
    return m;
}

static int setup(void **state)
{
    (void)state;
    struct cai_key key = cai_key_make(3, 0, "ids", 0, 0);
    for (int i = 0; i < A_LEN; i++)
        a_ids[i] = (int32_t)cai_rng_below(key, (uint64_t)i, 96);
    for (int i = 0; i < B_LEN; i++)
        b_ids[i] = (int32_t)cai_rng_below(key, (uint64_t)(100 + i), 96);
    return ct_init(1);
}

/* Logits of one sequence, alone in a pack: [n, V]. */
static float *packed_logits(const struct model *m, const int32_t *const *ids,
                            const int64_t *lengths, int64_t n, int64_t *ret_t)
{
    struct pack *p;
    assert_int_equal(pack_new(m, ids, lengths, n, &p), 0);
    ct_scope *s = ct_scope_open();
    ct_tensor *logits = head_logits(s, m, transformer_hidden(s, m, p));
    assert_int_equal(ct_scope_status(s), 0);
    float *out = cai_realloc(NULL, (size_t)(p->t * m->config.vocab_size), sizeof(float));
    assert_int_equal(ct_read_f32(logits, out, p->t * m->config.vocab_size), 0);
    *ret_t = p->t;
    ct_scope_close(s);
    pack_free(p);
    return out;
}

static double max_difference(const float *a, const float *b, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

static void packed_neighbours_do_not_mix(void **state)
{
    (void)state;
    struct model *m = make(false);
    const int32_t *both[2] = {a_ids, b_ids}, *alone[1] = {b_ids};
    int64_t lengths[2] = {A_LEN, B_LEN}, alone_length[1] = {B_LEN}, t;
    float *x = packed_logits(m, both, lengths, 2, &t);
    assert_int_equal(t, A_LEN + B_LEN);
    float *y = packed_logits(m, alone, alone_length, 1, &t);
    assert_true(max_difference(x + A_LEN * 96, y, B_LEN * 96) < 1e-5);
    int32_t other[A_LEN];
    for (int i = 0; i < A_LEN; i++)
        other[i] = (a_ids[i] + 7) % 96;
    both[0] = other;
    float *z = packed_logits(m, both, lengths, 2, &t);
    assert_memory_equal(x + A_LEN * 96, z + A_LEN * 96, B_LEN * 96 * sizeof(float));
    assert_memory_not_equal(x, z, A_LEN * 96 * sizeof(float));
    free(x);
    free(y);
    free(z);
    model_free(m);
}

/* Reads `ids` in pieces, then token by token; the logits of the last row of each call. */
static void cached_row(const struct model *m, struct kv_cache *c, const int32_t *ids, int64_t n,
                       int64_t slot, int64_t past, bool decode, float *out)
{
    ct_scope *s = ct_scope_open();
    ct_tensor *h = decode ? transformer_decode(s, m, c, ids, &slot, &past, 1)
                          : transformer_prefill(s, m, c, &ids, &n, &slot, &past, 1);
    ct_tensor *logits = head_logits(s, m, h);
    assert_int_equal(ct_scope_status(s), 0);
    assert_int_equal(ct_read_f32(logits, out, m->config.vocab_size), 0);
    ct_scope_close(s);
}

static void cached_equals_packed(void **state)
{
    (void)state;
    for (int biased = 0; biased < 2; biased++) {
        struct model *m = make(biased);
        const int32_t *ids[1] = {a_ids};
        int64_t length[1] = {A_LEN}, t;
        float *want = packed_logits(m, ids, length, 1, &t), row[96];
        struct kv_cache *c;
        assert_int_equal(kv_cache_new(m, 3, 40, &c), 0);
        cached_row(m, c, a_ids, 5, 1, 0, false, row);
        assert_true(max_difference(row, want + 4 * 96, 96) < 1e-5);
        cached_row(m, c, a_ids + 5, 4, 1, 5, false, row);
        assert_true(max_difference(row, want + 8 * 96, 96) < 1e-5);
        assert_int_equal(kv_cache_copy(c, 1, 2, 9), 0);
        for (int i = 9; i < A_LEN; i++) {
            cached_row(m, c, a_ids + i, 1, 2, i, true, row);
            assert_true(max_difference(row, want + i * 96, 96) < 1e-5);
        }
        kv_cache_free(c);
        free(want);
        model_free(m);
    }
}

/* Rows of one decode step: the same bits whatever other slots and other rows hold. */
static void decode_two(const struct model *m, float junk, const int32_t *neighbour, float *out)
{
    struct kv_cache *c;
    assert_int_equal(kv_cache_new(m, 3, 40, &c), 0);
    for (int i = 0; i < c->layers; i++) {
        assert_int_equal(ct_fill_(c->k[i], (double)junk), 0);
        assert_int_equal(ct_fill_(c->v[i], (double)junk), 0);
    }
    const int32_t *ids[2] = {a_ids, neighbour};
    int64_t lengths[2] = {8, 8}, slots[2] = {0, 2}, past[2] = {0, 0}, positions[2] = {8, 8};
    int32_t next[2] = {a_ids[8], neighbour[3]};
    ct_scope *s = ct_scope_open();
    transformer_prefill(s, m, c, ids, lengths, slots, past, 2);
    ct_tensor *h = transformer_decode(s, m, c, next, slots, positions, 2);
    ct_tensor *logits = head_logits(s, m, h);
    assert_int_equal(ct_scope_status(s), 0);
    float both[2 * 96];
    assert_int_equal(ct_read_f32(logits, both, 2 * 96), 0);
    memcpy(out, both, 96 * sizeof(float));
    ct_scope_close(s);
    kv_cache_free(c);
}

static void junk_changes_no_bit(void **state)
{
    (void)state;
    struct model *m = make(false);
    float x[96], y[96];
    decode_two(m, 0.0f, b_ids, x);
    decode_two(m, 1e30f, a_ids + 4, y);
    assert_memory_equal(x, y, sizeof(x));
    model_free(m);
}

static void extend_gives_every_row(void **state)
{
    (void)state;
    struct model *m = make(true);
    const int32_t *one[1] = {a_ids}, *two[2] = {a_ids + 6, b_ids};
    int64_t length[1] = {A_LEN}, t, slots[2] = {0, 1}, past[2] = {6, 0}, zero = 0, six = 6;
    int64_t lengths[2] = {A_LEN - 6, B_LEN};
    float *want = packed_logits(m, one, length, 1, &t);
    struct kv_cache *c;
    assert_int_equal(kv_cache_new(m, 2, 40, &c), 0);
    ct_scope *s = ct_scope_open();
    transformer_prefill(s, m, c, one, &six, slots, &zero, 1);
    ct_tensor *h = transformer_extend(s, m, c, two, lengths, slots, past, 2);
    ct_tensor *logits = head_logits(s, m, h);
    assert_int_equal(ct_scope_status(s), 0);
    assert_int_equal(ct_size(logits, 0), A_LEN - 6 + B_LEN);
    float *got = cai_realloc(NULL, (A_LEN - 6 + B_LEN) * 96, sizeof(float));
    assert_int_equal(ct_read_f32(logits, got, (A_LEN - 6 + B_LEN) * 96), 0);
    assert_true(max_difference(got, want + 6 * 96, (A_LEN - 6) * 96) < 1e-5);
    ct_scope_close(s);
    free(got);
    free(want);
    kv_cache_free(c);
    model_free(m);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    struct model *m = make(false);
    struct pack *p;
    int32_t bad[2] = {1, 96}, fine[65] = {0};
    const int32_t *ids[1] = {bad};
    int64_t two = 2, none = 0, many = 65;
    assert_int_equal(pack_new(m, ids, &two, 1, &p), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "96"));
    assert_int_equal(pack_new(m, ids, &none, 1, &p), CAI_EINPUT);
    ids[0] = fine;
    assert_int_equal(pack_new(m, ids, &many, 1, &p), CAI_ELIMIT);
    struct kv_cache *c;
    assert_int_equal(kv_cache_new(m, 1, 8, &c), 0);
    int64_t slot = 0, at = 8;
    ct_scope *s = ct_scope_open();
    assert_null(transformer_decode(s, m, c, fine, &slot, &at, 1));
    assert_int_equal(ct_scope_status(s), CAI_ELIMIT);
    ct_scope_close(s);
    s = ct_scope_open();
    int64_t shape[2] = {1, 32};
    assert_null(head_scalar(s, m, ct_zeros(s, CT_F32, shape, 2)));
    assert_int_equal(ct_scope_status(s), CAI_ESTATE);
    ct_scope_close(s);
    kv_cache_free(c);
    model_free(m);
    struct hf_config odd = tiny;
    odd.head_dim = 7;
    assert_int_equal(model_new(&odd, (struct cai_key){0}, &m), CAI_EINPUT);
    odd = tiny;
    odd.num_kv_heads = 3;
    assert_int_equal(model_new(&odd, (struct cai_key){0}, &m), CAI_EINPUT);
}

static void clone_is_equal_and_apart(void **state)
{
    (void)state;
    struct model *m = make(false), *c;
    assert_int_equal(model_clone(m, &c), 0);
    const float *x = ct_host_data(m->flat), *y = ct_host_data(c->flat);
    assert_memory_equal(x, y, (size_t)m->n * sizeof(float));
    assert_int_equal(ct_fill_(c->embedding, 0), 0);
    assert_memory_not_equal(x, y, (size_t)m->n * sizeof(float));
    assert_true(m->layers[0].qkv != NULL); /* sizes are multiples of the padding here */
    assert_int_equal(model_copy_weights(c, m), 0);
    assert_memory_equal(x, y, (size_t)m->n * sizeof(float));
    model_free(c);
    model_free(m);
}

/* Scores of sequence a's rows, a row's heads beside each other: [A_LEN · heads]. */
static void scores_of(const struct model *m, int64_t heads, float *ret)
{
    const int32_t *ids[] = {a_ids};
    struct pack *p;
    assert_int_equal(pack_new(m, ids, (int64_t[]){A_LEN}, 1, &p), 0);
    ct_scope *s = ct_scope_open();
    ct_tensor *out = head_scalar(s, m, transformer_hidden(s, m, p));
    assert_int_equal(ct_scope_status(s), 0);
    assert_int_equal(ct_read_f32(out, ret, A_LEN * heads), 0);
    ct_scope_close(s);
    pack_free(p);
}

static void heads_share_a_trunk(void **state)
{
    (void)state;
    enum { HEADS = 3 };
    struct hf_config c = tiny;
    struct model *m, *heads;
    struct cai_key keys[HEADS];
    float own[A_LEN], all[A_LEN * HEADS], one[A_LEN];
    c.sequence_classification = true;
    for (uint32_t k = 0; k < HEADS; k++)
        keys[k] = cai_key_make(7, 0, "heads", k, 0);
    assert_int_equal(model_new(&c, cai_key_make(1, 0, "test", 0, 0), &m), 0);
    scores_of(m, 1, own);
    assert_int_equal(model_heads(m, keys, HEADS, &heads), 0);
    assert_int_equal(ct_numel(heads->score), HEADS * c.hidden_size);
    scores_of(heads, HEADS, all);
    double apart = 0;
    for (int i = 0; i < A_LEN; i++) {
        assert_true(fabs((double)all[i * HEADS] - (double)own[i]) < 1e-5); /* the first is m's */
        apart = fmax(apart, fabs((double)all[i * HEADS + 1] - (double)all[i * HEADS + 2]));
    }
    assert_true(apart > 1e-2);
    assert_int_equal(ct_fill_(m->flat, 0), 0);
    for (int64_t k = 0; k < HEADS; k++) {
        assert_int_equal(model_take_head(m, heads, k), 0);
        scores_of(m, 1, one);
        for (int i = 0; i < A_LEN; i++)
            assert_true(fabs((double)one[i] - (double)all[i * HEADS + k]) < 1e-5);
    }
    model_free(heads);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_neighbours_do_not_mix),
        cmocka_unit_test(cached_equals_packed),
        cmocka_unit_test(junk_changes_no_bit),
        cmocka_unit_test(extend_gives_every_row),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(clone_is_equal_and_apart),
        cmocka_unit_test(heads_share_a_trunk),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
