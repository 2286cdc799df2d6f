/* ranks: the NCCL backend whole, from the plug-in's loading to training, with libnccl and CUDA
 * played by shared libraries (shim/): 2 and 4 ranks train to the bytes of Gloo's; setup that takes
 * its time or fails, an error that comes later, a rank that is late or dies, an abort that fails;
 * each is named in time, and the same processes meet again. The ranks are this program again. */
#include "folder.h"

#include "base/clock.h"
#include "shim/comm_backend.h"
#include "shim/device_plugin.h"

#include <sys/wait.h>

enum { RANKS = 4, SHORT_MS = 1500, LONG_MS = 60000, SUMS = 6 };

#define SMOOTH                                                                                     \
    "\"weight_decay\":0.01,\"beta1\":0.9,\"beta2\":0.99,\"eps\":1,\"clip_norm\":0.5,\"warmup\":0," \
    "\"schedule\":\"constant\",\"bucket\":3000"
static const char sft[] = "{\"lr\":1,\"batch\":7,\"epochs\":1,\"checkpoint_every\":2," SMOOTH "}";
static const char ppo[] =
    "{\"lr\":1,\"value_lr\":1,\"steps\":2,\"rollouts\":12,\"epochs\":2,\"minibatches\":2,"
    "\"clip\":0.2,\"value_clip\":0.2,\"gamma\":1,\"lambda\":0.95,\"value_coef\":1,\"kl_coef\":0.05,"
    "\"kl_target\":0,\"kl_horizon\":100,\"whiten_advantages\":true,\"whiten_rewards\":true,"
    "\"reward_clip\":10,\"no_end_reward\":-1,\"helpful\":0.5,\"kl_budget\":0,\"checkpoint_every\":0,"
    "\"rollout\":{\"temperature\":1,\"top_p\":1,\"max_tokens\":10}," SMOOTH "}";

/* ---- a rank: PROGRAM root mode rank world started ---------------------------------------------------- */

static int open_gang(const char *name, bool nccl, int rank, int world, int ms, struct comm **ret) {
    const struct device_plugin *plugin = NULL;
    CAI_AUTO(mem) char *meeting = cai_format("%s/meet/%s", folder_root, name);
    struct comm_options o = {nccl ? "nccl" : "gloo", rank, world, meeting, "lo", ms};
    CAI_TRY(cai_dir_make(meeting));
    if (nccl)
        CAI_TRY(device_plugin_get(&plugin));
    return nccl ? comm_open_on(plugin->nccl, &o, ret) : comm_open(&o, ret);
}

static int train(bool nccl, int rank, int world) {
    for (int policy = 0; policy < 2; policy++) {
        CAI_AUTO(mem) char *name = cai_format("%s-%s-%d", policy ? "ppo" : "sft",
                                              nccl ? "nccl" : "gloo", world);
        struct job j = {.kind = "sft", .init = "base", .dataset = "sft.jsonl", .options = sft};
        Cai__V1__Trained *t;
        if (policy)
            j = (struct job){.kind = "ppo", .init = "base", .reference = "base",
                             .pm = "out/scorer/0", .dataset = "ppo.jsonl", .options = ppo};
        CAI_TRY(open_gang(name, nccl, rank, world, LONG_MS, &j.comm));
        CAI_TRY(run_job(&j, name, &t));
        comm_close(j.comm);
        free_trained(t);
    }
    return 0;
}

static int sum_often(struct comm *c) {
    int world = comm_world(c);
    for (int i = 0; i < SUMS; i++) {
        double x = comm_rank(c) + i;
        CAI_TRY(comm_all_reduce_f64(c, &x, 1));
        if (x != world * (world - 1) / 2 + world * i)
            return cai_fail(CAI_ENUMERIC, "the sum %d is %g", i, x);
    }
    return 0;
}

/* All that were started are there: what follows is not measured from a slow start. */
static int be_ready(int rank, int started) {
    CAI_AUTO(mem) char *own = cai_format("%s/meet/ready-%d", folder_root, rank);
    CAI_TRY(cai_file_write_atomic(own, "", 0));
    for (int r = 0; r < started; r++) {
        CAI_AUTO(mem) char *path = cai_format("%s/meet/ready-%d", folder_root, r);
        for (int64_t until = cai_now_ms() + LONG_MS; !cai_file_exists(path); usleep(2000))
            if (cai_now_ms() > until)
                return cai_fail(CAI_ETIMEOUT, "rank %d did not start", r);
    }
    return 0;
}

/* What became of the first gang is written down; then all meet again, and nothing is ordered. */
static int suffer(const char *mode, int rank, int world, int started) {
    struct comm *c = NULL;
    CAI_TRY(be_ready(rank, started));
    int64_t began = cai_now_ms();
    int rc = open_gang("first", true, rank, world, SHORT_MS, &c);
    if (rc == 0)
        rc = sum_often(c);
    CAI_AUTO(mem) char *path = cai_format("%s/said-%d", folder_root, rank);
    CAI_AUTO(mem) char *said = cai_format("%d %lld %s", rc, (long long)(cai_now_ms() - began),
                                          rc < 0 ? cai_error_text() : "");
    comm_close(c);
    CAI_TRY(cai_file_write_atomic(path, said, strlen(said)));
    unsetenv("STANDIN_NCCL");
    if (strcmp(mode, "alone") == 0 || strstr(said, "cannot be ended"))
        return 0; /* that process would be started anew */
    c = NULL;
    CAI_TRY(open_gang("again", true, rank, world, LONG_MS, &c));
    rc = sum_often(c);
    comm_close(c);
    return rc;
}

static int be_rank(char **arg) {
    const char *mode = arg[2];
    int rank = atoi(arg[3]), world = atoi(arg[4]);
    snprintf(folder_root, sizeof folder_root, "%s", arg[1]);
    int rc = ct_init(1);
    if (rc == 0)
        rc = strcmp(mode, "gloo") == 0   ? train(false, rank, world)
             : strcmp(mode, "nccl") == 0 ? train(true, rank, world)
                                         : suffer(mode, rank, world, atoi(arg[5]));
    if (rc < 0)
        fprintf(stderr, "rank %d, %s: %s\n", rank, mode, cai_error_text());
    return rc < 0;
}

/* The exit status of each; -1 for one that was not started. */
static void run_ranks(const char *mode, int started, int world, int status[RANKS]) {
    pid_t pid[RANKS];
    for (int r = 0; r < started; r++) {
        char rank[8], of[8], all[8];
        snprintf(rank, sizeof rank, "%d", r);
        snprintf(of, sizeof of, "%d", world);
        snprintf(all, sizeof all, "%d", started);
        pid[r] = fork();
        assert_true(pid[r] >= 0);
        if (pid[r] == 0) {
            execl("/proc/self/exe", "ranks", folder_root, mode, rank, of, all, (char *)NULL);
            _exit(127);
        }
    }
    for (int r = 0; r < started; r++)
        assert_true(waitpid(pid[r], &status[r], 0) == pid[r]);
}

/* ---- training --------------------------------------------------------------------------------- */

static void same_as_gloo(const char *kind, int world) {
    CAI_AUTO(mem) char *a = cai_format("%s/out/%s-gloo-%d/model.safetensors", folder_root, kind,
                                       world);
    CAI_AUTO(mem) char *b = cai_format("%s/out/%s-nccl-%d/model.safetensors", folder_root, kind,
                                       world);
    CAI_AUTO(mem) char *start = at_root("base/model.safetensors");
    char x[CAI_SHA256_HEX], y[CAI_SHA256_HEX], z[CAI_SHA256_HEX];
    must(cai_file_sha256(a, x));
    must(cai_file_sha256(b, y));
    must(cai_file_sha256(start, z));
    assert_string_equal(x, y);
    assert_string_not_equal(x, z);
}

static void training_gives_gloos_bytes(void **state) {
    (void)state;
    for (int world = 2; world <= 4; world += 2) {
        int status[RANKS];
        const char *const modes[] = {"gloo", "nccl"};
        for (int i = 0; i < 2; i++) {
            run_ranks(modes[i], world, world, status);
            for (int r = 0; r < world; r++)
                assert_int_equal(status[r], 0);
        }
        same_as_gloo("sft", world);
        same_as_gloo("ppo", world);
    }
}

/* ---- misfortunes ------------------------------------------------------------------------------ */

struct said {
    int code, ms;
    char text[512];
};

static struct said said_by(int rank) {
    CAI_AUTO(mem) char *path = cai_format("%s/said-%d", folder_root, rank);
    CAI_AUTO(buf) struct cai_buf b = {0};
    struct said s = {0};
    must(cai_file_read(path, 1000, &b));
    int at = 0;
    assert_int_equal(sscanf(b.data, "%d %d %n", &s.code, &s.ms, &at), 2);
    snprintf(s.text, sizeof s.text, "%s", b.data + at);
    print_message("rank %d: %d after %d ms: %s\n", rank, s.code, s.ms, s.text);
    return s;
}

static void play(const char *order, const char *mode, int started, int world, int status[RANKS]) {
    CAI_AUTO(mem) char *meetings = at_root("meet");
    must(cai_dir_remove(meetings));
    must(cai_dir_make(meetings));
    setenv("STANDIN_NCCL", order, 1);
    run_ranks(mode, started, world, status);
    unsetenv("STANDIN_NCCL");
}

static void setup_may_take_its_time(void **state) {
    (void)state;
    int status[RANKS];
    play("slow-init 1 0 400", "meet", 4, 4, status);
    for (int r = 0; r < 4; r++)
        assert_int_equal(status[r], 0);
    assert_int_equal(said_by(0).code, 0);
    struct said slow = said_by(1);
    assert_true(slow.code == 0 && slow.ms >= 400);
}

static void setup_that_fails_says_so(void **state) {
    (void)state;
    int status[RANKS];
    play("init-error 1", "meet", 2, 2, status);
    assert_int_equal(status[0] | status[1], 0); /* they met again */
    struct said s = said_by(1);
    assert_int_equal(s.code, CAI_EIO);
    assert_non_null(strstr(s.text, "meeting the other ranks: NCCL: unhandled system error"));
    assert_true(said_by(0).code < 0);
}

static void a_rank_that_does_not_come_is_named(void **state) {
    (void)state;
    int status[RANKS];
    play("none", "alone", 2, 3, status);
    for (int r = 0; r < 2; r++) {
        struct said s = said_by(r);
        assert_true(s.ms < 3 * SHORT_MS);
        if (s.code == CAI_ETIMEOUT)
            assert_non_null(strstr(s.text, "rank 2 did not come"));
        else /* told by the one whose deadline came first */
            assert_true(s.code == CAI_EIO && strstr(s.text, "remote process exited"));
        if (s.code == CAI_ETIMEOUT)
            assert_null(strstr(s.text, "rank 0 did not"));
    }
    assert_true(said_by(0).code == CAI_ETIMEOUT || said_by(1).code == CAI_ETIMEOUT);
}

/* At least one of the others' deadlines comes, and names that rank alone. */
static void named_late(int world, int late) {
    int named = 0;
    for (int r = 0; r < world; r++) {
        if (r == late)
            continue;
        struct said s = said_by(r);
        CAI_AUTO(mem) char *words = cai_format("exchanging: rank %d is late", late);
        assert_true(s.code == CAI_ETIMEOUT || s.code == CAI_EIO);
        if (s.code == CAI_ETIMEOUT && !strstr(s.text, words))
            fail_msg("rank %d: %s", r, s.text);
        named += s.code == CAI_ETIMEOUT;
        assert_true(s.ms < 4 * SHORT_MS);
        assert_non_null(strstr(s.text, "collective 4 (all_reduce_f64)"));
    }
    assert_true(named > 0);
}

static void a_late_rank_is_named(void **state) {
    (void)state;
    int status[RANKS];
    play("late 2 3 4000", "meet", 4, 4, status);
    named_late(4, 2);
    for (int r = 0; r < 4; r++)
        assert_int_equal(status[r], 0); /* all met again, the late one too */
    assert_int_equal(said_by(2).code, CAI_EIO);
}

static void a_rank_that_dies_is_named(void **state) {
    (void)state;
    int status[RANKS];
    play("dies 1 3", "alone", 2, 2, status);
    named_late(2, 1);
    assert_int_equal(WEXITSTATUS(status[1]), 9);
    assert_int_equal(status[0], 0);
}

static void an_error_that_comes_later_ends_all(void **state) {
    (void)state;
    int status[RANKS];
    play("async-error 1 2", "meet", 4, 4, status);
    for (int r = 0; r < 4; r++) {
        struct said s = said_by(r);
        assert_int_equal(status[r], 0);
        assert_int_equal(s.code, CAI_EIO);
        assert_non_null(strstr(s.text, r == 1 ? "unhandled system error: ordered by the test"
                                              : "remote process exited"));
        assert_true(s.ms < SHORT_MS + 3000);
    }
}

static void an_abort_that_fails_is_told(void **state) {
    (void)state;
    int status[RANKS];
    play("abort-fails 1 2", "alone", 2, 2, status);
    struct said s = said_by(1);
    assert_int_equal(s.code, CAI_EINTERNAL);
    assert_non_null(strstr(s.text, "the communicator cannot be ended: unhandled system error"));
    assert_int_equal(said_by(0).code, CAI_EIO);
}

static int open_standin_world(void **state) {
    return open_scored_world(state, "scorer");
}

int main(int argc, char **argv) {
    if (argc > 1)
        return be_rank(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_gives_gloos_bytes),
        cmocka_unit_test(setup_may_take_its_time),
        cmocka_unit_test(setup_that_fails_says_so),
        cmocka_unit_test(a_rank_that_does_not_come_is_named),
        cmocka_unit_test(a_late_rank_is_named),
        cmocka_unit_test(a_rank_that_dies_is_named),
        cmocka_unit_test(an_error_that_comes_later_ends_all),
        cmocka_unit_test(an_abort_that_fails_is_told),
    };
    return cmocka_run_group_tests(tests, open_standin_world, close_world);
}
