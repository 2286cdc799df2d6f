/* comm: every collective with 1, 2 and 4 processes over loopback gives the sums in rank
 * order; a dead or late peer is an error within the deadline; the refusals say why.
 * The ranks are this program started again (fork + exec, before libtorch runs a thread). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ranks.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "shim/comm.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 20000, SHORT_MS = 1500 };

/* ---- what a rank does -------------------------------------------------------------- */

static void fill(ct_tensor *t, int rank) {
    float *p = ct_host_data(t);
    for (int64_t i = 0; i < ct_numel(t); i++)
        p[i] = value(rank, i);
}

static int sums(struct comm *c, ct_scope *s, int64_t n) {
    ct_tensor *t = ct_zeros(s, CT_F32, &n, 1);
    float *p = ct_host_data(t);
    fill(t, comm_rank(c));
    REQUIRE(comm_all_reduce(c, t) == 0);
    for (int64_t i = 0; i < n; i++)
        REQUIRE(p[i] == sum_of_ranks(comm_world(c), i));
    return 0;
}

static int shards(struct comm *c, ct_scope *s, int64_t n) {
    int rank = comm_rank(c), world = comm_world(c);
    ct_tensor *t = ct_zeros(s, CT_F32, &n, 1);
    float *p = ct_host_data(t);
    fill(t, rank);
    REQUIRE(comm_part(n, 0, world) == 0 && comm_part(n, world, world) == n);
    REQUIRE(comm_reduce_scatter(c, t) == 0);
    for (int64_t i = comm_part(n, rank, world); i < comm_part(n, rank + 1, world); i++)
        REQUIRE(p[i] == sum_of_ranks(world, i));
    REQUIRE(comm_all_gather(c, t) == 0);
    for (int64_t i = 0; i < n; i++)
        REQUIRE(p[i] == sum_of_ranks(world, i));
    return 0;
}

/* Begun one after another and finished together: as if each had been done at once. What comes
 * after them without comm_finish() waits for them. */
static int begun(struct comm *c, ct_scope *s) {
    enum { MANY = 5 };
    int64_t n = 70001;
    double one = 1;
    ct_tensor *t[MANY];
    for (int k = 0; k < MANY; k++) {
        t[k] = ct_zeros(s, CT_F32, &n, 1);
        fill(t[k], comm_rank(c));
        REQUIRE(comm_begin(c, k % 2 ? COMM_ALL_REDUCE : COMM_REDUCE_SCATTER, t[k]) == 0);
        if (k % 2 == 0)
            REQUIRE(comm_begin(c, COMM_ALL_GATHER, t[k]) == 0);
    }
    REQUIRE(comm_all_reduce_f64(c, &one, 1) == 0 && one == comm_world(c));
    for (int k = 0; k < MANY; k++)
        for (int64_t i = 0; i < n; i++)
            REQUIRE(((float *)ct_host_data(t[k]))[i] == sum_of_ranks(comm_world(c), i));
    ct_tensor *half = ct_zeros(s, CT_BF16, (int64_t[]){4}, 1);
    REQUIRE(comm_finish(c) == 0);
    REQUIRE(comm_begin(c, COMM_ALL_GATHER, half) == 0 && comm_finish(c) == 0);
    return 0;
}

static int small_things(struct comm *c, ct_scope *s) {
    int rank = comm_rank(c), world = comm_world(c);
    double d[2] = {rank + 0.5, 1};
    int64_t m[2] = {-rank, rank * 10};
    REQUIRE(comm_all_reduce_f64(c, d, 2) == 0);
    REQUIRE(d[0] == world * (world - 1) / 2 + 0.5 * world && d[1] == world);
    REQUIRE(comm_all_reduce_max(c, m, 2) == 0);
    REQUIRE(m[0] == 0 && m[1] == (world - 1) * 10);
    ct_tensor *t = ct_full(s, CT_I64, (int64_t[]){7}, 1, rank);
    REQUIRE(comm_broadcast(c, t, world - 1) == 0);
    REQUIRE(((int64_t *)ct_host_data(t))[6] == world - 1);
    char own[8] = "abcdefg";
    void *all;
    size_t len, starts[8];
    REQUIRE(comm_all_gather_bytes(c, own, (size_t)rank, &all, &len, starts) == 0);
    REQUIRE(len == (size_t)(world * (world - 1) / 2) && starts[world] == len);
    for (int r = 0; r < world; r++)
        REQUIRE(memcmp((char *)all + starts[r], own, (size_t)r) == 0);
    free(all);
    REQUIRE(comm_barrier(c) == 0);
    return 0;
}

static int work(struct comm *c) {
    ct_scope *s = ct_scope_open();
    int64_t sizes[] = {1, 3, 100003, 5000011};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < CAI_COUNT(sizes); i++)
        rc = sums(c, s, sizes[i]);
    for (size_t i = 0; rc == 0 && i < CAI_COUNT(sizes); i++)
        rc = shards(c, s, sizes[i]);
    if (rc == 0)
        rc = begun(c, s);
    if (rc == 0)
        rc = small_things(c, s);
    ct_scope_close(s);
    REQUIRE(rc == 0);
    bool inside = true;
    REQUIRE(comm_progress(c, &inside) == 27 && !inside);
    return 0;
}

/* Rank 0 meets a peer that is gone (or, late, asleep): an error in time, then refusal. */
static int survive(struct comm *c, int expected) {
    int64_t begin = cai_now_ms();
    double one = 1;
    int rc = comm_all_reduce_f64(c, &one, 1);
    int64_t took = cai_now_ms() - begin;
    REQUIRE(rc == expected || (expected == CAI_EIO && rc == CAI_ETIMEOUT));
    REQUIRE(strstr(cai_error_text(), "collective 2 (all_reduce_f64), rank 0 of 2"));
    REQUIRE(strstr(cai_error_text(), "rank 1"));
    REQUIRE(took < 2 * SHORT_MS);
    REQUIRE(comm_all_reduce_f64(c, &one, 1) == CAI_ESTATE);
    return 0;
}

static void *interrupt_soon(void *comm) {
    nanosleep(&(struct timespec){0, 200000000}, NULL);
    comm_interrupt(comm);
    return NULL;
}

/* Waits for a rank that sleeps, and is told to stop meanwhile: long before the deadline. */
static int be_interrupted(struct comm *c) {
    pthread_t thread;
    double one = 1;
    int64_t begin = cai_now_ms();
    REQUIRE(pthread_create(&thread, NULL, interrupt_soon, c) == 0);
    int rc = comm_all_reduce_f64(c, &one, 1);
    pthread_join(thread, NULL);
    REQUIRE(rc == CAI_ESTATE && strstr(cai_error_text(), "told to stop"));
    REQUIRE(cai_now_ms() - begin < SHORT_MS);
    return 0;
}

static int rank_main(char **argv) {
    const char *mode = argv[1];
    int rank = atoi(argv[2]);
    struct comm_options o = {"gloo", rank, atoi(argv[3]), argv[4], "lo",
                             strcmp(mode, "work") == 0 ? TIMEOUT_MS : SHORT_MS};
    struct comm *c;
    REQUIRE(ct_init(1) == 0);
    if (strcmp(mode, "absent") == 0) {
        REQUIRE(comm_open(&o, &c) == CAI_ETIMEOUT);
        return 0;
    }
    REQUIRE(comm_open(&o, &c) == 0);
    int rc;
    if (strcmp(mode, "work") == 0) {
        rc = work(c);
    } else {
        REQUIRE(comm_barrier(c) == 0);
        if (rank == 1 && strcmp(mode, "dead") == 0)
            _exit(0);
        if (rank == 1)
            nanosleep(&(struct timespec){2 * SHORT_MS / 1000, 500000000}, NULL);
        rc = rank == 0 && strcmp(mode, "interrupted") == 0 ? be_interrupted(c)
             : rank == 0 ? survive(c, strcmp(mode, "dead") == 0 ? CAI_EIO : CAI_ETIMEOUT) : 0;
    }
    comm_close(c);
    return rc;
}

/* ---- the tests ------------------------------------------------------------------------ */

static void run_ranks(const char *mode, int started, int world) {
    char folder[] = "/tmp/cai-comm-XXXXXX";
    assert_non_null(mkdtemp(folder));
    pid_t pid[8];
    for (int r = 0; r < started; r++) {
        char rank[12], size[12];
        snprintf(rank, sizeof rank, "%d", r);
        snprintf(size, sizeof size, "%d", world);
        pid[r] = fork();
        assert_true(pid[r] >= 0);
        if (pid[r] == 0) {
            execl("/proc/self/exe", "comm", mode, rank, size, folder, (char *)NULL);
            _exit(127);
        }
    }
    for (int r = 0; r < started; r++) {
        int status = -1;
        assert_int_equal(waitpid(pid[r], &status, 0), pid[r]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(cai_dir_remove(folder), 0);
}

static void one_process(void **state) {
    (void)state;
    run_ranks("work", 1, 1);
    struct comm_options o = {"single", 0, 1, NULL, NULL, 1000};
    struct comm *c;
    assert_int_equal(comm_open(&o, &c), 0);
    assert_int_equal(work(c), 0);
    comm_close(c);
}

static void two_processes(void **state) {
    (void)state;
    run_ranks("work", 2, 2);
}

static void four_processes(void **state) {
    (void)state;
    run_ranks("work", 4, 4);
}

static void dead_peer(void **state) {
    (void)state;
    run_ranks("dead", 2, 2);
}

static void late_peer(void **state) {
    (void)state;
    run_ranks("late", 2, 2);
}

static void interrupted_wait(void **state) {
    (void)state;
    run_ranks("interrupted", 2, 2);
}

static void absent_peer(void **state) {
    (void)state;
    run_ranks("absent", 1, 2);
}

static void refusals(void **state) {
    (void)state;
    struct comm *c;
    struct {
        struct comm_options o;
        int code;
        const char *word;
    } cases[] = {
        {{"mpi", 0, 1, NULL, NULL, 10}, CAI_EINPUT, "mpi"},
        {{"single", 0, 2, "/tmp", NULL, 10}, CAI_EINPUT, "one rank"},
        {{"nccl", 0, 1, NULL, NULL, 10}, CAI_ENOTFOUND, "gloo"},
        {{"gloo", 2, 2, "/tmp", NULL, 10}, CAI_EINPUT, "rank 2 of 2"},
        {{"gloo", 0, 2, NULL, NULL, 10}, CAI_EINPUT, "rendezvous"},
        {{"gloo", 0, 1, NULL, NULL, 0}, CAI_EINPUT, "deadline"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        assert_int_equal(comm_open(&cases[i].o, &c), cases[i].code);
        assert_null(c);
        assert_non_null(strstr(cai_error_text(), cases[i].word));
    }
    struct comm_options o = {"single", 0, 1, NULL, NULL, 1000};
    assert_int_equal(comm_open(&o, &c), 0);
    ct_scope *s = ct_scope_open();
    ct_tensor *half = ct_zeros(s, CT_BF16, (int64_t[]){4}, 1);
    assert_int_equal(comm_all_reduce(c, half), CAI_EINPUT);
    assert_int_equal(comm_all_gather(c, half), 0);
    assert_int_equal(comm_broadcast(c, half, 1), CAI_EINPUT);
    ct_scope_close(s);
    comm_close(c);
    comm_close(NULL);
}

int main(int argc, char **argv) {
    if (argc == 5)
        return rank_main(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_processes), cmocka_unit_test(two_processes),
        cmocka_unit_test(dead_peer),      cmocka_unit_test(late_peer),
        cmocka_unit_test(absent_peer),    cmocka_unit_test(one_process),
        cmocka_unit_test(refusals),       cmocka_unit_test(interrupted_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
