/* train: whole tasks on a tiny folder: learning happens, kinds refuse what they must, a run
 * stopped and resumed ends with the same bytes. */
#include "folder.h"

#include "learn/reward.h"

#define SFT "{\"lr\":0.01,\"batch\":4,\"epochs\":1,\"checkpoint_every\":2," OPTIMIZER_JSON "}"
#define SFT_LONG "{\"lr\":0.01,\"batch\":8,\"epochs\":30," OPTIMIZER_JSON "}"
#define PM "{\"lr\":0.01,\"batch\":6,\"epochs\":6,\"members\":2,\"centre\":0.01," \
           "\"checkpoint_every\":5," OPTIMIZER_JSON "}"
#define CLASSES "{\"lr\":0.01,\"batch\":8,\"epochs\":10,\"held_out\":0.3," OPTIMIZER_JSON "}"

static void sft_learns(void **state) {
    (void)state;
    struct seen seen = {0};
    struct job j = {.kind = "sft", .init = "base", .dataset = "sft.jsonl", .options = SFT_LONG,
                    .seen = &seen};
    Cai__V1__Trained *t;
    must(run_job(&j, "sft-long", &t));
    assert_int_equal(t->steps, 90);
    assert_int_equal(seen.reports, 90);
    assert_true(figure(t, "loss") < 0.7); /* from log 260 = 5.6 */
    assert_true(figure(t, "rows") == 24);
    assert_int_equal(t->n_outputs, 1);
    assert_int_equal(strlen(t->outputs[0]->hash), 64);
    free_trained(t);
}

/* Runs j whole, and again stopped after its first commit and resumed; same model hashes. */
static void resumed_is_equal(struct job j, const char *name) {
    struct seen whole = {0}, first = {.stop_after = 1}, second = {0};
    CAI_AUTO(mem) char *cut = cai_format("%s-cut", name);
    Cai__V1__Trained *a, *b;
    j.seen = &whole;
    must(run_job(&j, name, &a));
    assert_true(whole.commits >= 2);
    j.seen = &first;
    assert_int_equal(run_job(&j, cut, &b), CAI_ESTATE);
    j.seen = &second;
    j.resume = first.folder;
    j.resume_hash = first.hash;
    must(run_job(&j, cut, &b));
    assert_true(second.commits == whole.commits - 1);
    same_trained(a, b);
    free_trained(a);
    free_trained(b);
}

static void sft_resumes(void **state) {
    (void)state;
    resumed_is_equal((struct job){.kind = "sft", .init = "base", .dataset = "sft.jsonl",
                                  .options = SFT}, "sft");
}

static void pm_resumes(void **state) {
    (void)state;
    resumed_is_equal((struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                                  .options = PM}, "pm");
}

/* Six steps, a state after each but the last; how many folders stay. */
static void states_kept(uint32_t keep, const char *name, int expected) {
    struct seen seen = {0};
    struct job j = {.kind = "sft", .init = "base", .dataset = "sft.jsonl", .keep = keep,
                    .options = "{\"lr\":0.01,\"batch\":4,\"epochs\":1,\"checkpoint_every\":1,"
                               OPTIMIZER_JSON "}",
                    .seen = &seen};
    Cai__V1__Trained *t;
    must(run_job(&j, name, &t));
    free_trained(t);
    assert_true(seen.commits >= 5);
    int kept = 0;
    for (int step = 1; step <= seen.commits; step++) {
        CAI_AUTO(mem) char *path = cai_format("%s/state/%s/step-%d", folder_root, name, step);
        bool newest = step > seen.commits - expected;
        assert_int_equal(cai_file_exists(path), newest);
        kept += newest;
    }
    assert_int_equal(kept, expected);
}

static void as_many_states_stay_as_the_job_says(void **state) {
    (void)state;
    states_kept(0, "keep-0", 1);
    states_kept(1, "keep-1", 1);
    states_kept(3, "keep-3", 3);
}

/* Mixed precision ends where fp32 does, but for rounding; each kind of training. */
static void half_products_learn_as_well(void **state) {
    (void)state;
    static const struct {
        const char *kind, *dataset, *options;
    } runs[] = {
        {"sft", "sft.jsonl", "\"lr\":0.01,\"batch\":4,\"epochs\":3," OPTIMIZER_JSON},
        {"classifier", "classifier.jsonl",
         "\"lr\":0.01,\"batch\":4,\"epochs\":3,\"held_out\":0.2," OPTIMIZER_JSON},
        {"pm", "pm.jsonl",
         "\"lr\":0.01,\"batch\":6,\"epochs\":3,\"members\":1,\"held_out\":0.3," OPTIMIZER_JSON},
        {"ppo", "pm.jsonl",
         "\"algorithm\":\"dpo\",\"lr\":0.003,\"dpo\":{\"beta\":0.1,\"batch\":3,\"epochs\":2},"
         OPTIMIZER_JSON},
    };
    for (size_t i = 0; i < CAI_COUNT(runs) && ct_half_pays(); i++) {
        double loss[2];
        char hash[2][65];
        for (int half = 0; half < 2; half++) {
            CAI_AUTO(mem) char *options = cai_format(
                "{%s,\"train_dtype\":\"%s\"}", runs[i].options, half ? "bfloat16" : "float32");
            CAI_AUTO(mem) char *name = cai_format("half-%zu-%d", i, half);
            struct job j = {.kind = runs[i].kind, .init = "base", .dataset = runs[i].dataset,
                            .options = options};
            Cai__V1__Trained *t;
            must(run_job(&j, name, &t));
            loss[half] = figure(t, "loss");
            snprintf(hash[half], sizeof hash[half], "%s", t->outputs[0]->hash);
            free_trained(t);
        }
        print_message("%s: loss %.4f in float32, %.4f in bfloat16\n", runs[i].kind, loss[0], loss[1]);
        assert_true(fabs(loss[0] - loss[1]) < 0.02 * (1 + fabs(loss[0])));
        assert_string_not_equal(hash[0], hash[1]);
    }
}

static void pm_learns_and_differs_by_member(void **state) {
    (void)state;
    struct job j = {.kind = "pm", .init = "base", .dataset = "pm.jsonl", .options = PM};
    Cai__V1__Trained *t;
    must(run_job(&j, "pm-two", &t));
    assert_int_equal(t->n_outputs, 2);
    assert_string_not_equal(t->outputs[0]->hash, t->outputs[1]->hash);
    assert_true(figure(t, "accuracy") == 1);
    assert_true(figure(t, "held_out") == 6);
    assert_true(figure(t, "excess_loss") > -1e-9 && figure(t, "excess_loss") < 0.4);
    struct reward_model r;
    must(reward_model_load(t->outputs[0]->path, &r));
    assert_true(r.norm.replies == 12 && r.norm.std > 0.1 && r.norm.steps == 18);
    reward_model_free(&r);
    free_trained(t);
}

/* WARM: one model whose every weight is the mean of the members', from one first head. */
static void members_are_averaged(void **state) {
    (void)state;
    struct job j = {.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                    .options = "{\"lr\":0.01,\"batch\":6,\"epochs\":6,\"members\":3,"
                               "\"average\":true," OPTIMIZER_JSON "}"};
    Cai__V1__Trained *t;
    must(run_job(&j, "pm-mean", &t));
    assert_int_equal(t->n_outputs, 1);
    assert_true(figure(t, "average.accuracy") == 1);
    struct model *member[3];
    struct reward_model mean;
    must(reward_model_load(t->outputs[0]->path, &mean));
    for (int k = 0; k < 3; k++) {
        CAI_AUTO(mem) char *dir = cai_format("%s/out/pm-mean/member-%d", folder_root, k);
        must(model_load(dir, &member[k]));
    }
    const float *m = ct_host_data(mean.m->flat), *x[3];
    double apart = 0, differ = 0;
    for (int k = 0; k < 3; k++)
        x[k] = ct_host_data(member[k]->flat);
    for (int64_t i = 0; i < mean.m->n; i++) {
        apart = fmax(apart, fabs(m[i] - ((double)x[0][i] + x[1][i] + x[2][i]) / 3));
        differ = fmax(differ, fabs((double)x[0][i] - x[1][i]));
    }
    assert_true(apart < 1e-7 && differ > 1e-3);
    for (int k = 0; k < 3; k++)
        model_free(member[k]);
    reward_model_free(&mean);
    free_trained(t);
}

#define SHARED "{\"lr\":0.01,\"batch\":6,\"epochs\":6,\"members\":3,\"centre\":0.01,"                     \
               "\"trunk\":\"shared\",\"checkpoint_every\":5," OPTIMIZER_JSON "}"

/* Heads over one trunk: each member is a model of its own, alike but for its head. */
static void members_share_a_trunk(void **state) {
    (void)state;
    struct seen seen = {0};
    struct job j = {.kind = "pm", .init = "base", .dataset = "pm.jsonl", .options = SHARED,
                    .seen = &seen};
    struct reward_model r[3];
    Cai__V1__Trained *t;
    must(run_job(&j, "pm-shared", &t));
    assert_int_equal(t->n_outputs, 3);
    assert_int_equal(t->steps, 18); /* trained once */
    assert_int_equal(seen.reports, 18 + 3);
    assert_true(figure(t, "accuracy") == 1 && figure(t, "held_out") == 6);
    for (int k = 0; k < 3; k++) {
        must(reward_model_load(t->outputs[k]->path, &r[k]));
        assert_true(r[k].norm.steps == 18 && r[k].norm.std > 0.1 && r[k].norm.accuracy == 1);
    }
    for (int i = 0; i < r[0].m->n_params; i++) {
        const struct model_param *p = &r[0].m->params[i];
        bool head = strcmp(p->file.name, "score.weight") == 0;
        const float *x = ct_host_data(r[0].m->flat);
        for (int k = 1; k < 3; k++) {
            const float *y = ct_host_data(r[k].m->flat);
            bool same = memcmp(x + p->offset, y + p->offset, (size_t)p->numel * sizeof *x) == 0;
            assert_true(same == !head);
        }
    }
    for (int k = 0; k < 3; k++)
        reward_model_free(&r[k]);
    free_trained(t);
}

/* One head is no ensemble: the very weights of a member with a trunk of its own. */
static void one_shared_member_is_a_member(void **state) {
    (void)state;
    struct job own = {.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                      .options = "{\"lr\":0.01,\"batch\":6,\"epochs\":2,\"members\":1,"
                                 OPTIMIZER_JSON "}"};
    struct job shared = own;
    Cai__V1__Trained *a, *b;
    shared.options = "{\"lr\":0.01,\"batch\":6,\"epochs\":2,\"members\":1,\"trunk\":\"shared\","
                     OPTIMIZER_JSON "}";
    must(run_job(&own, "pm-own-one", &a));
    must(run_job(&shared, "pm-shared-one", &b));
    same_trained(a, b);
    free_trained(a);
    free_trained(b);
}

static void shared_members_resume(void **state) {
    (void)state;
    resumed_is_equal((struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                                  .options = SHARED}, "pm-shared-cut");
}

static void a_pm_must_be_the_trained_one(void **state) {
    (void)state;
    struct reward_model r;
    CAI_AUTO(mem) char *base = at_root("base");
    assert_int_equal(reward_model_load(base, &r), CAI_ENOTFOUND); /* no reward.json */
    CAI_AUTO(mem) char *pm = at_root("out/pm-two/0");
    struct model *m;
    must(model_load(pm, &m));
    ct_scope *s = ct_scope_open();
    ct_tensor *half = ct_full(s, CT_F32, (int64_t[]){1, 1}, 2, 0.5);
    must(ct_add_(ct_narrow(s, m->score, 1, 3, 1), half, 1));
    ct_scope_close(s);
    must(model_save(m, pm));
    assert_int_equal(reward_model_load(pm, &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "not the one that was trained"));
    must(ct_fill_(m->score, 0));
    must(model_save(m, pm));
    assert_int_equal(reward_model_load(pm, &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "all zero"));
    model_free(m);
    CAI_AUTO(mem) char *bare = at_root("headless"); /* the file says scores, the weights have none */
    CAI_AUTO(mem) char *from = cai_path_join(pm, "reward.json");
    CAI_AUTO(mem) char *to = cai_path_join(bare, "reward.json");
    CAI_AUTO(buf) struct cai_buf norm = {0};
    must(model_load(base, &m));
    must(model_save(m, bare));
    must(cai_file_read(from, 1 << 20, &norm));
    must(cai_file_write_atomic(to, norm.data, norm.len));
    assert_int_equal(reward_model_load(bare, &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "no scalar head"));
    model_free(m);
}

static void classifier_learns(void **state) {
    (void)state;
    struct job j = {.kind = "classifier", .init = "base", .dataset = "classifier.jsonl",
                    .options = CLASSES};
    Cai__V1__Trained *t;
    must(run_job(&j, "classifier", &t));
    assert_true(figure(t, "held_out") > 1 && figure(t, "held_out") < 16);
    assert_true(figure(t, "accuracy") == 1);
    assert_true(figure(t, "ece") < 0.3);
    free_trained(t);
}

static void refused(const char *kind, const char *options, const char *rows, const char *text) {
    CAI_AUTO(mem) char *path = at_root("bad.jsonl");
    write_text(path, rows);
    struct job j = {.kind = kind, .init = "base", .dataset = "bad.jsonl", .options = options};
    Cai__V1__Trained *t;
    assert_int_equal(run_job(&j, "bad", &t), CAI_EINPUT);
    if (strstr(cai_error_text(), text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", cai_error_text(), text);
}

static void bad_input_is_named(void **state) {
    (void)state;
    const char *good = "{\"item\":1,\"messages\":[{\"role\":\"assistant\",\"text\":\"a\"}]}\n";
    refused("sft", "{\"batch\":4}", good, "\"lr\" is missing");
    refused("sft", "{\"lr\":2,\"batch\":4}", good, "from 0 to 1");
    refused("sft", SFT, "{\"item\":1,\"messages\":[]}\n", "bad.jsonl:1");
    refused("sft", SFT, "\n{\"item\":1,\n", "bad.jsonl:2");
    refused("sft", SFT, "{\"item\":1,\"messages\":[{\"role\":\"user\",\"text\":\"a\"}]}\n",
            "must be the assistant's");
    refused("sft", SFT, "{\"item\":-1,\"messages\":[{\"role\":\"assistant\",\"text\":\"a\"}]}\n",
            "\"item\"");
    refused("pm", PM, "{\"item\":1,\"messages\":[{\"role\":\"user\",\"text\":\"a\"}],\"a\":\"x\","
                      "\"b\":\"y\",\"p\":1.5,\"split\":\"train\"}\n", "from 0 to 1");
    refused("pm", PM, "{\"item\":1,\"messages\":[{\"role\":\"user\",\"text\":\"a\"}],\"a\":\"x\","
                      "\"b\":\"y\",\"p\":1,\"split\":\"held_out\"}\n", "no pair with split");
    refused("pm", "{\"lr\":0.01,\"batch\":6,\"epochs\":1,\"members\":2,\"trunk\":\"shared\","
                  "\"average\":true," OPTIMIZER_JSON "}", good, "shared trunk");
    refused("classifier", CLASSES, good, "\"label\"");
    refused("ppo", SFT, good, "ppo options");
}

static void damage_is_found(void **state) {
    (void)state;
    struct seen seen = {.stop_after = 1};
    struct job j = {.kind = "sft", .init = "base", .dataset = "sft.jsonl", .options = SFT,
                    .seen = &seen};
    Cai__V1__Trained *t;
    assert_int_equal(run_job(&j, "damaged", &t), CAI_ESTATE);
    CAI_AUTO(mem) char *path = cai_path_join(seen.folder, "tensors-0.safetensors");
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, -5, SEEK_END);
    fputc(77, f);
    fclose(f);
    struct seen again = {0};
    j.seen = &again;
    j.resume = seen.folder;
    j.resume_hash = seen.hash;
    assert_int_equal(run_job(&j, "damaged", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "damaged"));
    j.resume_hash = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(run_job(&j, "damaged", &t), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "was committed"));
}

static void too_long_is_counted(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf rows = {0};
    for (int i = 0; i < 2; i++) {
        cai_buf_printf(&rows, "{\"item\":%d,\"messages\":[{\"role\":\"assistant\",\"text\":\"", i);
        for (int k = 0; k < (i ? 200 : 2); k++)
            cai_buf_putc(&rows, 'x');
        cai_buf_puts(&rows, "\"}]}\n");
    }
    CAI_AUTO(mem) char *path = at_root("long.jsonl");
    write_text(path, rows.data);
    struct job j = {.kind = "sft", .init = "base", .dataset = "long.jsonl", .options = SFT};
    Cai__V1__Trained *t;
    must(run_job(&j, "long", &t));
    assert_true(figure(t, "rows") == 1 && figure(t, "skipped") == 1);
    free_trained(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sft_learns), cmocka_unit_test(sft_resumes),
        cmocka_unit_test(as_many_states_stay_as_the_job_says), cmocka_unit_test(pm_resumes),
        cmocka_unit_test(half_products_learn_as_well),
        cmocka_unit_test(pm_learns_and_differs_by_member),
        cmocka_unit_test(members_are_averaged), cmocka_unit_test(members_share_a_trunk),
        cmocka_unit_test(one_shared_member_is_a_member), cmocka_unit_test(shared_members_resume),
        cmocka_unit_test(a_pm_must_be_the_trained_one), cmocka_unit_test(classifier_learns),
        cmocka_unit_test(bad_input_is_named), cmocka_unit_test(damage_is_found),
        cmocka_unit_test(too_long_is_counted),
    };
    return on_test_device() ? cmocka_run_group_tests(tests, open_world, close_world) : SKIPPED;
}
