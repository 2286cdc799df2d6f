/* disk: what a job leaves, by its models' sizes, had another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "hf/memory.h"
#include "stage/disk.h"
#include <stdlib.h>
#include <string.h>

static char dir[] = "/tmp/cai-disk-XXXXXX";
static int64_t start, scalar;

static int setup(void **state) {
    (void)state;
    struct hf_footprint f;
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *path = cai_path_join(dir, "config.json");
    const char *text = "{\"model_type\":\"llama\",\"vocab_size\":1000,\"hidden_size\":256,"
                       "\"intermediate_size\":512,\"num_hidden_layers\":4,"
                       "\"num_attention_heads\":4,\"max_position_embeddings\":2048,"
                       "\"tie_word_embeddings\":true}";
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
    assert_int_equal(hf_memory_footprint(dir, false, &f, NULL), 0);
    start = 4 * f.all;
    assert_int_equal(hf_memory_footprint(dir, true, &f, NULL), 0);
    scalar = 4 * f.all;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return cai_dir_remove(dir);
}

static struct disk_plan plan_of(const char *changes) {
    struct job_spec *job = NULL;
    struct disk_plan p;
    json_error_t error;
    CAI_AUTO(mem) char *text = cai_format("{\"job\": 1, \"name\": \"x\", \"constitution\": \"c\", "
                                          "\"models\": {\"start\": \"%s\"%s", dir, changes);
    json_t *o = json_loads(text, 0, &error);
    assert_non_null(o);
    assert_int_equal(job_from_json(o, &job), 0);
    assert_int_equal(disk_plan(job, &p), 0);
    json_decref(o);
    job_free(job);
    return p;
}

static void every_round_leaves_its_models(void **state) {
    (void)state;
    /* Two policies and one after PPO, two preference models; PPO's states hold both models that
     * move, three times, three kept and one being written. */
    struct disk_plan p = plan_of("}}");
    assert_int_equal(p.models, 3 * start + 2 * scalar);
    assert_int_equal(p.states, 4 * 3 * (start + scalar));
    assert_int_equal(p.bytes, p.models + p.states);
    assert_non_null(strstr(p.text, "3 policies"));
    assert_non_null(strstr(p.text, "4 resumable states"));
    assert_non_null(strstr(p.lower, "keep.checkpoints"));
}

static void what_is_off_leaves_nothing(void **state) {
    (void)state;
    struct disk_plan p = plan_of("}, \"rounds\": 1, \"keep\": {\"checkpoints\": 1}, \"stages\": {"
                                 "\"ppo\": {\"enabled\": false}, \"sft\": {\"enabled\": false}, "
                                 "\"prefer\": {\"members\": 3}}}");
    assert_int_equal(p.models, 3 * scalar);
    assert_int_equal(p.states, 2 * 3 * scalar);
    assert_null(strstr(p.lower, "keep.checkpoints"));
    p = plan_of("}, \"stages\": {\"ppo\": {\"algorithm\": \"rloo\"}}}");
    assert_int_equal(p.states, 4 * 3 * (start > scalar ? start : scalar));
}

static void adapters_are_small(void **state) {
    (void)state;
    struct disk_plan p = plan_of(", \"lora\": {\"rank\": 4}}}");
    assert_true(p.models > 0 && p.models < start / 2);
    assert_null(strstr(p.lower, "lora"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_round_leaves_its_models),
        cmocka_unit_test(what_is_off_leaves_nothing),
        cmocka_unit_test(adapters_are_small),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
