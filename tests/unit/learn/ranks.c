/* ranks: 2 and 4 ranks learn what one learns: losses, norms and weights to fp32 rounding; ranks
 * that share the moments (ZeRO-1) have the very bits of ranks that each keep all; so do the
 * same ranks once more, and those that take a state up. Other numbers of ranks take it up with
 * the same moments and go on to fp32 rounding. For SFT, a preference model, DPO, PPO,
 * PPO-ptx and a red model. The ranks are this program started again; several buckets each. */
#include "folder.h"

#include "learn/checkpoint.h"
#include "learn/trainer.h"

#include <sys/wait.h>

/* A large eps makes AdamW smooth in the gradient, so that rounding stays rounding. */
#define SMOOTH                                                                                     \
    "\"weight_decay\":0.01,\"beta1\":0.9,\"beta2\":0.99,\"eps\":1,\"clip_norm\":0.5,\"warmup\":0," \
    "\"schedule\":\"constant\",\"bucket\":3000,\"zero\":%d"
#define POLICY(more) POLICY_OF("10", more)
#define POLICY_OF(tokens, more)                                                                    \
    "{\"lr\":1,\"value_lr\":1,\"steps\":3,\"rollouts\":12,\"epochs\":2,\"minibatches\":2,"          \
    "\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,\"kl_coef\":0.05," \
    "\"kl_target\":0,\"kl_horizon\":100,\"whiten_advantages\":true,\"whiten_rewards\":true,"       \
    "\"reward_clip\":10,\"no_end_reward\":-1,\"helpful\":0.5,\"kl_budget\":0,"                     \
    "\"checkpoint_every\":2,\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":" tokens "}," more \
    SMOOTH "}"

static const struct kind {
    const char *name, *kind, *dataset, *options, *mix;
    int cut; /* the step whose state is taken up; 0 = none */
} kinds[] = {
    {"sft", "sft", "sft.jsonl",
     "{\"lr\":1,\"batch\":7,\"epochs\":2,\"checkpoint_every\":3," SMOOTH "}", NULL, 6},
    {"pm", "pm", "pm.jsonl",
     "{\"lr\":0.2,\"batch\":5,\"epochs\":2,\"members\":1,\"checkpoint_every\":3," SMOOTH "}", NULL, 3},
    {"dpo", "ppo", "pm.jsonl",
     "{\"algorithm\":\"dpo\",\"lr\":1,\"checkpoint_every\":3,\"dpo\":{\"beta\":0.1,\"batch\":5,"
     "\"epochs\":2}," SMOOTH "}", NULL, 3},
    {"ppo", "ppo", "ppo.jsonl", POLICY(""), NULL, 2},
    {"ptx", "ppo", "ppo.jsonl", POLICY("\"ptx\":{\"coef\":2,\"batch\":5},"), "sft.jsonl", 2},
    {"red", "red", "red.jsonl",
     POLICY_OF("16", "\"algorithm\":\"rloo\",\"group\":4,\"red\":{\"alpha\":0.3,\"penalty\":-3,"
            "\"question\":false},\"reply\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":8},"),
     NULL, 2},
    /* several micro-batches for each rank, layers computed again */
    {"micro", "sft", "sft.jsonl",
     "{\"lr\":1,\"batch\":9,\"epochs\":1,\"checkpoint_every\":1,\"micro_batch_tokens\":16,"
     "\"recompute\":\"always\",\"batch_tokens\":40," SMOOTH "}", NULL, 2},
    /* heads over one trunk: each is saved as a model, no state has their number */
    {"shared", "pm", "pm.jsonl",
     "{\"lr\":0.2,\"batch\":6,\"epochs\":2,\"members\":3,\"trunk\":\"shared\",\"centre\":0.01," SMOOTH "}",
     NULL, 0},
};

/* ---- a rank: PROGRAM root rank world zero name of ------------------------------------------ */

struct record {
    struct cai_buf figures; /* "STEP NAME VALUE" lines */
};

static void record_report(void *context, Cai__V1__Report *r) {
    struct record *x = context;
    for (size_t i = 0; i < r->n_metrics; i++)
        cai_buf_printf(&x->figures, "%llu %s %.17g\n", (unsigned long long)r->step,
                       r->metrics[i]->name, r->metrics[i]->value);
}

static int run_recorded(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct record x = {{0}};
    struct learn_host host = {.context = &x, .report = record_report};
    struct learn_task own = *t;
    own.host = &host;
    int rc = learn_train(&own, ret);
    CAI_AUTO(mem) char *path = cai_format("%s.figures", t->train->output);
    if (rc == 0 && learn_rank(t) == 0)
        rc = cai_file_write_atomic(path, x.figures.data, x.figures.len);
    cai_buf_free(&x.figures);
    return rc;
}

/* `of`: whose states are taken up, "" = none. */
static int run_kind(const struct kind *k, int rank, int world, int zero, const char *name,
                    const char *of) {
    if (*of && !k->cut)
        return 0;
    CAI_AUTO(mem) char *full = cai_format("%s-%s", k->name, name);
    CAI_AUTO(mem) char *meeting = cai_format("%s/meet/%s", folder_root, full);
    CAI_AUTO(mem) char *options = cai_format(k->options, zero);
    CAI_AUTO(mem) char *state = cai_format("%s/state/%s-%s/step-%d", folder_root, k->name, of,
                                           k->cut);
    struct comm_options o = {.backend = world > 1 ? "gloo" : "single", .rank = rank,
                             .world = world, .rendezvous = meeting, .interface = "lo",
                             .timeout_ms = 60000};
    bool red = strcmp(k->kind, "red") == 0, policy = red || strcmp(k->kind, "ppo") == 0;
    struct job j = {.kind = k->kind, .init = "base", .dataset = k->dataset, .options = options,
                    .reference = policy ? "base" : NULL, .resume = *of ? state : "",
                    .pm = red ? "out/judge"
                          : strcmp(k->dataset, "ppo.jsonl") == 0 ? "out/scorer/0" : NULL,
                    .target = red ? "base" : NULL,
                    .mix = k->mix, .keep = 64};
    Cai__V1__Trained *t = NULL;
    int rc = cai_dir_make(meeting);
    if (rc == 0)
        rc = comm_open(&o, &j.comm);
    if (rc == 0)
        rc = with_job(&j, full, run_recorded, &t);
    if (rc < 0)
        fprintf(stderr, "rank %d of %s: %s\n", rank, full, cai_error_text());
    else
        free_trained(t);
    comm_close(j.comm);
    return rc;
}

static int be_rank(char **arg) {
    int rank = atoi(arg[2]), world = atoi(arg[3]);
    snprintf(folder_root, sizeof folder_root, "%s", arg[1]);
    int rc = ct_init(1);
    for (size_t i = 0; i < CAI_COUNT(kinds) && rc == 0; i++)
        rc = run_kind(&kinds[i], rank, world, atoi(arg[4]), arg[5], arg[6]);
    return rc < 0;
}

static void run_ranks(int world, const char *zero, const char *name, const char *of) {
    pid_t pid[4];
    for (int r = 0; r < world; r++) {
        char rank[8], ranks[8];
        snprintf(rank, sizeof rank, "%d", r);
        snprintf(ranks, sizeof ranks, "%d", world);
        pid[r] = fork();
        assert_true(pid[r] >= 0);
        if (pid[r] == 0) {
            execl("/proc/self/exe", "ranks", folder_root, rank, ranks, zero, name, of,
                  (char *)NULL);
            _exit(127);
        }
    }
    for (int r = 0; r < world; r++) {
        int status;
        assert_true(waitpid(pid[r], &status, 0) == pid[r]);
        assert_int_equal(status, 0);
    }
}

/* ---- comparing --------------------------------------------------------------------------- */

static void load_out(const struct kind *k, const char *name, struct model **ret) {
    CAI_AUTO(mem) char *dir = cai_format("%s/out/%s-%s%s", folder_root, k->name, name,
                                         strcmp(k->kind, "pm") == 0 ? "/0" : "");
    must(model_load(dir, ret));
}

static double weights_apart(const struct kind *k, const char *a, const char *b) {
    struct model *m, *n;
    load_out(k, a, &m);
    load_out(k, b, &n);
    double worst = worst_difference(ct_host_data(m->flat), ct_host_data(n->flat), m->n);
    model_free(m);
    model_free(n);
    return worst;
}

static void read_figures(const struct kind *k, const char *name, struct cai_buf *ret) {
    CAI_AUTO(mem) char *path = cai_format("%s/out/%s-%s.figures", folder_root, k->name, name);
    must(cai_file_read(path, 1 << 20, ret));
}

/* The figures of b, which may begin later, against those of a: the largest relative difference
 * of losses and norms (0: the same text); how many there were. */
static double figures_apart(const struct kind *k, const char *a, const char *b, int *ret_n) {
    CAI_AUTO(buf) struct cai_buf x = {0};
    CAI_AUTO(buf) struct cai_buf y = {0};
    double worst = 0;
    char *line, *rest;
    read_figures(k, a, &x);
    read_figures(k, b, &y);
    *ret_n = 0;
    for (line = strtok_r(y.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *space = strrchr(line, ' ');
        CAI_AUTO(mem) char *key = cai_format("%.*s ", (int)(space - line), line);
        const char *same = strstr(x.data, key);
        while (same && same > x.data && same[-1] != '\n')
            same = strstr(same + 1, key);
        assert_non_null(same);
        double u = strtod(same + strlen(key), NULL), v = strtod(space, NULL);
        bool counted = strstr(key, "loss") || strstr(key, "grad_norm");
        (*ret_n) += counted;
        if (counted)
            worst = fmax(worst, fabs(u - v) / (1e-2 + fabs(u)));
    }
    return worst;
}

static void same_bits(const struct kind *k, const char *a, const char *b) {
    int n;
    if (figures_apart(k, a, b, &n) != 0 || n < 2)
        fail_msg("%s: the figures of %s and %s differ", k->name, a, b);
    if (weights_apart(k, a, b) != 0)
        fail_msg("%s: the weights of %s and %s differ", k->name, a, b);
}

static void same_numbers(const struct kind *k, const char *a, const char *b) {
    int n;
    double figures = figures_apart(k, a, b, &n), weights = weights_apart(k, a, b);
    print_message("%s, %s and %s: %d losses and norms within %.1e, weights within %.1e\n", k->name,
                  a, b, n, figures, weights);
    assert_true(n >= 2);
    if (!(figures < 2e-5 && weights < 2e-5))
        fail_msg("%s: %s and %s are apart by more than rounding", k->name, a, b);
}

/* A state as one process without the moments' division reads it. */
static float *state_of(const struct kind *k, const char *name, const char *tensor, int64_t n) {
    CAI_AUTO(mem) char *dir = cai_format("%s/state/%s-%s/step-%d", folder_root, k->name, name,
                                         k->cut);
    struct checkpoint c = {.folder = dir};
    json_t *about;
    float *out = cai_alloc((size_t)n * sizeof *out);
    ct_scope *s = ct_scope_open();
    struct checkpoint_tensor t = {.name = tensor, .t = ct_zeros(s, CT_F32, &n, 1)};
    must(checkpoint_load(&c, dir, "", &t, 1, &about));
    must(ct_read_f32(t.t, out, n));
    json_decref(about);
    ct_scope_close(s);
    return out;
}

static void same_state(const struct kind *k, const char *a, const char *b) {
    static const char *const tensors[] = {"policy.flat", "policy.exp_avg", "policy.exp_avg_sq"};
    struct model *m;
    load_out(k, a, &m);
    for (size_t i = 0; i < CAI_COUNT(tensors); i++) {
        CAI_AUTO(mem) float *x = state_of(k, a, tensors[i], m->n);
        CAI_AUTO(mem) float *y = state_of(k, b, tensors[i], m->n);
        double size = 0;
        for (int64_t j = 0; j < m->n; j++)
            size = fmax(size, fabs((double)x[j]));
        assert_true(size > 0);
        assert_memory_equal(x, y, (size_t)m->n * sizeof *x);
    }
    model_free(m);
}

/* ---- what is shown ------------------------------------------------------------------------- */

static int open_ranks_world(void **state) {
    open_scored_world(state, "scorer");
    add_judge();
    run_ranks(1, "1", "1", "");
    run_ranks(2, "1", "2", "");
    run_ranks(4, "1", "4", "");
    return 0;
}

static void many_learn_what_one_learns(void **state) {
    (void)state;
    for (size_t i = 0; i < CAI_COUNT(kinds); i++) {
        CAI_AUTO(mem) char *out = cai_format("%s/out/%s-1%s", folder_root, kinds[i].name,
                                             strcmp(kinds[i].kind, "pm") == 0 ? "/0" : "");
        struct model *m, *base;
        CAI_AUTO(mem) char *start = at_root("base");
        must(model_load(out, &m));
        must(model_load(start, &base));
        int64_t n = m->n < base->n ? m->n : base->n; /* the trunk lies first */
        assert_true(worst_difference(ct_host_data(m->flat), ct_host_data(base->flat), n - 128) >
                    1e-3);
        model_free(m);
        model_free(base);
        same_numbers(&kinds[i], "1", "2");
        same_numbers(&kinds[i], "1", "4");
    }
}

static void shared_moments_change_no_bit(void **state) {
    (void)state;
    run_ranks(2, "0", "2-whole", "");
    run_ranks(4, "0", "4-whole", "");
    for (size_t i = 0; i < CAI_COUNT(kinds); i++) {
        same_bits(&kinds[i], "2-whole", "2");
        same_bits(&kinds[i], "4-whole", "4");
        if (!kinds[i].cut)
            continue;
        same_state(&kinds[i], "2-whole", "2");
        same_state(&kinds[i], "4-whole", "4");
    }
}

static void a_state_is_taken_up_by_any_number(void **state) {
    (void)state;
    run_ranks(2, "1", "2-by-2", "2");
    run_ranks(1, "1", "2-by-1", "2");
    run_ranks(4, "1", "2-by-4", "2");
    run_ranks(2, "0", "4-by-2", "4");
    for (size_t i = 0; i < CAI_COUNT(kinds) && kinds[i].cut; i++) {
        same_bits(&kinds[i], "2", "2-by-2");
        same_numbers(&kinds[i], "2", "2-by-1");
        same_numbers(&kinds[i], "2", "2-by-4");
        same_numbers(&kinds[i], "4", "4-by-2");
    }
}

int main(int argc, char **argv) {
    if (argc > 1)
        return be_rank(argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_learn_what_one_learns),
                                       cmocka_unit_test(shared_moments_change_no_bit),
                                       cmocka_unit_test(a_state_is_taken_up_by_any_number)};
    return cmocka_run_group_tests(tests, open_ranks_world, close_world);
}
