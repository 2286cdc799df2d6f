/* job: defaults, the template, JSON and back, --set, what settings must hold together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "job/job.h"
#include "job/settings.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char minimal[] = "job: 1\nname: a\nmodels: {start: ./m}\nconstitution: house\n"
                              "data: {harmful: red.jsonl}\n";

/* NULL when it is refused. */
static struct job_spec *parse_any(const char *text, struct input_report *report) {
    struct job_spec *j = NULL;
    int rc = job_parse("j.yaml", text, strlen(text), NULL, report, &j);
    assert_true((rc == 0) == (j != NULL));
    return j;
}

static struct job_spec *parse(const char *text, struct input_report *report) {
    struct job_spec *j = parse_any(text, report);
    if (!j)
        print_error("%s", report->text.data);
    assert_non_null(j);
    return j;
}

/* What a red model needs, and is said where it stands. */
static void red_models(void **state) {
    (void)state;
    static const struct {
        const char *settings, *error;
    } cases[] = {{"method: supervised", NULL},
                 {"method: rl", "there is no data.classifier"},
                 {"method: rl, rl: {alpha: 1.5}", "alpha"},
                 {"method: telepathy", "zero_shot"}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct input_report report = {0};
        CAI_AUTO(mem) char *text = cai_format("%sstages: {red_team: {%s}}\n", minimal,
                                              cases[i].settings);
        struct job_spec *j = parse_any(text, &report);
        assert_true((j == NULL) == (cases[i].error != NULL));
        if (cases[i].error)
            assert_non_null(strstr(report.text.data, cases[i].error));
        job_free(j);
        input_report_free(&report);
    }
    struct input_report report = {0};
    CAI_AUTO(mem) char *text = cai_format(
        "%sdata: {classifier: c.jsonl}\nstages: {ppo: {minibatches: 8}, red_team: {method: rl, "
        "rl: {rollouts: 4}}}\n", minimal);
    assert_null(parse_any(text, &report));
    assert_non_null(strstr(report.text.data, "stages.red_team.rl.rollouts is less"));
    input_report_free(&report);
}

static void defaults(void **state) {
    (void)state;
    struct input_report report = {0};
    struct job_spec *j = parse(minimal, &report);
    assert_int_equal(j->seed, 1);
    assert_int_equal(j->rounds, 2);
    assert_true(j->sft.enabled && j->sft.optimizer.lr == 1e-5);
    assert_string_equal(j->sft.optimizer.schedule, "constant");
    assert_true(j->red_team.sampling.top_p == 0.95 && j->label.swap);
    assert_true(j->ppo.kl_coef == 0.05 && j->ppo.lambda == 0.95 && j->ppo.no_end_reward == -1);
    assert_string_equal(j->models.generator, "latest");
    assert_string_equal(j->models.red, "start");
    assert_string_equal(j->red_team.method, "few_shot");
    assert_string_equal(j->red_team.form, "any");
    assert_string_equal(j->red_team.from, "start");
    assert_null(j->red_team.request);
    assert_true(j->red_team.explore == 0 && j->red_team.supervised.epochs == 1);
    assert_true(j->red_team.rl.alpha == 0.3 && j->red_team.rl.penalty == -3);
    assert_true(j->red_team.coverage == 32 && j->red_team.check == 10);
    assert_null(j->data.helpful);
    assert_non_null(strstr(report.text.data, "warning[W201]: data.helpful is absent"));
    job_free(j);
    input_report_free(&report);
}

static void template_reads_back(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf text = {0};
    job_write_template(&text);
    struct input_report report = {0}, other = {0};
    /* the template leaves data to the person; a prompt file makes it whole */
    char *at = strstr(text.data, "  # harmful: ");
    assert_non_null(at);
    memmove(at + 2, at + 4, strlen(at + 4) + 1);
    struct job_spec *j = parse(text.data, &report), *d = parse(minimal, &other);
    json_t *a = job_to_json(j), *b = job_to_json(d);
    const char *const differ[] = {"name", "models", "constitution", "data"};
    for (size_t i = 0; i < CAI_COUNT(differ); i++) {
        json_object_del(a, differ[i]);
        json_object_del(b, differ[i]);
    }
    assert_true(json_equal(a, b)); /* what is written is the default */
    json_decref(a);
    json_decref(b);
    job_free(j);
    job_free(d);
    input_report_free(&report);
    input_report_free(&other);
}

static void stages_off(void **state) {
    (void)state;
    struct input_report report = {0};
    struct job_spec *j =
        parse("job: 1\nname: a\nmodels: {start: m}\nconstitution: c\n"
              "data: {harmful: h}\nstages: {ppo: off, evaluate: false, red_team: no,\n"
              "  sft: {lr: 2e-5, enabled: false}, label: {swap: no, reply: {max_tokens: 7}}}\n",
              &report);
    assert_false(j->ppo.enabled || j->evaluate.enabled || j->red_team.enabled || j->sft.enabled);
    assert_true(j->revise.enabled && j->label.enabled && !j->label.swap);
    assert_int_equal(j->label.reply.max_tokens, 7);
    assert_true(j->sft.optimizer.lr == 2e-5);
    job_free(j);
    input_report_free(&report);
}

static void a_tolerance_needs_evaluation(void **state) {
    (void)state;
    struct input_report report = {0};
    assert_null(parse_any("job: 1\nname: a\nmodels: {start: m}\nconstitution: c\n"
                          "data: {harmful: h}\nstages: {evaluate: off}\nguards: {tolerance: 0.02}\n",
                          &report));
    assert_non_null(strstr(report.text.data, "nothing is evaluated"));
    input_report_free(&report);
}

static void json_round_trip(void **state) {
    (void)state;
    struct input_report report = {0};
    struct job_spec *j = parse(minimal, &report), *k = NULL;
    assert_int_equal(job_set(j, "stages.ppo.kl.coef=0.1", &report), 0);
    json_t *a = job_to_json(j);
    char *text = json_dumps(a, 0);
    json_t *parsed = json_loads(text, 0, NULL);
    assert_int_equal(job_from_json(parsed, &k), 0);
    json_t *b = job_to_json(k);
    assert_true(json_equal(a, b));
    assert_true(k->ppo.kl_coef == 0.1);
    json_object_set_new(json_object_get(json_object_get(parsed, "stages"), "sft"), "lr",
                        json_integer(2));
    job_free(k);
    assert_int_equal(job_from_json(parsed, &k), CAI_EINPUT);
    assert_string_equal(cai_error_text(), "job: 'stages.sft.lr' is 2, allowed 0 to 1");
    json_object_set_new(parsed, "stages", json_pack("{s:{s:i}}", "sft", "lrr", 1));
    assert_int_equal(job_from_json(parsed, &k), CAI_EINPUT);
    assert_string_equal(cai_error_text(), "job: unknown member 'stages.sft.lrr'");
    json_object_del(parsed, "stages");
    json_object_del(parsed, "name");
    assert_int_equal(job_from_json(parsed, &k), CAI_EINPUT);
    free(text);
    json_decref(a);
    json_decref(b);
    json_decref(parsed);
    job_free(j);
    input_report_free(&report);
}

static void stage_json(void **state) {
    (void)state;
    struct input_report report = {0};
    struct job_spec *j = parse(minimal, &report);
    json_t *o = job_stage_json(j, "ppo");
    assert_true(json_real_value(json_object_get(o, "kl_budget")) == 20);
    assert_true(json_real_value(json_object_get(json_object_get(o, "kl"), "horizon")) == 10000);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(o, "rollout"), "max_tokens")), 256);
    assert_true(json_is_true(json_object_get(o, "whiten_advantages")));
    assert_string_equal(json_string_value(json_object_get(o, "algorithm")), "ppo");
    assert_true(json_number_value(json_object_get(json_object_get(o, "dpo"), "beta")) == 0.1);
    assert_true(json_number_value(json_object_get(o, "loss_spike")) == 10);
    assert_int_equal(json_integer_value(json_object_get(o, "max_skipped")), 3);
    assert_null(json_object_get(o, "lora")); /* whole weights, unless the job says otherwise */
    json_decref(o);
    assert_int_equal(job_set(j, "models.lora.rank=16", &report), 0);
    assert_int_equal(job_set(j, "models.lora.targets=q_proj,v_proj", &report), 0);
    o = job_stage_json(j, "prefer");
    const json_t *lora = json_object_get(o, "lora");
    assert_int_equal(json_integer_value(json_object_get(lora, "rank")), 16);
    assert_true(json_number_value(json_object_get(lora, "alpha")) == 8);
    assert_string_equal(json_string_value(json_object_get(lora, "targets")), "q_proj,v_proj");
    json_decref(o);
    assert_int_equal(job_set(j, "models.micro_batch_tokens=512", &report), 0);
    assert_int_equal(job_set(j, "stages.sft.batch_tokens=9000", &report), 0);
    assert_true(job_set(j, "models.micro_batch_tokens=0", &report) < 0);
    assert_true(job_set(j, "models.recompute=sometimes", &report) < 0);
    o = job_stage_json(j, "sft");
    assert_int_equal(json_integer_value(json_object_get(o, "micro_batch_tokens")), 512);
    assert_int_equal(json_integer_value(json_object_get(o, "batch_tokens")), 9000);
    assert_string_equal(json_string_value(json_object_get(o, "recompute")), "auto");
    static const char *const numbers[] = {"lr",     "weight_decay",    "beta1",  "beta2",
                                          "eps",    "clip_norm",       "warmup", "batch",
                                          "epochs", "checkpoint_every"};
    for (size_t i = 0; i < CAI_COUNT(numbers); i++)
        assert_true(json_is_number(json_object_get(o, numbers[i])));
    assert_string_equal(json_string_value(json_object_get(o, "schedule")), "constant");
    assert_null(json_object_get(o, "members"));
    json_decref(o);
    job_free(j);
    input_report_free(&report);
}

static void algorithms_need_what_they_learn_from(void **state) {
    (void)state;
    struct input_report report = {.file = "--set"};
    struct job_spec *j = parse(minimal, &report);
    assert_int_equal(job_set(j, "stages.ppo.algorithm=dpo", &report), 0);
    assert_int_equal(job_set(j, "stages.prefer=off", &report), 0); /* dpo needs labels only */
    assert_int_equal(job_set(j, "stages.label=off", &report), CAI_EINPUT);
    assert_non_null(strstr(report.first, "dpo has nothing to learn from"));
    input_report_free(&report);
    job_free(j);
    report = (struct input_report){.file = "--set"};
    j = parse(minimal, &report);
    assert_int_equal(job_set(j, "stages.ppo.algorithm=grpo", &report), 0);
    assert_int_equal(job_set(j, "stages.ppo.group=7", &report), CAI_EINPUT);
    assert_non_null(strstr(report.first, "cannot be shared out in groups"));
    input_report_free(&report);
    job_free(j);
}

/* Every choice that PPO's reference code makes is a setting of its own, with a reference's
 * default: lm-human-preferences (Ziegler et al. 2019), summarize_from_feedback in Huang et al.
 * 2024, TRL, InstructGPT. */
static void ppos_choices_have_names(void **state) {
    (void)state;
    static const struct {
        const char *path, *value;
    } want[] = {
        {"kl.coef", "0.05"},       {"kl.estimator", "k1"},   {"kl.target", "0"},
        {"kl.horizon", "10000"},   {"kl.clamp", "0"},        {"kl.stop", "0"},
        {"whiten_rewards", "false"}, {"whiten_advantages", "true"}, {"whiten_over", "rollouts"},
        {"value_from", "pm"},      {"value_warmup", "0"},    {"value_clip", "0.2"},
        {"normalise", "pairs"},    {"reward_clip", "10"},    {"no_end", "replace"},
        {"no_end_reward", "-1.0"}, {"rollout.temperature", "1.0"}, {"rollout.top_p", "1.0"},
        {"eps_place", "pytorch"},  {"eps", "1e-5"},          {"beta2", "0.95"},
        {"aggregate", "tokens"},   {"clip", "0.2"},          {"clip_high", "0"},
        {"dual_clip", "0"},        {"max_ratio", "10"},      {"advantage_clip", "0"},
        {"gamma", "1.0"},          {"lambda", "0.95"},       {"epochs", "4"},
        {"lr", "3e-6"},            {"schedule", "linear"},   {"clip_norm", "1.0"},
        {"ptx.coef", "0"},         {"ptx.batch", "64"},      {"pm_combine", "mean"},
        {"scale", "std"},          {"dpo.beta", "0.1"},      {"pm_variance", "0"},
    };
    for (size_t i = 0; i < CAI_COUNT(want); i++) {
        CAI_AUTO(mem) char *path = cai_format("stages.ppo.%s", want[i].path);
        const struct setting *s = setting_find(path, strlen(path));
        if (!s || strcmp(s->fallback, want[i].value) != 0 || !*s->source || !*s->help)
            fail_msg("%s: %s", path, s ? s->fallback : "no such setting");
    }
}

/* What belongs to one mode of labelling, or to learning from rollouts, is refused elsewhere. */
static void modes_of_labels(void **state) {
    (void)state;
    static const struct {
        const char *stages, *finding;
    } cases[] = {{"label: {mode: cot, clamp: 0.5}", ":7:29: error[C042]"},
                 {"label: {mode: cot, clamp: 0.6}", ":7:29: error["},
                 {"label: {helpful: 1.5}", ":7:20: error["},
                 {"ppo: {algorithm: dpo, ptx: {coef: 27.8}}", ":7:37: error[C042]"},
                 {"sft: off\n  ppo: {ptx: {coef: 1}}", ":8:21: error[C042]"},
                 {"label: {mode: debate, turns: 0}", ":7:32: error["},
                 {"label: {mode: debate, turns: 3}", NULL},
                 {"skill: {enabled: true}", ":7:20: error[C042]"}, /* nothing that people verified */
                 {"skill: {enabled: true}", "human.critiques"},    /* both ways are named */
                 {"skill: {enabled: true}\nhuman: {critiques: 5}", NULL},
                 {"skill: {enabled: true}\nhuman: {required: 5}", NULL},
                 {"skill: {enabled: true}\nhuman: {required: 5, help: false}", ":7:20: error[C042]"},
                 {"skill: {enabled: true, judge: human}\nhuman: {critiques: 5}", "error[C042]"},
                 {"audit: {passed: 0}\nhuman: {audits: 5}", ":8:17: error[C042]"},
                 {"revise: off\n  sft: off\nhuman: {audits: 5}", ":9:17: error[C042]"},
                 {"revise: {prompts: 9}\nhuman: {audits: 5}", NULL},
                 {"evaluate: off\nhuman: {checks: 5}", ":8:17: error[C042]"},
                 {"red_team: {check: 5}\nhuman: {checks: 5}", NULL},
                 {"skill: {enabled: true, judge: oracle}", ":7:33: error["},
                 {"skill: {samples: 1}", ":7:20: error["},
                 {"ppo: {ptx: {coef: 27.8}}", NULL}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct input_report report = {0};
        struct job_spec *j = NULL;
        CAI_AUTO(mem) char *text =
            cai_format("job: 1\nname: x\nmodels: {start: latest}\nconstitution: x\n"
                       "data: {harmful: ./h}\nstages:\n  %s\n", cases[i].stages);
        int rc = job_parse("j.yaml", text, strlen(text), NULL, &report, &j);
        assert_int_equal(rc, cases[i].finding ? CAI_EINPUT : 0);
        if (cases[i].finding && !strstr(report.text.data, cases[i].finding))
            fail_msg("%s: %s", cases[i].stages, report.text.data);
        job_free(j);
        input_report_free(&report);
    }
}

/* The share of helpful prompts under which pairs are made is PPO's, unless it is given. */
static void labels_follow_ppo(void **state) {
    (void)state;
    struct input_report report = {.file = "--set"};
    struct job_spec *j = parse(minimal, &report), *old;
    assert_true(j->label.helpful == 0.49 && job_label_clear(j) == 0.1);
    assert_int_equal(job_set(j, "stages.ppo.helpful=0.25", &report), 0);
    assert_true(j->label.helpful == 0.25);
    json_t *kept = job_to_json(j);
    json_t *label = json_object_get(json_object_get(kept, "stages"), "label");
    assert_true(json_number_value(json_object_get(label, "helpful")) == 0.25);
    json_object_del(label, "helpful"); /* as written before there was the setting */
    assert_int_equal(job_from_json(kept, &old), 0);
    assert_true(old->label.helpful == 0.25);
    job_free(old);
    json_decref(kept);
    assert_int_equal(job_set(j, "stages.label.helpful=0", &report), 0);
    assert_int_equal(job_set(j, "stages.ppo.helpful=0.75", &report), 0);
    assert_true(j->label.helpful == 0);
    assert_int_equal(job_set(j, "stages.label.mode=cot", &report), 0);
    assert_int_equal(job_set(j, "stages.label.clamp=0.2", &report), 0);
    assert_true(job_label_clear(j) > 0.0599 && job_label_clear(j) < 0.0601);
    input_report_free(&report);
    job_free(j);
}

static void consist_holds_together(void **state) {
    (void)state;
    static const struct {
        const char *set, *finding;
    } cases[] = {{"stages.consist.formats=step,steps", "what is no form of a row"},
                 {"stages.consist.formats=,", "what is no form of a row"},
                 {"stages.consist.direct=The answer.", "no place for the answer"},
                 {"stages.sft=off", "nothing learns from what consist keeps"},
                 {"stages.consist.teach=1", "consist.teach"}, /* nothing would measure */
                 {"stages.consist.paths=1", "consist.paths"}};
    struct input_report report = {.file = "--set"};
    struct job_spec *j = parse(minimal, &report);
    assert_false(j->consist.enabled);
    assert_int_equal(job_set(j, "stages.consist=on", &report), CAI_EINPUT);
    assert_non_null(strstr(report.first, "no data.questions"));
    job_free(j);
    input_report_free(&report);
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct input_report own = {.file = "--set"};
        j = parse(minimal, &own);
        assert_int_equal(job_set(j, "data.questions=data:sums", &own), 0);
        assert_int_equal(job_set(j, "stages.consist=on", &own), 0);
        assert_int_equal(job_set(j, cases[i].set, &own), CAI_EINPUT);
        if (!strstr(own.first, cases[i].finding))
            fail_msg("%s: %s", cases[i].set, own.first);
        input_report_free(&own);
        job_free(j);
    }
    assert_int_equal(job_formats("all"), 15);
    assert_int_equal(job_formats("step, direct"),
                     1u << JOB_FORMAT_STEP | 1u << JOB_FORMAT_DIRECT);
    assert_int_equal(job_formats("direct_shots,shots"), 3);
}

static void questions_are_read(void **state) {
    (void)state;
    static const char rows[] = "{\"question\":\"1+1?\"}\n"
                               "{\"prompt\":\"1+2?\",\"answer\":3}\n"
                               "{\"question\":\"1+3?\",\"answer\":\"4\",\"reply\":\"3 and 1 is 4.\"}\n"
                               "{\"question\":\"1+4?\",\"answer\":[5]}\n"
                               "{\"question\":\"1+5?\",\"reply\":\"6\"}\n"
                               "{\"answer\":7}\n";
    char path[] = "/tmp/cai-questions-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, rows, sizeof rows - 1), sizeof rows - 1);
    close(fd);
    struct input_report report = {.file = "q.jsonl"};
    struct job_rows n;
    assert_int_equal(job_read_data(JOB_DATA_QUESTIONS, path, 0, &report, NULL, NULL, &n),
                     CAI_EINPUT);
    assert_int_equal(n.good, 3);
    assert_int_equal(n.bad, 3);
    assert_non_null(strstr(report.text.data, "q.jsonl:4:"));
    assert_non_null(strstr(report.text.data, "must be a text or a number"));
    assert_non_null(strstr(report.text.data, "q.jsonl:5:"));
    assert_non_null(strstr(report.text.data, "without its \"answer\""));
    assert_non_null(strstr(report.text.data, "q.jsonl:6:"));
    input_report_free(&report);
    unlink(path);
}

static void a_shared_trunk_stands_alone(void **state) {
    (void)state;
    static const struct {
        const char *other, *finding;
    } cases[] = {{"stages.prefer.average=true", "needs members with trunks of their own"},
                 {"models.lora.rank=4", "cannot share a trained trunk"}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct input_report report = {.file = "--set"};
        struct job_spec *j = parse(minimal, &report);
        assert_string_equal(j->prefer.trunk, "own");
        assert_int_equal(job_set(j, "stages.prefer.trunk=shared", &report), 0);
        assert_int_equal(job_set(j, cases[i].other, &report), CAI_EINPUT);
        assert_non_null(strstr(report.first, "error[C042]"));
        assert_non_null(strstr(report.first, cases[i].finding));
        input_report_free(&report);
        job_free(j);
    }
}

static void settings_from_the_command_line(void **state) {
    (void)state;
    struct input_report report = {.file = "--set"};
    struct job_spec *j = parse(minimal, &report);
    assert_int_equal(job_set(j, "stages.sft.lr=2e-5", &report), 0);
    assert_true(j->sft.optimizer.lr == 2e-5);
    assert_int_equal(job_set(j, "stages.ppo=off", &report), 0);
    assert_false(j->ppo.enabled);
    assert_int_equal(job_set(j, "stages.prefer=off", &report), 0);
    assert_int_equal(job_set(j, "stages.ppo=on", &report), CAI_EINPUT); /* ppo needs prefer */
    assert_non_null(strstr(report.first, "error[C042]: ppo needs a preference model"));
    input_report_free(&report);
    static const struct {
        const char *text, *finding, *help;
    } bad[] = {
        {"stages.sft.lrr=1", "C010", "did you mean 'stages.sft.lr'?"},
        {"rounds=many", "C013", NULL},
        {"rounds=-1", "C013", NULL},
        {"rounds", "C013", NULL},
        {"rounds=", "C013", NULL},
        {"stages.sft.schedule=linaer", "C013", "did you mean 'linear'?"},
        {"seed=1e3", "C013", NULL},
        {"stages.sft.lr=nan", "C013", NULL},
        {"stages.sft.lr=0x1p-3", "C013", NULL},
    };
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        struct input_report own = {.file = "--set"};
        assert_int_equal(job_set(j, bad[i].text, &own), CAI_EINPUT);
        assert_non_null(strstr(own.first, bad[i].finding));
        if (bad[i].help)
            assert_non_null(strstr(own.text.data, bad[i].help));
        input_report_free(&own);
    }
    job_free(j);
}

static void constitution_gives_defaults(void **state) {
    (void)state;
    struct input_report report = {0};
    struct job_spec *j = parse(minimal, &report);
    assert_int_equal(job_set(j, "stages.label.principles=3", &report), 0);
    job_adopt(j, 2, 5);
    assert_int_equal(j->revise.revisions, 2);
    assert_int_equal(j->label.principles, 3);
    job_free(j);
    input_report_free(&report);
}

static void paths_are_absolute(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-job-XXXXXX";
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *model = cai_path_join(dir, "m");
    CAI_AUTO(mem) char *config = cai_path_join(model, "config.json");
    CAI_AUTO(mem) char *data = cai_path_join(dir, "red.jsonl");
    assert_int_equal(cai_dir_make(model), 0);
    assert_int_equal(cai_file_write_atomic(data, "", 0), 0);
    struct input_report report = {.file = "j.yaml"};
    struct job_spec *j = NULL;
    assert_int_equal(job_parse("j.yaml", minimal, strlen(minimal), dir, &report, &j), CAI_EINPUT);
    assert_non_null(
        strstr(report.first, "j.yaml:3:17: error[C040]: 'models.start' has no config.json"));
    assert_int_equal(cai_file_write_atomic(config, "{}", 2), 0);
    input_report_free(&report);
    assert_int_equal(job_parse("j.yaml", minimal, strlen(minimal), dir, &report, &j), 0);
    assert_string_equal(j->models.start, model);
    assert_string_equal(j->data.harmful, data);
    assert_string_equal(j->constitution, "house");
    job_free(j);
    input_report_free(&report);
    assert_int_equal(cai_dir_remove(dir), 0);
}

/* "model:NAME" and "data:NAME" are no paths, and not looked for here; priority has a range. */
static void stored_names_stay(void **state) {
    (void)state;
    static const char text[] = "job: 1\nname: a\nmodels: {start: 'model:m', pm: 'model:p'}\n"
                               "constitution: house\npriority: -3\ndata: {harmful: 'data:red'}\n";
    struct input_report report = {0};
    struct job_spec *j = NULL;
    assert_int_equal(job_parse("j.yaml", text, strlen(text), "/tmp", &report, &j), 0);
    assert_string_equal(j->models.start, "model:m");
    assert_string_equal(j->models.pm, "model:p");
    assert_string_equal(j->data.harmful, "data:red");
    assert_int_equal(j->priority, -3);
    assert_int_equal(job_check_data(j, &report, NULL), 0);
    assert_string_equal(job_stored_name(j->data.harmful), "red");
    assert_string_equal(job_stored_name(j->models.start), "m");
    assert_null(job_stored_name("./data:red"));
    assert_null(job_stored_name(NULL));
    assert_true(job_set(j, "priority=101", &report) < 0);
    assert_true(job_set(j, "data.harmful=model:m", &report) < 0); /* a file of that name */
    job_free(j);
    input_report_free(&report);
}

/* How the overseer is tested: published numbers, ranges, and what a canary's row must have. */
static void canaries_and_audits(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-job-XXXXXX";
    static const char rows[] = "{\"prompt\":\"p\",\"reply\":\"r\",\"flaw\":\"rude\",\"pair\":1}\n"
                               "{\"prompt\":\"p\",\"reply\":\"s\",\"flaw\":null,\"pair\":1}\n",
                      bad[] = "{\"prompt\":\"p\",\"reply\":\"r\",\"pair\":1}\n"
                              "{\"prompt\":\"p\",\"reply\":\"r\",\"flaw\":\"\",\"pair\":1}\n"
                              "{\"prompt\":\"p\",\"reply\":\"r\",\"flaw\":\"a\",\"pair\":1.5}\n";
    struct input_report report = {.file = "--set"};
    struct job_rows n;
    struct job_spec *j = parse(minimal, &report);
    assert_true(j->audit.enabled && j->audit.ask && !j->data.canaries && !j->models.second_overseer);
    assert_int_equal(j->audit.pairs, 120);
    assert_true(j->audit.alpha == 0.01 && j->audit.least_recall == 0.6 && j->audit.margin == 0.1);
    assert_true(j->audit.max_phrase == 0.1 && j->audit.words == 100 && j->audit.passed == 200);
    assert_non_null(strstr(j->audit.question, "{principle}"));
    assert_int_equal(job_set(j, "stages.audit.pairs=40", &report), 0);
    assert_int_equal(job_set(j, "stages.audit=off", &report), 0);
    assert_false(j->audit.enabled);
    assert_true(job_set(j, "stages.audit.alpha=0.6", &report) < 0);
    assert_true(job_set(j, "stages.audit.pairs=0", &report) < 0);
    assert_true(job_set(j, "stages.audit.margin=2", &report) < 0);
    job_free(j);
    input_report_free(&report);
    assert_non_null(mkdtemp(dir));
    CAI_AUTO(mem) char *path = cai_path_join(dir, "c.jsonl");
    assert_int_equal(cai_file_write_atomic(path, rows, strlen(rows)), 0);
    report = (struct input_report){.file = path};
    assert_int_equal(job_read_data(JOB_DATA_CANARIES, path, 0, &report, NULL, NULL, &n), 0);
    assert_int_equal(n.good, 2);
    assert_int_equal(cai_file_write_atomic(path, bad, strlen(bad)), 0);
    assert_true(job_read_data(JOB_DATA_CANARIES, path, 0, &report, NULL, NULL, &n) < 0);
    assert_int_equal(n.bad, 3);
    input_report_free(&report);
    assert_int_equal(cai_dir_remove(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(red_models), cmocka_unit_test(defaults),
                                       cmocka_unit_test(template_reads_back),
                                       cmocka_unit_test(stages_off),
                                       cmocka_unit_test(a_tolerance_needs_evaluation),
        cmocka_unit_test(json_round_trip),
                                       cmocka_unit_test(stage_json),
                                       cmocka_unit_test(algorithms_need_what_they_learn_from),
                                       cmocka_unit_test(consist_holds_together),
        cmocka_unit_test(questions_are_read),
        cmocka_unit_test(a_shared_trunk_stands_alone),
                                       cmocka_unit_test(ppos_choices_have_names),
                                       cmocka_unit_test(modes_of_labels),
                                       cmocka_unit_test(labels_follow_ppo),
                                       cmocka_unit_test(settings_from_the_command_line),
                                       cmocka_unit_test(constitution_gives_defaults),
                                       cmocka_unit_test(paths_are_absolute),
                                       cmocka_unit_test(stored_names_stay),
                                       cmocka_unit_test(canaries_and_audits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
