/* memory: what a job's phases hold at once, in numbers that are had another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "hf/memory.h"
#include "stage/memory.h"
#include <stdlib.h>
#include <string.h>

static char small[] = "/tmp/cai-small-XXXXXX", large[] = "/tmp/cai-large-XXXXXX";
static struct hf_footprint start, start_scalar, other;
static struct hf_config config, other_config;

static void write_config(const char *dir, int layers) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "config.json");
    CAI_AUTO(mem) char *text = cai_format(
        "{\"model_type\":\"llama\",\"vocab_size\":1000,\"hidden_size\":256,"
        "\"intermediate_size\":512,\"num_hidden_layers\":%d,\"num_attention_heads\":4,"
        "\"max_position_embeddings\":2048,\"tie_word_embeddings\":true}", layers);
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
}

static int setup(void **state) {
    (void)state;
    assert_non_null(mkdtemp(small));
    assert_non_null(mkdtemp(large));
    write_config(small, 4);
    write_config(large, 12);
    assert_int_equal(hf_memory_footprint(small, false, &start, &config), 0);
    assert_int_equal(hf_memory_footprint(small, true, &start_scalar, NULL), 0);
    assert_int_equal(hf_memory_footprint(large, false, &other, &other_config), 0);
    return 0;
}

static struct memory_plan plan_of(const char *changes) {
    struct job_spec *job;
    struct memory_plan plan = {0};
    json_error_t error;
    CAI_AUTO(mem) char *text = cai_format(
        "{\"job\": 1, \"name\": \"x\", \"constitution\": \"house\", \"models\": {\"start\": \"%s\"%s",
        small, changes);
    json_t *o = json_loads(text, 0, &error);
    assert_non_null(o);
    int rc = job_from_json(o, &job);
    if (rc == 0)
        rc = memory_plan(job, &plan);
    if (rc < 0)
        print_error("%s\n", cai_error_text());
    assert_int_equal(rc, 0);
    json_decref(o);
    job_free(job);
    return plan;
}

static const struct memory_phase *phase(const struct memory_plan *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->phases[i].name, name) == 0)
            return &p->phases[i];
    return NULL;
}

static int64_t cache_of(const struct hf_config *c) { /* 64 sequences, or what fits in 2 GiB */
    return hf_memory_kv(c, hf_memory_slots(c, 64, 2048), 2048);
}

static void each_phase_holds_its_models(void **state) {
    (void)state;
    struct memory_plan p = plan_of("}}");
    struct hf_training tokens = {.tokens = 4096, .normed = start.all};
    struct hf_training scores = {.tokens = 4096, .scalar = true, .normed = start_scalar.all};
    int64_t batch = hf_memory_batch(&config, &tokens), scored = hf_memory_batch(&config, &scores);
    /* The start, the policy and the preference model; there are no more than three. */
    assert_int_equal(phase(&p, "generate")->bytes,
                     4 * (2 * start.all + start_scalar.all) + cache_of(&config));
    assert_non_null(strstr(phase(&p, "generate")->text, "3 models"));
    assert_non_null(strstr(phase(&p, "generate")->text, "KV 1."));
    assert_non_null(strstr(phase(&p, "generate")->text, " for 63 × 2,048") ||
                    strstr(phase(&p, "generate")->text, " for 64 × 2,048"));
    assert_int_equal(phase(&p, "sft")->bytes, 4 * 4 * start.all + batch);
    assert_int_equal(phase(&p, "prefer")->bytes, 4 * 4 * start_scalar.all + scored);
    assert_null(phase(&p, "classifier"));
    assert_int_equal(phase(&p, "ppo")->bytes,
                     4 * (4 * start.all + 4 * start_scalar.all + start.all + start_scalar.all) +
                         cache_of(&config) + (batch > scored ? batch : scored));
    assert_string_equal(p.phases[p.peak].name, "ppo");
    assert_non_null(strstr(p.lower, "stages.ppo"));
}

static void settings_show(void **state) {
    (void)state;
    struct memory_plan plain = plan_of("}}"), half = plan_of(", \"dtype\": \"bfloat16\"}}");
    assert_int_equal(phase(&half, "generate")->bytes - phase(&plain, "generate")->bytes,
                     2 * start.halved);
    assert_int_equal(phase(&half, "ppo")->bytes - phase(&plain, "ppo")->bytes, 2 * start.halved);
    assert_int_equal(phase(&half, "sft")->bytes, phase(&plain, "sft")->bytes);
    assert_non_null(strstr(half.lower, "models.dtype: float32"));
    assert_null(strstr(plain.lower, "models.dtype"));

    struct memory_plan train = plan_of(", \"train_dtype\": \"bfloat16\", \"recompute\": \"always\", "
                                       "\"micro_batch_tokens\": 512}}");
    struct hf_training tokens = {.tokens = 4096, .normed = start.all};
    struct hf_training few = {512, true, true, false, start.all};
    int64_t less = hf_memory_batch(&config, &tokens) - hf_memory_batch(&config, &few);
    assert_true(less > 0);
    assert_int_equal(phase(&plain, "sft")->bytes - phase(&train, "sft")->bytes, less);
    assert_int_equal(phase(&plain, "generate")->bytes, phase(&train, "generate")->bytes);
    assert_non_null(strstr(plain.lower, "models.micro_batch_tokens"));

    struct memory_plan four = plan_of("}, \"workers\": 4}");
    assert_int_equal(phase(&plain, "sft")->bytes - phase(&four, "sft")->bytes,
                     4 * 2 * start.all / 4 * 3); /* moments */

    struct memory_plan members = plan_of("}, \"stages\": {\"prefer\": {\"members\": 3}}}");
    assert_int_equal(phase(&members, "ppo")->bytes - phase(&plain, "ppo")->bytes,
                     2 * 4 * start_scalar.all);
    assert_non_null(strstr(members.lower, "stages.prefer.members"));

    struct memory_plan off = plan_of("}, \"stages\": {\"ppo\": {\"enabled\": false}, \"prefer\": "
                                     "{\"enabled\": false}}}");
    assert_null(phase(&off, "ppo"));
    assert_null(phase(&off, "prefer"));
    assert_int_equal(phase(&off, "generate")->bytes, 4 * 2 * start.all + cache_of(&config));
}

static void other_folders_count(void **state) {
    (void)state;
    CAI_AUTO(mem) char *changes = cai_format(", \"overseer\": \"%s\"}}", large);
    struct memory_plan p = plan_of(changes);
    /* The three largest of what can be met: the overseer, and the larger of start's kinds. */
    int64_t rest = start.all > start_scalar.all ? start.all : start_scalar.all;
    rest += start.all > start_scalar.all ? start.all : start.all;
    assert_int_equal(phase(&p, "generate")->bytes, 4 * (other.all + rest) + cache_of(&other_config));
    CAI_AUTO(mem) char *gone = cai_format("%s/gone", large);
    struct job_spec job = {.models = {.start = gone, .generator = "latest", .overseer = "start",
                                      .pm = "start", .dtype = "float32"}};
    assert_true(memory_plan(&job, &p) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_phase_holds_its_models),
        cmocka_unit_test(settings_show),
        cmocka_unit_test(other_folders_count),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
