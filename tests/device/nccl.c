/* NCCL on real GPUs: every collective gives the sums in rank order, of device and of host
 * memory; a late rank costs the others their deadline, and a new gang with a fresh folder
 * works after it. One rank alone; two to four with a GPU each; and where there is one GPU, two
 * ranks that share it, which NCCL takes for two machines by their NCCL_HOSTID.
 * The ranks are this program started again. */
#include "common.h"
#include "../unit/shim/ranks.h"

#include "base/file.h"
#include "shim/comm.h"
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 60000, SHORT_MS = 4000, N = 3 * 1024 + 5, EVEN = 4 * 3 * 1024 };

static ct_tensor *filled(ct_scope *s, int rank, int64_t n) {
    CAI_AUTO(mem) float *x = cai_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = value(rank, i);
    return ct_from_f32(s, x, n);
}

static int sums(struct comm *c, ct_scope *s) {
    static float x[EVEN];
    ct_tensor *t = filled(s, comm_rank(c), N);
    REQUIRE(comm_all_reduce(c, t) == 0);
    REQUIRE(ct_read_f32(t, x, N) == 0);
    for (int64_t i = 0; i < N; i++)
        REQUIRE(x[i] == sum_of_ranks(comm_world(c), i));
    t = filled(s, comm_rank(c), EVEN);
    int64_t part = EVEN / comm_world(c), first = part * comm_rank(c);
    REQUIRE(comm_reduce_scatter(c, t) == 0);
    REQUIRE(ct_read_f32(t, x, EVEN) == 0);
    for (int64_t i = first; i < first + part; i++)
        REQUIRE(x[i] == sum_of_ranks(comm_world(c), i));
    REQUIRE(comm_all_gather(c, t) == 0);
    REQUIRE(ct_read_f32(t, x, EVEN) == 0);
    for (int64_t i = 0; i < EVEN; i++)
        REQUIRE(x[i] == sum_of_ranks(comm_world(c), i));
    return 0;
}

static int spread(struct comm *c, ct_scope *s) {
    static float x[N];
    int root = comm_world(c) - 1;
    ct_tensor *t = filled(s, comm_rank(c), N);
    REQUIRE(comm_broadcast(c, t, root) == 0);
    REQUIRE(ct_read_f32(t, x, N) == 0);
    for (int64_t i = 0; i < N; i++)
        REQUIRE(x[i] == value(root, i));
    return 0;
}

static int of_the_host(struct comm *c) {
    double d[2] = {comm_rank(c) + 1, 0.5};
    int64_t m = 10 * comm_rank(c), world = comm_world(c);
    char mine[8];
    size_t starts[8], len;
    void *all;
    REQUIRE(comm_all_reduce_f64(c, d, 2) == 0);
    REQUIRE(d[0] == (double)(world * (world + 1) / 2) && d[1] == 0.5 * (double)world);
    REQUIRE(comm_all_reduce_max(c, &m, 1) == 0);
    REQUIRE(m == 10 * (world - 1));
    memset(mine, 'a' + comm_rank(c), sizeof mine);
    REQUIRE(comm_all_gather_bytes(c, mine, (size_t)comm_rank(c) + 1, &all, &len, starts) == 0);
    for (int r = 0; r < world; r++)
        for (size_t i = starts[r]; i < starts[r + 1]; i++)
            REQUIRE(((char *)all)[i] == 'a' + r && starts[r + 1] - starts[r] == (size_t)r + 1);
    free(all);
    REQUIRE(comm_barrier(c) == 0);
    return 0;
}

static int open_gang(const char *folder, int rank, int world, int ms, struct comm **ret) {
    return comm_open(&(struct comm_options){.backend = "nccl", .rank = rank, .world = world,
                                            .rendezvous = folder, .timeout_ms = ms},
                     ret);
}

static int everything(const char *folder, int rank, int world) {
    struct comm *c;
    REQUIRE(open_gang(folder, rank, world, TIMEOUT_MS, &c) == 0);
    ct_scope *s = ct_scope_open();
    int rc = sums(c, s);
    rc = rc ? rc : spread(c, s);
    rc = rc ? rc : of_the_host(c);
    rc = rc ? rc : of_the_host(c);
    ct_scope_close(s);
    comm_close(c);
    return rc;
}

/* Rank 1 stays away from the second collective: the others give up in time, and so does it
 * when it comes; then all meet again in another folder. */
static int late(const char *folder, int rank, int world) {
    CAI_AUTO(mem) char *again = cai_path_join(folder, "again");
    struct comm *c;
    REQUIRE(open_gang(folder, rank, world, SHORT_MS, &c) == 0);
    ct_scope *s = ct_scope_open();
    ct_tensor *t = filled(s, rank, N);
    REQUIRE(comm_all_reduce(c, t) == 0);
    if (rank == 1)
        nanosleep(&(struct timespec){SHORT_MS / 1000 + 3, 0}, NULL);
    int rc = comm_all_reduce(c, t);
    REQUIRE(rc == CAI_ETIMEOUT || rc == CAI_EIO);
    REQUIRE(comm_barrier(c) == CAI_ESTATE);
    ct_scope_close(s);
    comm_close(c);
    REQUIRE(ct_device_sync() == 0); /* the GPU is as it was */
    return everything(again, rank, world);
}

static int as_rank(char **argv) {
    int rank = atoi(argv[3]), world = atoi(argv[4]), device = atoi(argv[5]);
    if (ct_init(1) < 0 || ct_device_use((struct ct_device){true, device}) < 0) {
        fprintf(stderr, "%s\n", cai_error_text());
        return 1;
    }
    return strcmp(argv[1], "late") == 0 ? late(argv[2], rank, world)
                                        : everything(argv[2], rank, world);
}

/* ---- the ranks' parent ------------------------------------------------------------------------- */

static void start(const char *what, const char *folder, int rank, int world, bool shared) {
    char texts[3][16];
    int numbers[3] = {rank, world, shared ? 0 : rank};
    for (int i = 0; i < 3; i++)
        snprintf(texts[i], sizeof texts[i], "%d", numbers[i]);
    if (shared) {
        setenv("NCCL_HOSTID", rank ? "second-machine" : "first-machine", 1);
        setenv("NCCL_IB_DISABLE", "1", 1);
        setenv("NCCL_MNNVL_ENABLE", "0", 1);
        setenv("NCCL_MAX_CTAS", "2", 1);
    }
    execl("/proc/self/exe", "nccl", what, folder, texts[0], texts[1], texts[2], (char *)NULL);
    _exit(126);
}

static void run(const char *what, int world, bool shared) {
    char folder[64] = "/tmp/caid-nccl-XXXXXX";
    pid_t pid[8];
    assert_non_null(mkdtemp(folder));
    CAI_AUTO(mem) char *again = cai_path_join(folder, "again");
    must(cai_dir_make(again));
    fflush(stdout);
    for (int r = 0; r < world; r++) {
        pid[r] = fork();
        if (pid[r] == 0)
            start(what, folder, r, world, shared);
    }
    int bad = 0;
    for (int r = 0; r < world; r++) {
        int status = -1;
        waitpid(pid[r], &status, 0);
        if (status)
            print_message("rank %d of %d ended with status %x\n", r, world, status);
        bad += status != 0;
    }
    must(cai_dir_remove(folder));
    assert_int_equal(bad, 0);
}

static int gpus; /* asked by a child, so that nothing of CUDA runs here before a fork */

static void one_rank(void **state) {
    (void)state;
    run("all", 1, false);
}

static void a_gpu_each(void **state) {
    (void)state;
    if (gpus < 2) {
        print_message("SKIP: there is one GPU\n");
        skip();
    }
    for (int world = 2; world <= 4 && world <= gpus; world += 2)
        run("all", world, false);
    run("late", 2, false);
}

static void two_on_one_gpu(void **state) {
    (void)state;
    run("all", 2, true);
    run("late", 2, true);
}

static int count_gpus(char *why, size_t size) {
    int pipe_ends[2], n = 0;
    struct {
        int n;
        char why[256];
    } found = {0};
    if (pipe(pipe_ends) < 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        found.n = ct_device_count(found.why, sizeof found.why);
        _exit(write(pipe_ends[1], &found, sizeof found) != (ssize_t)sizeof found);
    }
    close(pipe_ends[1]);
    if (read(pipe_ends[0], &found, sizeof found) == (ssize_t)sizeof found)
        n = found.n;
    close(pipe_ends[0]);
    waitpid(pid, NULL, 0);
    snprintf(why, size, "%s", found.why);
    return n;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank),
        cmocka_unit_test(a_gpu_each),
        cmocka_unit_test(two_on_one_gpu),
    };
    char why[256];
    if (argc == 6)
        return as_rank(argv);
    gpus = count_gpus(why, sizeof why);
    if (gpus > 0)
        return cmocka_run_group_tests(tests, NULL, NULL);
    printf("SKIP: %s\n", why);
    return SKIPPED;
}
