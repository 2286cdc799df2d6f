/* store: what was committed is there after a reopen, what was not is gone; keys are
 * natural; orders do not depend on the order of adding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "store/assets.h"
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[32];
    char *path;
    struct store *s;
    int64_t job;
};

static int setup(void **state) {
    struct fixture *f = cai_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/cai-store-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->path = cai_path_join(f->dir, "caid.db");
    if (store_open(f->path, &f->s) < 0 ||
        store_job_add(f->s, "one", "{}", "abc", 1000, "key-1", &f->job) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    store_close(f->s);
    int rc = cai_dir_remove(f->dir);
    free(f->path);
    free(f);
    return rc;
}

static void reopen(struct fixture *f) {
    store_close(f->s);
    assert_int_equal(store_open(f->path, &f->s), 0);
}

static void job_states_persist(void **state) {
    struct fixture *f = *state;
    int64_t again = 0;
    assert_int_equal(store_job_add(f->s, "one", "{}", "abc", 1000, "key-1", &again), 0);
    assert_int_equal(again, f->job);
    assert_int_equal(store_job_set_state(f->s, f->job, JOB_RUNNING, "", ""), 0);
    assert_int_equal(store_job_set_stage(f->s, f->job, 2, "revise", true), 0);
    assert_int_equal(store_job_accept(f->s, f->job, "overseer"), 0);
    assert_int_equal(store_job_accept(f->s, f->job, "kl"), 0);
    assert_int_equal(store_job_pin_class(f->s, f->job, "cpu/x"), 0);
    reopen(f);
    struct store_job j;
    assert_int_equal(store_job_get(f->s, f->job, &j), 0);
    assert_int_equal(j.state, JOB_RUNNING);
    assert_int_equal(j.round, 2);
    assert_string_equal(j.stage, "revise");
    assert_true(j.planned);
    assert_string_equal(j.accepted, "overseer kl");
    assert_string_equal(j.numeric_class, "cpu/x");
    assert_true(j.started_ms > 0 && j.finished_ms == 0);
    store_job_free(&j);
    assert_int_equal(store_job_get(f->s, 99, &j), CAI_ENOTFOUND);
    assert_int_equal(store_job_set_state(f->s, 99, JOB_RUNNING, "", ""), CAI_ENOTFOUND);
}

static struct store_task task(int64_t job, const char *phase, uint32_t chunk) {
    return (struct store_task){.job = job, .round = 1, .chunk = chunk, .stage = "revise",
                               .phase = phase, .payload = "p\0q", .payload_len = 3};
}

static int note_order(void *c, const struct store_task *t) {
    struct cai_buf *b = c;
    cai_buf_printf(b, "%s%u ", t->phase, t->chunk);
    return 0;
}

static void tasks_come_in_natural_order(void **state) {
    struct fixture *f = *state;
    static const struct { const char *phase; uint32_t chunk; } adds[] = {
        {"b", 1}, {"a", 10}, {"b", 0}, {"a", 2}};
    int64_t ids[4];
    for (size_t i = 0; i < 4; i++) {
        struct store_task t = task(f->job, adds[i].phase, adds[i].chunk);
        assert_int_equal(store_task_add(f->s, &t, &ids[i]), 0);
        assert_int_equal(store_task_add(f->s, &t, NULL), CAI_ESTATE);
    }
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(store_tasks_open(f->s, f->job, note_order, &b), 0);
    assert_string_equal(b.data, "a2 a10 b0 b1 ");
    assert_int_equal(store_task_done(f->s, ids[1], "h", 1.5, 7), 0);
    assert_int_equal(store_task_done(f->s, ids[1], "h", 1.5, 7), CAI_ESTATE);
    cai_buf_clear(&b);
    assert_int_equal(store_tasks_open(f->s, f->job, note_order, &b), 0);
    assert_string_equal(b.data, "a2 b0 b1 ");
    int64_t done = 0, total = 0;
    assert_int_equal(store_task_counts(f->s, f->job, 1, "revise", &done, &total), 0);
    assert_int_equal(done, 1);
    assert_int_equal(total, 4);
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task got;
    assert_int_equal(store_task_get(f->s, ids[0], &payload, &got), 0);
    assert_int_equal(got.payload_len, 3);
    assert_memory_equal(got.payload, "p\0q", 3);
    assert_string_equal(got.stage, "revise");
    assert_string_equal(got.phase, "b");
    uint32_t failures = 0;
    assert_int_equal(store_task_failed(f->s, ids[0], &failures), 0);
    assert_int_equal(store_task_failed(f->s, ids[0], &failures), 0);
    assert_int_equal(failures, 2);
}

static int note_held(void *c, const struct store_phase *p) {
    cai_buf_printf(c, "%s %lld %lld; ", p->phase, (long long)p->tasks, (long long)p->held);
    return 0;
}

/* A phase held as much as the one of its tasks that held most. */
static void phases_say_what_was_held(void **state) {
    struct fixture *f = *state;
    static const int64_t held[] = {100, 300, 200};
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (uint32_t i = 0; i < 3; i++) {
        struct store_task t = task(f->job, i < 2 ? "a" : "b", i);
        int64_t id;
        assert_int_equal(store_task_add(f->s, &t, &id), 0);
        assert_int_equal(store_task_done(f->s, id, "h", 1, 1), 0);
        assert_int_equal(store_task_held(f->s, id, held[i]), 0);
    }
    assert_int_equal(store_phases_each(f->s, f->job, note_held, &b), 0);
    assert_string_equal(b.data, "a 2 300; b 1 200; ");
}

static void ledger_does_not_depend_on_order(void **state) {
    struct fixture *f = *state;
    int64_t other;
    assert_int_equal(store_job_add(f->s, "two", "{}", "abc", 0, NULL, &other), 0);
    int64_t a[2], b[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct store_task t = task(f->job, "x", i), u = task(other, "x", 1 - i);
        assert_int_equal(store_task_add(f->s, &t, &a[i]), 0);
        assert_int_equal(store_task_add(f->s, &u, &b[1 - i]), 0);
    }
    char before[65], one[65], two[65];
    assert_int_equal(store_ledger_digest(f->s, f->job, before), 0);
    assert_int_equal(store_task_done(f->s, a[0], "h0", 1, 1), 0);
    assert_int_equal(store_task_done(f->s, a[1], "h1", 2, 1), 0);
    assert_int_equal(store_task_done(f->s, b[1], "h1", 3, 1), 0);
    assert_int_equal(store_task_done(f->s, b[0], "h0", 4, 1), 0);
    assert_int_equal(store_ledger_digest(f->s, f->job, one), 0);
    assert_int_equal(store_ledger_digest(f->s, other, two), 0);
    assert_string_equal(one, two);
    assert_string_not_equal(one, before);
}

static void rollback_undoes_everything(void **state) {
    struct fixture *f = *state;
    struct store_task t = task(f->job, "a", 0);
    int64_t id;
    assert_int_equal(store_task_add(f->s, &t, &id), 0);
    assert_int_equal(store_begin(f->s), 0);
    struct store_example e = {.job = f->job, .round = 1, .stage = "revise", .item = 5,
                              .kind = "reply", .text = "hello", .principle = "p"};
    assert_int_equal(store_example_add(f->s, &e), 0);
    assert_int_equal(store_example_add(f->s, &e), CAI_ESTATE);
    assert_int_equal(store_task_done(f->s, id, "h", 1, 1), 0);
    store_rollback(f->s);
    int64_t n = -1;
    assert_int_equal(store_examples_count(f->s, f->job, 0, NULL, NULL, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(store_task_done(f->s, id, "h", 1, 1), 0);
}

static int count_nested(void *c, const struct store_example *e) {
    struct fixture *f = ((void **)c)[0];
    CAI_AUTO(mem) char *text = NULL;
    /* A read of another table and a nested iteration inside an iteration. */
    assert_int_equal(store_example_get(f->s, f->job, e->round, e->stage, e->item, e->kind, e->k,
                                       &text, NULL), 0);
    assert_string_equal(text, e->text);
    cai_buf_printf(((void **)c)[1], "%llu%s%u ", (unsigned long long)e->item, e->kind, e->k);
    return 0;
}

static void examples_are_ordered_and_nest(void **state) {
    struct fixture *f = *state;
    static const struct { uint64_t item; const char *kind; uint32_t k; } adds[] = {
        {10, "reply", 0}, {2, "revision", 1}, {2, "critique", 0}, {2, "revision", 0}};
    for (size_t i = 0; i < 4; i++) {
        struct store_example e = {.job = f->job, .round = 1, .stage = "revise",
                                  .item = adds[i].item, .k = adds[i].k, .kind = adds[i].kind,
                                  .text = "t", .detail = "{\"n\":1}"};
        assert_int_equal(store_example_add(f->s, &e), 0);
    }
    CAI_AUTO(buf) struct cai_buf b = {0};
    void *c[2] = {f, &b};
    assert_int_equal(store_examples_each(f->s, f->job, 0, "revise", NULL, count_nested, c), 0);
    assert_string_equal(b.data, "2critique0 2revision0 2revision1 10reply0 ");
    cai_buf_clear(&b);
    assert_int_equal(store_examples_each(f->s, f->job, 1, NULL, "reply", count_nested, c), 0);
    assert_string_equal(b.data, "10reply0 ");
    assert_int_equal(store_example_get(f->s, f->job, 1, "revise", 3, "reply", 0, NULL, NULL),
                     CAI_ENOTFOUND);
}

static int sum_p(void *c, const struct store_label *l) {
    assert_string_equal(l->principle, "kind");
    *(double *)c += l->p;
    return 0;
}

static void labels_refuse_nonsense(void **state) {
    struct fixture *f = *state;
    struct store_label l = {.job = f->job, .round = 1, .item = 3, .principle = "kind",
                            .source = "ai", .p = 0.25, .p_ab = 0.2, .p_ba = 0.7};
    assert_int_equal(store_label_add(f->s, &l), 0);
    assert_int_equal(store_label_add(f->s, &l), CAI_ESTATE);
    l.source = "human";
    l.p = 0.5;
    assert_int_equal(store_label_add(f->s, &l), 0);
    l.k = 1;
    l.p = 0.0 / (l.p - 0.5);
    assert_int_equal(store_label_add(f->s, &l), CAI_ENUMERIC);
    double sum = 0;
    assert_int_equal(store_labels_each(f->s, f->job, 1, sum_p, &sum), 0);
    assert_true(sum == 0.75);
}

static void newest_model_up_to_a_round(void **state) {
    struct fixture *f = *state;
    static const struct { uint32_t round; uint64_t step; const char *path; } adds[] = {
        {2, 0, "/two"}, {1, 5, "/one-5"}, {1, 10, "/one-10"}, {3, 0, "/three"}};
    for (size_t i = 0; i < 4; i++) {
        struct store_model m = {.job = f->job, .round = adds[i].round, .stage = "sft",
                                .kind = "policy", .step = adds[i].step, .path = adds[i].path,
                                .hash = "h"};
        assert_int_equal(store_model_add(f->s, &m), 0);
        assert_int_equal(store_model_add(f->s, &m), 0);
    }
    CAI_AUTO(mem) char *one = NULL, *two = NULL;
    assert_int_equal(store_model_find(f->s, f->job, 1, "sft", "policy", 0, &one, NULL), 0);
    assert_string_equal(one, "/one-10");
    assert_int_equal(store_model_find(f->s, f->job, 2, NULL, "policy", 0, &two, NULL), 0);
    assert_string_equal(two, "/two");
    assert_int_equal(store_model_find(f->s, f->job, 2, NULL, "pm", 0, &two, NULL), CAI_ENOTFOUND);
    double v = 0;
    assert_int_equal(store_metric_add(f->s, f->job, 1, "sft", 3, "loss", 2.5), 0);
    assert_int_equal(store_metric_add(f->s, f->job, 1, "sft", 3, "loss", 1.5), 0);
    assert_int_equal(store_metric_get(f->s, f->job, 1, "sft", 3, "loss", &v), 0);
    assert_true(v == 1.5);
    assert_int_equal(store_metric_get(f->s, f->job, 1, "sft", 4, "loss", &v), CAI_ENOTFOUND);
}

static void constitutions_by_name_and_prefix(void **state) {
    struct fixture *f = *state;
    static const char r1[] = "aaaaaa1111111111111111111111111111111111111111111111111111111111";
    static const char r2[] = "aaaaaa2222222222222222222222222222222222222222222222222222222222";
    assert_int_equal(store_constitution_add(f->s, "rules", r1, "{1}", "first"), 0);
    assert_int_equal(store_constitution_add(f->s, "rules", r2, "{2}", "second"), 0);
    CAI_AUTO(mem) char *revision = NULL, *canonical = NULL;
    assert_int_equal(store_constitution_get(f->s, "rules", &revision, &canonical), CAI_ENOTFOUND);
    assert_int_equal(store_constitution_set_current(f->s, "rules", r2), 0);
    assert_int_equal(store_constitution_set_current(f->s, "rules", "bbbbbb"), CAI_ENOTFOUND);
    assert_int_equal(store_constitution_get(f->s, "rules", &revision, &canonical), 0);
    assert_string_equal(revision, r2);
    CAI_AUTO(mem) char *revision2 = NULL, *canonical2 = NULL;
    assert_int_equal(store_constitution_get(f->s, "aaaaaa", &revision2, &canonical2), CAI_EINPUT);
    assert_int_equal(store_constitution_get(f->s, "aaaaaa1", &revision2, &canonical2), 0);
    assert_string_equal(canonical2, "{1}");
}

static void epochs_rise_and_requests_are_kept(void **state) {
    struct fixture *f = *state;
    int64_t first = store_epoch_next(f->s);
    assert_true(first > 0);
    reopen(f);
    assert_int_equal(store_epoch_next(f->s), first + 1);
    int exit_code = -1;
    CAI_AUTO(mem) char *error = NULL, *json = NULL;
    assert_int_equal(store_request_get(f->s, "k", "cancel", &exit_code, &error, &json),
                     CAI_ENOTFOUND);
    assert_int_equal(store_request_add(f->s, "k", "cancel", 7, "no", "{}"), 0);
    assert_int_equal(store_request_get(f->s, "k", "cancel", &exit_code, &error, &json), 0);
    assert_int_equal(exit_code, 7);
    assert_string_equal(error, "no");
    CAI_AUTO(mem) char *e2 = NULL, *j2 = NULL;
    assert_int_equal(store_request_get(f->s, "k", "submit", &exit_code, &e2, &j2), CAI_ESTATE);
}

static void blobs_are_content_addressed(void **state) {
    struct fixture *f = *state;
    char hash[65], again[65];
    CAI_AUTO(mem) char *path = NULL, *path2 = NULL;
    assert_int_equal(store_blob_put(f->s, "abc", 3, hash, &path), 0);
    assert_int_equal(store_blob_put(f->s, "abc", 3, again, &path2), 0);
    assert_string_equal(path, path2);
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(cai_file_read(path, 10, &b), 0);
    assert_string_equal(b.data, "abc");
}

static void second_opener_is_refused(void **state) {
    struct fixture *f = *state;
    struct store *other = NULL;
    assert_true(store_open(f->path, &other) < 0);
    assert_null(other);
}

static void newer_schema_is_refused(void **state) {
    struct fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(store_open(f->path, &f->s), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "newer caid"));
    f->s = NULL;
}

/* A limit on the file size stands in for a full disk: the same path in SQLite. */
static void full_disk_is_its_own_code(void **state) {
    struct fixture *f = *state;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 512 * 1024;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    char *text = cai_alloc(100001);
    memset(text, 'x', 100000);
    int rc = 0;
    uint64_t added = 0;
    for (; rc == 0 && added < 100; added += rc == 0) {
        if ((rc = store_begin(f->s)) < 0)
            break;
        struct store_example e = {.job = f->job, .round = 1, .stage = "s", .item = added,
                                  .kind = "reply", .text = text};
        rc = store_example_add(f->s, &e);
        if (rc == 0)
            rc = store_commit(f->s);
        if (rc < 0)
            store_rollback(f->s);
    }
    assert_int_equal(rc, CAI_ENOSPC);
    assert_true(added > 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    struct store_example e = {.job = f->job, .round = 1, .stage = "s", .item = added,
                              .kind = "reply", .text = text};
    assert_int_equal(store_example_add(f->s, &e), 0);
    reopen(f);
    int64_t n = 0;
    assert_int_equal(store_examples_count(f->s, f->job, 1, "s", "reply", &n), 0);
    assert_int_equal(n, (int64_t)added + 1);
    free(text);
}

/* A database of before people were told apart: its jobs are there, and nobody's share. */
static void an_older_schema_is_raised(void **state) {
    struct fixture *f = *state;
    sqlite3 *db = NULL;
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "ALTER TABLE jobs DROP COLUMN priority;"
                                  "ALTER TABLE jobs DROP COLUMN stopped_by;"
                                  "DROP TABLE shares; DROP TABLE assets; DROP TABLE uploads;"
                                  "DROP TABLE upload_files;"
                                  "DROP TABLE review_queues; DROP TABLE review_items;"
                                  "DROP TABLE review_log; DROP TABLE review_drafts;"
                                  "ALTER TABLE tasks DROP COLUMN held;"
                                  "PRAGMA user_version = 3;",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    struct store_job job;
    assert_int_equal(store_open(f->path, &f->s), 0);
    assert_int_equal(store_job_get(f->s, f->job, &job), 0);
    assert_string_equal(job.name, "one");
    assert_int_equal(job.uid, 1000);
    assert_int_equal(job.priority, 0);
    assert_string_equal(job.stopped_by, "");
    store_job_free(&job);
    assert_int_equal(store_job_set_priority(f->s, f->job, -7), 0);
    assert_int_equal(store_job_set_stopped(f->s, f->job, "ann"), 0);
    reopen(f);
    assert_int_equal(store_job_get(f->s, f->job, &job), 0);
    assert_int_equal(job.priority, -7);
    assert_string_equal(job.stopped_by, "ann");
    store_job_free(&job);
}

static int sum_shares(void *c, int64_t uid, double seconds, int64_t wall_ms) {
    double *sum = c;
    *sum = *sum * 10 + (double)uid + seconds + (double)wall_ms;
    return 0;
}

static void shares_are_kept(void **state) {
    struct fixture *f = *state;
    double sum = 0;
    assert_int_equal(store_share_set(f->s, 2, 0.5, 3), 0);
    assert_int_equal(store_share_set(f->s, 1, 0.25, 4), 0);
    assert_int_equal(store_share_set(f->s, 2, 0.125, 6), 0);
    reopen(f);
    assert_int_equal(store_shares_each(f->s, sum_shares, &sum), 0);
    assert_true(sum == 52.5 + 8.125);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(job_states_persist),
        STORE_TEST(tasks_come_in_natural_order),
        STORE_TEST(phases_say_what_was_held),
        STORE_TEST(ledger_does_not_depend_on_order),
        STORE_TEST(rollback_undoes_everything),
        STORE_TEST(examples_are_ordered_and_nest),
        STORE_TEST(labels_refuse_nonsense),
        STORE_TEST(newest_model_up_to_a_round),
        STORE_TEST(constitutions_by_name_and_prefix),
        STORE_TEST(epochs_rise_and_requests_are_kept),
        STORE_TEST(blobs_are_content_addressed),
        STORE_TEST(second_opener_is_refused),
        STORE_TEST(newer_schema_is_refused),
        STORE_TEST(full_disk_is_its_own_code),
        STORE_TEST(an_older_schema_is_raised),
        STORE_TEST(shares_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
