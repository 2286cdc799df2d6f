/* ranks: one rank and two give one result within fp32 rounding, two and two the same bits,
 * two stopped and resumed as well; for SFT and PPO, and of preference models those with a
 * shared trunk. The ranks are this program started again, before libtorch runs a thread. */
#include "folder.h"

#include <sys/wait.h>

/* A large eps makes AdamW smooth in the gradient, so that rounding stays rounding. */
#define SMOOTH                                                                                     \
    "\"weight_decay\":0.01,\"beta1\":0.9,\"beta2\":0.99,\"eps\":1,\"clip_norm\":1,\"warmup\":0,"   \
    "\"schedule\":\"constant\""

static const char sft_options[] = "{\"lr\":1,\"batch\":7,\"epochs\":2,\"checkpoint_every\":3,"
                                  SMOOTH "}";
static const char ppo_options[] =
    "{\"lr\":1,\"value_lr\":1,\"steps\":3,\"rollouts\":12,\"epochs\":2,\"minibatches\":2,"
    "\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,\"kl_coef\":0.05,"
    "\"kl_target\":0,\"kl_horizon\":100,\"whiten_advantages\":true,\"whiten_rewards\":true,"
    "\"reward_clip\":10,\"no_end_reward\":-1,\"helpful\":0.5,\"kl_budget\":0,"
    "\"checkpoint_every\":2,\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":10},"
    SMOOTH "}";
static const char pm_options[] = "{\"lr\":0.01,\"batch\":6,\"epochs\":4,\"members\":1,"
                                 OPTIMIZER_JSON "}";

static const char shared_options[] = "{\"lr\":1,\"batch\":6,\"epochs\":2,\"members\":3,"
                                     "\"trunk\":\"shared\",\"centre\":0.01," SMOOTH "}";

static struct job job_of(const char *kind) {
    if (strcmp(kind, "shared") == 0)
        return (struct job){.kind = "pm", .init = "base", .dataset = "pm.jsonl",
                            .options = shared_options};
    if (strcmp(kind, "pm") == 0)
        return (struct job){.kind = kind, .init = "base", .dataset = "pm.jsonl",
                            .options = pm_options};
    if (strcmp(kind, "sft") == 0)
        return (struct job){.kind = kind, .init = "base", .dataset = "sft.jsonl",
                            .options = sft_options};
    return (struct job){.kind = kind, .init = "base", .reference = "base", .pm = "out/pm/0",
                        .dataset = "ppo.jsonl", .options = ppo_options};
}

/* ---- a rank: PROGRAM root rank world kind name resume -------------------------------- */

static int be_rank(char **arg) {
    int rank = atoi(arg[2]), world = atoi(arg[3]);
    snprintf(folder_root, sizeof folder_root, "%s", arg[1]);
    CAI_AUTO(mem) char *meeting = cai_format("%s/meet/%s", folder_root, arg[5]);
    struct comm_options o = {.backend = world > 1 ? "gloo" : "single", .rank = rank,
                             .world = world, .rendezvous = meeting, .interface = "lo",
                             .timeout_ms = 20000};
    struct seen seen = {0};
    struct job j = job_of(arg[4]);
    Cai__V1__Trained *t = NULL;
    int rc = ct_init(1);
    if (rc == 0)
        rc = comm_open(&o, &j.comm);
    j.seen = rank == 0 ? &seen : NULL;
    j.resume = arg[6];
    if (rc == 0)
        rc = run_job(&j, arg[5], &t);
    if (rc < 0)
        fprintf(stderr, "rank %d of %s: %s\n", rank, arg[5], cai_error_text());
    else
        free_trained(t);
    comm_close(j.comm);
    return rc < 0;
}

static void run_ranks(int world, const char *kind, const char *name, const char *resume) {
    CAI_AUTO(mem) char *meeting = cai_format("%s/meet/%s", folder_root, name);
    pid_t pid[4];
    must(cai_dir_remove(meeting));
    must(cai_dir_make(meeting));
    for (int r = 0; r < world; r++) {
        char rank[8], of[8];
        snprintf(rank, sizeof rank, "%d", r);
        snprintf(of, sizeof of, "%d", world);
        pid[r] = fork();
        assert_true(pid[r] >= 0);
        if (pid[r] == 0) {
            execl("/proc/self/exe", "ranks", folder_root, rank, of, kind, name, resume,
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

static double difference(const char *a, const char *b) {
    CAI_AUTO(mem) char *x = cai_format("%s/out/%s", folder_root, a);
    CAI_AUTO(mem) char *y = cai_format("%s/out/%s", folder_root, b);
    struct model *m, *n;
    must(model_load(x, &m));
    must(model_load(y, &n));
    double worst = worst_difference(ct_host_data(m->flat), ct_host_data(n->flat), m->n);
    model_free(m);
    model_free(n);
    return worst;
}

static void worlds_agree(const char *kind, const char *last) {
    CAI_AUTO(mem) char *one = cai_format("%s-1", kind);
    CAI_AUTO(mem) char *two = cai_format("%s-2", kind);
    CAI_AUTO(mem) char *again = cai_format("%s-2-again", kind);
    CAI_AUTO(mem) char *cut = cai_format("%s-2-cut", kind);
    CAI_AUTO(mem) char *state = cai_format("%s/state/%s/%s", folder_root, two, last);
    run_ranks(1, kind, one, "");
    run_ranks(2, kind, two, "");
    run_ranks(2, kind, again, "");
    run_ranks(2, kind, cut, state);
    CAI_AUTO(mem) char *base = cai_format("../base");
    assert_true(difference(one, base) > 1e-3);
    double worst = difference(one, two);
    if (!(worst < 2e-5))
        fail_msg("one rank and two differ by %g", worst);
    assert_true(difference(two, again) == 0);
    assert_true(difference(two, cut) == 0);
}

/* Heads over one trunk: every member, its own head included. */
static void shared_trunk_on_two(void **state) {
    (void)state;
    run_ranks(1, "shared", "shared-1", "");
    run_ranks(2, "shared", "shared-2", "");
    for (int k = 0; k < 3; k++) {
        CAI_AUTO(mem) char *one = cai_format("shared-1/%d", k);
        CAI_AUTO(mem) char *two = cai_format("shared-2/%d", k);
        double worst = difference(one, two);
        if (!(worst < 2e-5))
            fail_msg("member %d of one rank and two differs by %g", k, worst);
    }
    assert_true(difference("shared-1/0", "shared-1/1") > 1e-3);
}

static void sft_on_two(void **state) {
    (void)state;
    worlds_agree("sft", "step-6");
}

static void ppo_on_two(void **state) {
    (void)state;
    run_ranks(2, "pm", "pm", "");
    worlds_agree("ppo", "step-2");
}

int main(int argc, char **argv) {
    if (argc > 1)
        return be_rank(argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(shared_trunk_on_two),
                                       cmocka_unit_test(sft_on_two), cmocka_unit_test(ppo_on_two)};
    return cmocka_run_group_tests(tests, open_world, close_world);
}
