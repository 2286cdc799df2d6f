/* scale: a job made small, and its data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "job/sample.h"
#include "job/scale.h"
#include <stdlib.h>
#include <string.h>

static struct job_spec *job_of(const char *changes) {
    struct job_spec *job = NULL;
    json_error_t error;
    CAI_AUTO(mem) char *text = cai_format("{\"job\": 1, \"name\": \"x\", \"constitution\": \"c\", "
                                          "\"models\": {\"start\": \"m\"}%s}", changes);
    json_t *o = json_loads(text, 0, &error);
    assert_non_null(o);
    assert_int_equal(job_from_json(o, &job), 0);
    json_decref(o);
    return job;
}

static const struct job_scale eight = {.prompts = 8, .pairs = 8, .revisions = 2, .tokens = 32,
                                       .steps = 2, .rollouts = 8};

static void counts_only_fall(void **state) {
    (void)state;
    struct job_spec *j = job_of(", \"stages\": {\"evaluate\": {\"prompts\": 5}, \"label\": "
                                "{\"reply\": {\"max_tokens\": 16}}}, \"guards\": {\"tolerance\": 0.02}");
    job_scale(j, &eight);
    assert_int_equal(j->rounds, 1);
    assert_int_equal(j->red_team.samples, 8);
    assert_int_equal(j->revise.prompts, 8); /* 0 was all of them */
    assert_int_equal(j->revise.revisions, 2);
    assert_int_equal(j->revise.reply.max_tokens, 32);
    assert_int_equal(j->label.reply.max_tokens, 16);
    assert_int_equal(j->label.pairs, 8);
    assert_int_equal(j->label.gate_pairs, 8);
    assert_int_equal(j->evaluate.prompts, 5);
    assert_int_equal(j->ppo.steps, 2);
    assert_int_equal(j->ppo.rollouts, 8);
    assert_true(j->guards.alpha == 0 && j->guards.tolerance == 0 && j->prefer.gate_confidence == 0);
    assert_true(j->label.max_flipped == 1 && j->revise.max_dropped == 1);
    job_free(j);
}

static void groups_stay_whole(void **state) {
    (void)state;
    struct job_spec *j = job_of(", \"workers\": 3, \"stages\": {\"ppo\": {\"algorithm\": \"rloo\", "
                                "\"group\": 6, \"rollouts\": 240, \"minibatches\": 5}}");
    job_scale(j, &eight);
    assert_int_equal(j->ppo.rollouts, 12);
    job_free(j);
    j = job_of(", \"workers\": 9");
    job_scale(j, &eight);
    assert_int_equal(j->ppo.rollouts, 9);
    job_free(j);
}

static void nothing_given_leaves_the_jobs_own(void **state) {
    (void)state;
    struct job_spec *j = job_of(""), *was = job_of("");
    job_scale(j, &(struct job_scale){0});
    assert_int_equal(j->label.pairs, was->label.pairs);
    assert_int_equal(j->ppo.rollouts, was->ppo.rollouts);
    assert_int_equal(j->revise.prompts, was->revise.prompts);
    assert_int_equal(j->revise.reply.max_tokens, was->revise.reply.max_tokens);
    job_free(j);
    job_free(was);
}

static void a_sample_is_drawn_in_order(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-sample-XXXXXX";
    CAI_AUTO(buf) struct cai_buf text = {0}, found = {0};
    struct job_sample s;
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *from = cai_path_join(dir, "all.jsonl");
    CAI_AUTO(mem) char *to = cai_path_join(dir, "some.jsonl");
    for (int i = 0; i < 40; i++)
        cai_buf_printf(&text, "{\"prompt\": \"question %02d\", \"kind\": \"%s\"}\n", i,
                       i % 4 ? "harmful" : "lookalike");
    assert_int_equal(cai_file_write_atomic(from, text.data, text.len), 0);
    assert_int_equal(job_sample_data(JOB_DATA_EVALUATE, from, 0, 6, 1, to, &s), 0);
    assert_int_equal(s.rows, 40);
    assert_int_equal(s.kinds[0], 30);
    assert_int_equal(s.kinds[1], 0);
    assert_int_equal(s.kinds[2], 10);
    assert_int_equal(cai_file_read(to, 1 << 20, &found), 0);
    int n = 0, last = -1;
    for (const char *at = found.data; (at = strstr(at, "question ")); at += 9, n++) {
        int i = atoi(at + 9);
        assert_true(i > last);
        last = i;
    }
    assert_int_equal(n, 6);
    assert_non_null(strstr(found.data, "\"kind\""));
    assert_int_equal(job_sample_data(JOB_DATA_EVALUATE, from, 0, 60, 1, to, &s), 0);
    found.len = 0;
    assert_int_equal(cai_file_read(to, 1 << 20, &found), 0);
    assert_non_null(strstr(found.data, "question 39"));
    assert_int_equal(cai_dir_remove(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_only_fall),
        cmocka_unit_test(groups_stay_whole),
        cmocka_unit_test(nothing_given_leaves_the_jobs_own),
        cmocka_unit_test(a_sample_is_drawn_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
