/* engine_decode: how steps are filled up; a step with its inputs as tensors, as a GPU records
 * it, gives what the step with host lists gives, step after step and whatever runs beside
 * it; what it cannot do is refused. Here it is computed anew each time, on the processor, over
 * a cache kept as a GPU keeps it; recorded, on a GPU, in tests/device. */
#include "common.h"

#include "learn/engine_decode.h"

enum { SLOTS = 6, SPARE = 5, CAPACITY = 40, VOCAB = 64, STEPS = 6 };

static void few_sizes_near_what_is_asked(void **state) {
    static const int64_t asked[] = {1, 2, 3, 4, 5, 8, 9, 16, 17, 63, 64};
    static const int64_t given[] = {1, 2, 4, 4, 8, 8, 16, 16, 24, 64, 64};
    int64_t last = 0, sizes = 0;
    (void)state;
    for (size_t i = 0; i < CAI_COUNT(asked); i++)
        assert_int_equal(decoder_rows(asked[i], 64), given[i]);
    for (int64_t n = 1; n <= 50; n++) { /* at most as many as there are slots */
        int64_t rows = decoder_rows(n, 50);
        assert_true(rows >= n && rows <= 50);
        sizes += rows != last;
        last = rows;
    }
    assert_int_equal(sizes, 10);
    assert_int_equal(decoder_rows(3, 3), 3);
}

/* A model whose layers differ: the first sees a window, scores are capped. */
static struct model *make(bool special) {
    struct hf_config c = tiny_config(false);
    struct model *m;
    if (special) {
        c.layers[0] |= HF_LAYER_SLIDES;
        c.sliding_window = 5;
        c.attention_softcap = 3;
    }
    must(model_new(&c, cai_key_make(4, 0, "test", 0, 0), &m));
    must(ct_scale_(m->flat, 5));
    return m;
}

static void read_prompts(const struct model *m, struct kv_cache *c, const int64_t *slots,
                         const int64_t *lengths, int64_t n) {
    static int32_t text[SLOTS][CAPACITY];
    const int32_t *ids[SLOTS];
    int64_t past[SLOTS] = {0};
    for (int64_t i = 0; i < n; i++) {
        for (int j = 0; j < CAPACITY; j++)
            text[i][j] = (int32_t)((j * 7 + i * 13 + 3) % VOCAB);
        ids[i] = text[i];
    }
    ct_scope *s = ct_scope_open();
    transformer_prefill(s, m, c, ids, lengths, slots, past, n);
    must(ct_scope_status(s));
    ct_scope_close(s);
}

static void step_by_lists(const struct model *m, struct kv_cache *c, const int32_t *ids,
                          const int64_t *slots, const int64_t *at, int64_t n, float *out) {
    ct_scope *s = ct_scope_open();
    ct_tensor *h = transformer_decode(s, m, c, ids, slots, at, n);
    must(ct_read_f32(head_logits(s, m, h), out, n * VOCAB));
    must(ct_scope_status(s));
    ct_scope_close(s);
}

static void both_ways(struct model *m) {
    static const int64_t slots[3] = {3, 0, 2}, lengths[3] = {9, 4, 1};
    struct kv_cache *a, *b;
    struct decoder *d;
    struct decoder_options o = {.rows = 5, .spare = SPARE};
    must(kv_cache_new_of(m, CT_BF16, SLOTS, CAPACITY, &a));
    must(kv_cache_new_of(m, CT_BF16, SLOTS, CAPACITY, &b));
    read_prompts(m, a, slots, lengths, 3);
    read_prompts(m, b, slots, lengths, 3);
    must(decoder_new(m, a, &o, &d));
    for (int step = 0; step < STEPS; step++) {
        int64_t n = step == 2 ? 1 : 3, at[3]; /* three rows are filled up to four */
        int32_t ids[3];
        float want[3 * VOCAB];
        const float *got;
        for (int64_t i = 0; i < 3; i++) {
            ids[i] = (int32_t)((step * 5 + i * 11 + 1) % VOCAB);
            at[i] = lengths[i] + step - (i > 0 && step > 2);
        }
        must(decoder_step(d, ids, slots, at, n, &got));
        step_by_lists(m, b, ids, slots, at, n, want);
        double worst = worst_difference(got, want, n * VOCAB);
        if (worst > 2e-4)
            fail_msg("step %d differs by %g", step, worst);
    }
    decoder_free(d);
    kv_cache_free(a);
    kv_cache_free(b);
}

static void a_step_is_the_same_both_ways(void **state) {
    (void)state;
    for (int special = 0; special < 2; special++) {
        struct model *m = make(special);
        both_ways(m);
        model_free(m);
    }
}

/* The row's numbers are its own: other rows, other slots' content, another size of step. */
static void company_does_not_matter(void **state) {
    static const int64_t slots[4] = {1, 0, 2, 3}, lengths[4] = {6, 3, 9, 2};
    static const int32_t ids[4] = {7, 8, 9, 10};
    struct model *m = make(false);
    struct kv_cache *c;
    struct decoder *d;
    struct decoder_options o = {.rows = 5, .spare = SPARE};
    float alone[VOCAB];
    const float *got;
    (void)state;
    must(kv_cache_new_of(m, CT_BF16, SLOTS, CAPACITY, &c));
    must(decoder_new(m, c, &o, &d));
    read_prompts(m, c, slots, lengths, 1);
    must(decoder_step(d, ids, slots, lengths, 1, &got));
    memcpy(alone, got, sizeof alone);
    read_prompts(m, c, slots, lengths, 4);
    must(decoder_step(d, ids, slots, lengths, 4, &got));
    assert_true(worst_difference(alone, got, VOCAB) < 1e-5);
    decoder_free(d);
    kv_cache_free(c);
    model_free(m);
}

static void what_it_cannot_do_is_refused(void **state) {
    struct model *m = make(false), *turning;
    struct hf_config c = tiny_config(false);
    struct kv_cache *cache;
    struct decoder_options o = {.rows = 2, .spare = SPARE};
    struct decoder *d = (void *)state;
    const float *got;
    (void)state;
    c.rope.kind = HF_ROPE_DYNAMIC;
    c.rope.factor = 2;
    must(model_new(&c, cai_key_make(4, 0, "test", 0, 0), &turning));
    must(kv_cache_new_of(turning, CT_BF16, SLOTS, CAPACITY, &cache));
    assert_int_equal(decoder_new(turning, cache, &o, &d), CAI_ESTATE);
    assert_null(d);
    kv_cache_free(cache);
    model_free(turning);
    must(kv_cache_new_of(m, CT_BF16, SLOTS, CAPACITY, &cache));
    must(decoder_new(m, cache, &o, &d));
    int64_t slot = 0, at = CAPACITY;
    int32_t id = 1;
    assert_int_equal(decoder_step(d, &id, &slot, &at, 1, &got), CAI_ELIMIT);
    at = 0;
    id = VOCAB;
    assert_int_equal(decoder_step(d, &id, &slot, &at, 1, &got), CAI_EINPUT);
    decoder_free(d);
    kv_cache_free(cache);
    /* The processor's own caches keep keys in another order: never read as if they did not. */
    must(kv_cache_new(m, SLOTS, CAPACITY, &cache));
    must(decoder_new(m, cache, &o, &d));
    id = 1;
    assert_true(decoder_step(d, &id, &slot, &at, 1, &got) < 0);
    assert_non_null(strstr(cai_error_text(), "packed"));
    decoder_free(d);
    kv_cache_free(cache);
    model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_sizes_near_what_is_asked),
        cmocka_unit_test(a_step_is_the_same_both_ways),
        cmocka_unit_test(company_does_not_matter),
        cmocka_unit_test(what_it_cannot_do_is_refused),
    };
    return ct_init(1) < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
