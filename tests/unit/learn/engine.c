/* The engine: what is reproducible, what is shared, how replies end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hf/memory.h"
#include "base/check.h"
#include "base/error.h"
#include "learn/engine.h"
#include <math.h>
#include <string.h>

enum { V = 80, N = 13, NEW = 12 };
static struct model *m;
static int32_t prompts[N][60];
static struct gen_request requests[N];

static int setup(void **state)
{
    (void)state;
    struct hf_config c = {
        .model_type = "llama", .vocab_size = V, .hidden_size = 32, .intermediate_size = 48,
        .num_layers = 2, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .max_positions = 96,
        .rms_norm_eps = 1e-5, .rope_theta = 10000, .bos_token_id = -1, .eos_token_id = 5,
        .pad_token_id = -1};
    if (ct_init(2) < 0 || model_new(&c, cai_key_make(1, 0, "m", 0, 0), &m) < 0)
        return -1;
    ct_scale_(m->flat, 4.0); /* confident enough that rounding does not turn a greedy choice */
    for (int i = 0; i < N; i++) {
        int group = i / 3; /* three requests of each prompt; all prompts begin alike */
        for (int j = 0; j < 60; j++)
            prompts[i][j] = (int32_t)cai_rng_below(
                cai_key_make(2, 0, "p", j < 40 ? 0 : (uint64_t)group, 0), (uint64_t)j, V);
        requests[i] = (struct gen_request){.ids = prompts[i], .n_ids = (size_t)(44 + 3 * group),
                                           .key = cai_key_make(3, 0, "r", (uint64_t)i, 0)};
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    model_free(m);
    return 0;
}

static bool half; /* in bfloat16 */

static void generate(int slots, const struct gen_request *q, size_t n, double temperature,
                     struct gen_result *results)
{
    struct engine *e;
    struct engine_options o = {.slots = slots, .capacity = 90, .end_id = 6, .bfloat16 = half};
    struct sampling how = {.temperature = temperature, .top_p = 1, .max_tokens = NEW};
    assert_int_equal(engine_new(m, NULL, &o, &e), 0);
    assert_int_equal(engine_generate(e, q, n, &how, NULL, NULL, results), 0);
    engine_free(e);
}

static void assert_same(const struct gen_result *a, const struct gen_result *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->finish, b->finish);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof(int32_t));
    assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof(float));
}

static void free_all(struct gen_result *r)
{
    for (int i = 0; i < N; i++)
        gen_result_free(&r[i]);
}

static void the_same_call_gives_the_same_bits(void **state)
{
    (void)state;
    struct gen_result a[N], b[N];
    generate(4, requests, N, 1, a);
    generate(4, requests, N, 1, b);
    for (int i = 0; i < N; i++)
        assert_same(&a[i], &b[i]);
    assert_true(a[0].n != a[1].n || memcmp(a[0].ids, a[1].ids, a[0].n * sizeof(int32_t)));
    free_all(a);
    free_all(b);
}

/* Refilled slots, copied prompts and the shared head give what each request gives alone, to
 * the last bit. */
static void together_is_as_alone(void **state)
{
    (void)state;
    for (int slots = 1; slots <= 36; slots += 5) {
        struct gen_result together[N], alone[N];
        half = slots > 16;
        generate(slots, requests, N, 0.8, together);
        for (int i = 0; i < N; i++) {
            generate(1, &requests[i], 1, 0.8, &alone[i]);
            assert_same(&together[i], &alone[i]);
        }
        free_all(together);
        free_all(alone);
    }
    half = false;
}

/* In bfloat16 a greedy reply has nearly the log-probabilities of fp32; and an engine sees
 * what training changed since it was made. */
static void bfloat16_is_near_and_never_stale(void **state)
{
    (void)state;
    struct gen_result wide[1], narrow[1];
    struct engine *e;
    struct engine_options o = {.slots = 1, .capacity = 90, .end_id = -1, .bfloat16 = true};
    struct sampling greedy = {.top_p = 1, .max_tokens = 1};
    assert_int_equal(engine_new(m, NULL, &o, &e), 0);
    for (int round = 0; round < 2; round++) {
        generate(1, requests, 1, 0, wide);
        assert_int_equal(engine_generate(e, requests, 1, &greedy, NULL, NULL, narrow), 0);
        assert_int_equal(wide->ids[0], narrow->ids[0]);
        assert_true(fabsf(wide->logprobs[0] - narrow->logprobs[0]) < 2e-2f);
        gen_result_free(wide);
        gen_result_free(narrow);
        ct_scale_(m->flat, round == 0 ? 0.5 : 2.0);
    }
    engine_free(e);
}

static void what_does_not_fit_is_refused_with_its_plan(void **state)
{
    (void)state;
    struct engine *e = NULL;
    char plan[128];
    struct engine_options o = {.slots = 2000000000, .capacity = 96, .end_id = -1};
    assert_int_equal(engine_new(m, NULL, &o, &e), CAI_ELIMIT);
    assert_null(e);
    engine_plan(m, &o, plan, sizeof(plan));
    assert_non_null(strstr(plan, " for 2000000000 × 96 tokens"));
    assert_non_null(strstr(cai_error_text(), plan));
    o = (struct engine_options){.slots = 3, .capacity = 33, .end_id = -1};
    /* Keys and values, 2 layers × 2 heads × 8 wide, 4 slots of 64 positions. */
    assert_int_equal(engine_cache_bytes(m, &o), 2 * 2 * 2 * 8 * 4 * 64 * 4);
    assert_int_equal(engine_bytes(m, &o), engine_cache_bytes(m, &o));
    o.bfloat16 = true;
    assert_true(engine_bytes(m, &o) > engine_cache_bytes(m, &o));
    assert_int_equal(ct_cache_positions(33), 64); /* the plan's steps are the cache's */
    assert_int_equal(ct_cache_positions(1), HF_CACHE_STEP);
    assert_int_equal(engine_slots(m, 1000, 96), HF_SLOTS_MAX);
    assert_int_equal(engine_slots(m, 5, 96), 5);
    assert_int_equal(engine_slots(m, 0, 96), 1);
}

/* Draws are keyed by the request, log-probabilities are those of the packed forward. */
static void logprobs_are_the_models(void **state)
{
    (void)state;
    struct gen_result r[N];
    generate(5, requests, N, 1, r);
    for (int i = 0; i < N; i++) {
        int32_t ids[96];
        int64_t prompt = (int64_t)requests[i].n_ids, n = prompt + (int64_t)r[i].n;
        const int32_t *list[1] = {ids};
        memcpy(ids, prompts[i], (size_t)prompt * sizeof(int32_t));
        memcpy(ids + prompt, r[i].ids, r[i].n * sizeof(int32_t));
        struct pack *p;
        assert_int_equal(pack_new(m, list, &n, 1, &p), 0);
        ct_scope *s = ct_scope_open();
        ct_tensor *lp = ct_log_softmax(s, head_logits(s, m, transformer_hidden(s, m, p)));
        assert_int_equal(ct_scope_status(s), 0);
        float *rows = cai_realloc(NULL, (size_t)(n * V), sizeof(float));
        assert_int_equal(ct_read_f32(lp, rows, n * V), 0);
        for (int64_t j = prompt; j < n; j++)
            assert_true(fabsf(rows[(j - 1) * V + ids[j]] - r[i].logprobs[j - prompt]) < 1e-4f);
        free(rows);
        ct_scope_close(s);
        pack_free(p);
    }
    free_all(r);
}

static void replies_end_in_three_ways(void **state)
{
    (void)state;
    struct gen_result r[N];
    struct gen_request q[3] = {requests[0], requests[3], requests[6]};
    int32_t long_prompt[80];
    for (int i = 0; i < 80; i++)
        long_prompt[i] = i % V;
    q[1].ids = long_prompt;
    q[1].n_ids = 79; /* 79 + 12 > 90 */
    q[2].max_tokens = 2;
    generate(3, q, 3, 1, r);
    assert_int_equal(r[1].finish, FINISH_TOO_LONG);
    assert_int_equal(r[1].n, 0);
    assert_true(r[2].n <= 2);
    for (int i = 0; i < 3; i += 2) {
        int32_t last = r[i].ids[r[i].n - 1];
        bool ended = last == 5 || last == 6; /* the configuration's end, or the engine's */
        assert_int_equal(r[i].finish, ended ? FINISH_END : FINISH_LENGTH);
        for (size_t j = 0; j + 1 < r[i].n; j++)
            assert_true(r[i].ids[j] != 5 && r[i].ids[j] != 6);
    }
    for (int i = 0; i < 3; i++)
        gen_result_free(&r[i]);
}

/* torchtune's stop tokens: a reply ends with the first of several, which stays; one without any
 * of them goes on. */
static void any_of_several_ends_ends(void **state)
{
    (void)state;
    struct gen_result whole[N], cut[N];
    struct hf_config before = m->config;
    m->config.eos_token_id = -1;
    generate(4, requests, N, 1, whole);
    int64_t ends[2] = {whole[0].ids[2], whole[N - 1].ids[5]};
    m->config.eos_token_id = ends[0];
    memcpy(m->config.eos_ids, ends, sizeof ends);
    m->config.num_eos = 2;
    generate(4, requests, N, 1, cut);
    size_t ended = 0;
    for (int i = 0; i < N; i++) {
        size_t n = 0;
        while (n < whole[i].n && whole[i].ids[n] != ends[0] && whole[i].ids[n] != ends[1])
            n++;
        bool hit = n < whole[i].n;
        ended += hit;
        assert_int_equal(cut[i].n, hit ? n + 1 : whole[i].n);
        assert_memory_equal(cut[i].ids, whole[i].ids, cut[i].n * sizeof(int32_t));
        assert_int_equal(cut[i].finish, hit ? FINISH_END : whole[i].finish);
    }
    assert_true(ended >= 2);
    free_all(whole);
    free_all(cut);
    m->config = before;
}

static bool stop_now(void *context)
{
    return ++*(int *)context > 3;
}

static void a_stopped_call_ends(void **state)
{
    (void)state;
    struct gen_result r[N];
    struct engine *e;
    struct engine_options o = {.slots = 2, .capacity = 90, .end_id = -1};
    struct sampling how = {.temperature = 1, .top_p = 1, .max_tokens = NEW};
    int asked = 0;
    assert_int_equal(engine_new(m, NULL, &o, &e), 0);
    engine_on_stop(e, stop_now, &asked);
    assert_int_equal(engine_generate(e, requests, N, &how, NULL, NULL, r), CAI_ESTATE);
    assert_int_equal(asked, 4);
    how.max_tokens = 0;
    assert_int_equal(engine_generate(e, requests, N, &how, NULL, NULL, r), CAI_EINPUT);
    engine_free(e);
}

/* More options than slots, of mixed lengths, equal one by one in an engine of its own. */
static void options_in_waves_are_as_alone(void **state)
{
    (void)state;
    struct hf_ids options[5];
    double many[5], *lists[2] = {many, NULL}, other[1], one;
    for (int j = 0; j < 5; j++)
        options[j] = (struct hf_ids){prompts[j] + 3 * j, (size_t)(j + 1), 0};
    struct score_request q[2] = {{prompts[0], 45, options, 5}, {prompts[4], 50, options, 1}};
    lists[1] = other;
    struct engine *e;
    struct engine_options o = {.slots = 2, .capacity = 90, .end_id = -1};
    assert_int_equal(engine_new(m, NULL, &o, &e), 0);
    assert_int_equal(engine_score(e, q, 2, lists), 0);
    for (int j = 0; j < 5; j++) {
        double *list = &one;
        struct score_request alone = {prompts[0], 45, &options[j], 1};
        assert_int_equal(engine_score(e, &alone, 1, &list), 0);
        assert_true(fabs(one - many[j]) < 1e-4);
    }
    assert_true(many[4] < many[0] && isfinite(many[4]));
    struct score_request too_long = {prompts[0], 60, &(struct hf_ids){prompts[0], 60, 0}, 1};
    double *list = &one;
    assert_int_equal(engine_score(e, &too_long, 1, &list), CAI_ELIMIT);
    engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_call_gives_the_same_bits),
        cmocka_unit_test(together_is_as_alone),
        cmocka_unit_test(any_of_several_ends_ends),
        cmocka_unit_test(bfloat16_is_near_and_never_stale),
        cmocka_unit_test(what_does_not_fit_is_refused_with_its_plan),
        cmocka_unit_test(logprobs_are_the_models),
        cmocka_unit_test(replies_end_in_three_ways),
        cmocka_unit_test(a_stopped_call_ends),
        cmocka_unit_test(options_in_waves_are_as_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
