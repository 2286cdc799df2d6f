/* cost_held: memory of full tasks from small ones: what was resident, and what is larger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "hf/memory.h"
#include "stage/cost.h"
#include "stage/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MB = 1000000 };
static char dir[] = "/tmp/cai-held-XXXXXX";
static struct hf_config config;

static int setup(void **state) {
    static const char text[] =
        "{\"model_type\":\"llama\",\"vocab_size\":1000,\"hidden_size\":256,"
        "\"intermediate_size\":512,\"num_hidden_layers\":4,\"num_attention_heads\":4,"
        "\"max_position_embeddings\":2048,\"tie_word_embeddings\":true}";
    (void)state;
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *path = cai_path_join(dir, "config.json");
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
    return hf_config_load(dir, &config);
}

static int teardown(void **state) {
    (void)state;
    return cai_dir_remove(dir);
}

/* Two stages of one round, and PPO. */
static struct job_spec *job_of(const char *model, int prompts, int tokens, int batch, int steps,
                               int rollouts) {
    struct job_spec *job = NULL;
    json_error_t error;
    CAI_AUTO(mem) char *text = cai_format(
        "{\"job\": 1, \"name\": \"x\", \"constitution\": \"house\", \"models\": {\"start\": \"%s\"}, "
        "\"data\": {\"harmful\": \"r\", \"helpful\": \"h\", \"evaluate\": \"e\"}, \"rounds\": 1, "
        "\"stages\": {\"red_team\": {\"enabled\": false}, \"label\": {\"enabled\": false}, "
        "\"prefer\": {\"enabled\": false}, \"revise\": {\"prompts\": %d, \"revisions\": 1, "
        "\"reply\": {\"max_tokens\": %d}}, \"sft\": {\"batch\": %d, \"epochs\": 1, \"helpful\": 0}, "
        "\"evaluate\": {\"prompts\": 64, \"win_pairs\": 0}, \"ppo\": {\"steps\": %d, \"rollouts\": %d, "
        "\"rollout\": {\"max_tokens\": %d}}}}", model, prompts, tokens, batch, steps, rollouts, tokens);
    json_t *o = json_loads(text, 0, &error);
    assert_non_null(o);
    int rc = job_from_json(o, &job);
    if (rc < 0)
        print_error("%s\n", cai_error_text());
    assert_int_equal(rc, 0);
    json_decref(o);
    return job;
}

static struct cost_seen *add(struct cost_probe *p, const char *stage, const char *phase,
                             double items, struct cost_held held, int64_t memory) {
    struct cost_seen *s = &p->seen[p->n++];
    *s = (struct cost_seen){.tasks = 1, .items = items, .seconds = 1, .generated = items, .looks = 1,
                            .held = held, .memory = memory};
    snprintf(s->stage, sizeof s->stage, "%s", stage);
    snprintf(s->phase, sizeof s->phase, "%s", phase);
    return s;
}

static const struct cost_row *row_of(const struct cost_estimate *e, const char *stage) {
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->rows[i].stage, stage) == 0)
            return &e->rows[i];
    fail_msg("no row of %s", stage);
    return NULL;
}

/* Tasks of 15 prompts, of 40 tokens and a reply of 24 (two steps of 32 positions); full ones have 64,
 * and a reply of 88 (four). */
static void a_full_cache_is_larger(void **state) {
    (void)state;
    struct job_spec *full = job_of("m", 640, 88, 8, 1, 8), *small = job_of("m", 15, 24, 8, 1, 8);
    struct cost_probe p = {.job = small, .whole = true};
    struct cost_data data = {.harmful = 10000};
    struct cost_estimate e;
    struct cost_held held = {.items = 15, .cache = 16 * MB, .slots = 15, .positions = 64, .rows = 600};
    struct cost_seen *s = add(&p, "revise", "reply", 15, held, 200 * MB);
    cost_estimate(full, &data, &p, 1, &e);
    assert_int_equal(row_of(&e, "revise")->memory, 184 * MB + 65 * 2 * MB);
    /* The same job holds what was seen. */
    cost_estimate(small, &data, &p, 1, &e);
    assert_int_equal(row_of(&e, "revise")->memory, 200 * MB);
    /* Caches end at 2 GiB. */
    s->held.cache = 1600.0 * MB;
    cost_estimate(full, &data, &p, 1, &e);
    assert_int_equal(row_of(&e, "revise")->memory, hf_kv_max - (int64_t)1400 * MB);
    job_free(full);
    job_free(small);
}

/* With a config.json, calls count too: 100 tokens in a task of 4 prompts, 1,600 in one of 64; and
 * the logits of 60 more replies. */
static void full_calls_are_larger(void **state) {
    (void)state;
    struct job_spec *full = job_of(dir, 640, 24, 8, 1, 8), *small = job_of(dir, 4, 24, 8, 1, 8);
    struct cost_probe p = {.job = small, .whole = true};
    struct cost_data data = {.harmful = 10000};
    struct cost_estimate e;
    struct cost_held held = {.items = 4, .cache = 5 * MB, .slots = 4, .positions = 64, .rows = 100};
    struct cost_seen *s = add(&p, "revise", "reply", 4, held, 200 * MB);
    cost_estimate(full, &data, &p, 1, &e);
    int64_t logits = 60 * 1000 * 4, cache = (65 - 5) * MB;
    assert_int_equal(row_of(&e, "revise")->memory,
                     200 * MB + cache + logits + hf_memory_feed(&config, 1600) -
                         hf_memory_feed(&config, 100));
    s->held.rows = 1000; /* calls end at 2,048 */
    cost_estimate(full, &data, &p, 1, &e);
    assert_int_equal(row_of(&e, "revise")->memory,
                     200 * MB + cache + logits + hf_memory_feed(&config, HF_FEED_TOKENS) -
                         hf_memory_feed(&config, 1000));
    job_free(full);
    job_free(small);
}

/* Eight rows made a micro-batch of 800 tokens; 64 have 6,400, in two of
 * 3,200. The rows themselves are ten times as many. */
static void a_full_update_is_larger(void **state) {
    (void)state;
    struct job_spec *full = job_of(dir, 640, 24, 64, 1, 8), *small = job_of(dir, 8, 24, 64, 1, 8);
    struct cost_probe p = {.job = small, .whole = true, .sft_rows = 8};
    struct cost_data data = {.harmful = 10000};
    struct cost_estimate e;
    struct cost_held none = {.items = 8}, held = {.micro = 800, .data = MB};
    add(&p, "revise", "reply", 8, none, 150 * MB);
    struct cost_seen *s = add(&p, "sft", "sft", 0, held, 300 * MB);
    s->rows = 8;
    s->steps = 1;
    cost_estimate(full, &data, &p, 1, &e);
    int64_t more = memory_micro(full, "sft", 3200) - memory_micro(full, "sft", 800);
    assert_true(more > 0);
    assert_int_equal(row_of(&e, "sft")->memory, 300 * MB + more + 79 * MB);
    job_free(full);
    job_free(small);
}

/* What was measured after the rounds is said of what comes then, and of nothing else. */
static void after_the_rounds_is_apart(void **state) {
    (void)state;
    struct job_spec *job = job_of("m", 8, 24, 8, 1, 8);
    struct cost_probe p = {.job = job, .whole = true};
    struct cost_data data = {.harmful = 10000, .evaluate = {64, 0, 0}};
    struct cost_estimate e;
    struct cost_held none = {.items = 64};
    struct cost_seen *s = add(&p, "evaluate", "reply", 128, none, 200 * MB);
    s->memory_after = 220 * MB;
    s->looks = 2;
    cost_estimate(job, &data, &p, 1, &e);
    assert_string_equal(e.rows[e.n - 1].stage, "evaluate");
    assert_int_equal(e.rows[e.n - 1].memory, 220 * MB);
    assert_int_equal(row_of(&e, "evaluate")->memory, 200 * MB);
    s->memory_after = 0; /* not reached */
    cost_estimate(job, &data, &p, 1, &e);
    assert_int_equal(e.rows[e.n - 1].memory, 200 * MB);
    job_free(job);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_cache_is_larger),
        cmocka_unit_test(full_calls_are_larger),
        cmocka_unit_test(a_full_update_is_larger),
        cmocka_unit_test(after_the_rounds_is_apart),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
