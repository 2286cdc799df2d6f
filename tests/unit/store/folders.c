/* folders: one number for each folder, marks that outlive a crash, pins that nothing passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "store/store.h"
#include <string.h>
#include <unistd.h>

struct fixture {
    char dir[32];
    char *path;
    struct store *s;
};

static int setup(void **state) {
    struct fixture *f = cai_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/cai-folders-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->path = cai_path_join(f->dir, "caid.db");
    *state = f;
    return store_open(f->path, &f->s);
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

static int64_t add(struct fixture *f, int64_t job, uint32_t round, const char *kind, uint64_t step,
                   const char *path) {
    struct store_model m = {.job = job, .round = round, .stage = "sft", .kind = kind,
                            .step = step, .path = path, .hash = "h"};
    struct store_folder row;
    assert_int_equal(store_model_add(f->s, &m), 0);
    assert_int_equal(store_folder_find(f->s, path, &row), 0);
    int64_t number = row.number;
    store_folder_free(&row);
    return number;
}

static int note(void *c, const struct store_folder *f) {
    cai_buf_printf(c, "%lld%s%s ", (long long)f->number, f->pinned ? "p" : "",
                   f->state == FOLDER_GOING ? "-" : f->state == FOLDER_GONE ? "x" : "");
    return 0;
}

static void listed(struct fixture *f, int64_t job, const char *expected) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(store_folders_each(f->s, job, 0, note, &b), 0);
    assert_string_equal(b.data ? b.data : "", expected);
}

static void a_folder_has_one_number(void **state) {
    struct fixture *f = *state;
    int64_t a = add(f, 1, 1, "policy", 8, "/a"), b = add(f, 1, 2, "policy", 8, "/b");
    assert_int_equal(add(f, 1, 3, "policy", 9, "/a"), a);
    assert_int_equal(add(f, 2, 0, "policy", 0, "/b"), b);
    listed(f, 1, "1 2 ");
    listed(f, 2, "");
    struct store_folder row;
    assert_int_equal(store_folder_get(f->s, 99, &row), CAI_ENOTFOUND);
    assert_int_equal(store_folder_find(f->s, "/c", &row), CAI_ENOTFOUND);
}

static void pins_keep(void **state) {
    struct fixture *f = *state;
    int64_t a = add(f, 1, 1, "policy", 8, "/a");
    assert_int_equal(store_folder_pin(f->s, a, true, "for the paper"), 0);
    assert_int_equal(store_folder_mark(f->s, a, "old"), CAI_ESTATE);
    reopen(f);
    struct store_folder row;
    assert_int_equal(store_folder_get(f->s, a, &row), 0);
    assert_true(row.pinned);
    assert_string_equal(row.note, "for the paper");
    store_folder_free(&row);
    assert_int_equal(store_folder_pin(f->s, a, false, NULL), 0);
    assert_int_equal(store_folder_mark(f->s, a, "old"), 0);
    assert_int_equal(store_folder_pin(f->s, a, true, NULL), CAI_ESTATE);
}

static void a_mark_outlives_a_crash(void **state) {
    struct fixture *f = *state;
    int64_t a = add(f, 1, 1, "policy", 8, "/a"), b = add(f, 1, 2, "policy", 8, "/b");
    assert_int_equal(store_begin(f->s), 0);
    assert_int_equal(store_folder_mark(f->s, a, "old"), 0);
    assert_int_equal(store_commit(f->s), 0);
    assert_int_equal(store_begin(f->s), 0);
    assert_int_equal(store_folder_mark(f->s, b, "never committed"), 0);
    reopen(f);
    listed(f, 1, "1- 2 ");
    CAI_AUTO(buf) struct cai_buf going = {0};
    assert_int_equal(store_folders_going(f->s, note, &going), 0);
    assert_string_equal(going.data, "1- ");
    assert_int_equal(store_folder_gone(f->s, a), 0);
    assert_int_equal(store_folder_gone(f->s, b), 0); /* it was not marked: nothing happens */
    listed(f, 1, "1x 2 ");
    /* The same training done again puts it back. */
    assert_int_equal(add(f, 1, 1, "policy", 8, "/a"), a);
    listed(f, 1, "1 2 ");
}

static int count(void *c, const struct store_model *m) {
    cai_buf_printf(c, "%lld:%u:%s ", (long long)m->job, m->round, m->kind);
    return 0;
}

static void states_go_with_their_training(void **state) {
    struct fixture *f = *state;
    add(f, 1, 1, "checkpoint", 5, "/s5");
    int64_t pinned = add(f, 1, 1, "checkpoint", 6, "/s6");
    add(f, 1, 1, "policy", 8, "/a");
    add(f, 1, 2, "checkpoint", 5, "/t5");
    assert_int_equal(store_folder_pin(f->s, pinned, true, ""), 0);
    assert_int_equal(store_models_prune(f->s, 1, 1, "sft", "checkpoint"), 0);
    listed(f, 1, "1- 2p 3 4 ");
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(store_models_each(f->s, 1, count, &b), 0);
    assert_string_equal(b.data, "1:1:checkpoint 1:1:policy 1:2:checkpoint ");
    assert_int_equal(store_folder_gone(f->s, 1), 0);
    listed(f, 1, "2p 3 4 "); /* nothing names it: forgotten */
}

static void who_names_a_path(void **state) {
    struct fixture *f = *state;
    add(f, 1, 1, "policy", 8, "/a");
    add(f, 2, 0, "policy", 0, "/a");
    add(f, 3, 0, "pm", 0, "/b");
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(store_models_of_path(f->s, "/a", count, &b), 0);
    assert_string_equal(b.data, "1:1:policy 2:0:policy ");
}

int main(void) {
#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(a_folder_has_one_number), FOLDER_TEST(pins_keep),
        FOLDER_TEST(a_mark_outlives_a_crash), FOLDER_TEST(states_go_with_their_training),
        FOLDER_TEST(who_names_a_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
