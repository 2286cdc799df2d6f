/* schema: a database of every former schema is copied, upgraded, and has what it had; the
 * tables are then those of a new one; a newer one is refused and left as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "store/sql.h"
#include <string.h>
#include <unistd.h>

struct fixture {
    char dir[32];
    char *path;
};

static int setup(void **state) {
    struct fixture *f = cai_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/cai-schema-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->path = cai_path_join(f->dir, "caid.db");
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    int rc = cai_dir_remove(f->dir);
    free(f->path);
    free(f);
    return rc;
}

/* The database that tests/unit/store/schemas keeps of schema 1. */
static void make_first(const char *path) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    sqlite3 *db = NULL;
    assert_int_equal(cai_file_read(SCHEMAS "/1.sql", 1 << 20, &text), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text.data, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int schema_of(const char *path) {
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int version = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return version;
}

/* As far as schema `version` goes, through the steps that a caid of that time knew. */
static void make_former(const char *path, int version) {
    make_first(path);
    struct store s = {0};
    assert_int_equal(sqlite3_open(path, &s.db), SQLITE_OK);
    assert_int_equal(schema_open_to(&s, path, version), 0);
    for (size_t i = 0; i < s.n_cached; i++)
        sqlite3_finalize(s.cache[i].stmt);
    free(s.copy);
    assert_int_equal(sqlite3_close(s.db), SQLITE_OK);
    assert_int_equal(schema_of(path), version);
}

static int count_model(void *c, const struct store_model *m) {
    (void)m;
    ++*(int *)c;
    return 0;
}

static void has_what_it_had(struct store *s) {
    struct store_job j;
    assert_int_equal(store_job_get(s, 1, &j), 0);
    assert_string_equal(j.name, "first");
    assert_int_equal(j.state, JOB_COMPLETED);
    assert_string_equal(j.accepted, "overseer");
    store_job_free(&j);
    CAI_AUTO(mem) char *text = NULL;
    assert_int_equal(store_example_get(s, 1, 1, "revise", 0, "reply", 0, &text, NULL), 0);
    assert_string_equal(text, "good day");
    int models = 0;
    assert_int_equal(store_models_each(s, 1, count_model, &models), 0);
    assert_int_equal(models, 4);
    assert_int_equal(store_epoch_next(s), 8);
    struct store_folder f;
    assert_int_equal(
        store_folder_find(s, "/srv/caid/jobs/1/models/round-1-sft-policy", &f), 0);
    assert_int_equal(f.job, 1);
    assert_int_equal(f.state, FOLDER_THERE);
    assert_false(f.pinned);
    store_folder_free(&f);
}

/* Every table and index as it is written in the file. */
static void tables_of(struct store *s, struct cai_buf *ret) {
    sqlite3_stmt *q = sql_start(s, "SELECT type, name, sql FROM sqlite_schema"
                                   " WHERE sql IS NOT NULL ORDER BY type, name", "");
    while (sql_step(s, q) > 0)
        cai_buf_printf(ret, "%s %s %s\n", sql_text(q, 0), sql_text(q, 1), sql_text(q, 2));
    sql_end(s, q);
}

static void every_former_schema_is_upgraded(void **state) {
    struct fixture *f = *state;
    CAI_AUTO(mem) char *fresh_path = cai_path_join(f->dir, "fresh.db");
    CAI_AUTO(buf) struct cai_buf fresh = {0};
    struct store *s = NULL;
    const char *copy = NULL;
    assert_int_equal(store_open(fresh_path, &s), 0);
    assert_int_equal(store_upgraded(s, &copy), 0);
    assert_null(copy);
    tables_of(s, &fresh);
    store_close(s);
    for (int version = 1; version < schema_newest(); version++) {
        make_former(f->path, version);
        assert_int_equal(store_open(f->path, &s), 0);
        CAI_AUTO(buf) struct cai_buf upgraded = {0};
        tables_of(s, &upgraded);
        assert_string_equal(upgraded.data, fresh.data);
        has_what_it_had(s);
        assert_int_equal(store_upgraded(s, &copy), version);
        assert_int_equal(schema_of(copy), version);
        CAI_AUTO(mem) char *beside = cai_format("%s.schema-%d", f->path, version);
        assert_string_equal(copy, beside);
        store_close(s);
        assert_int_equal(schema_of(f->path), schema_newest());
        assert_int_equal(store_open(f->path, &s), 0);
        assert_int_equal(store_upgraded(s, &copy), 0);
        store_close(s);
        assert_int_equal(cai_dir_remove(f->dir), 0);
        assert_int_equal(cai_dir_make(f->dir), 0);
    }
}

static void without_a_copy_nothing_is_upgraded(void **state) {
    struct fixture *f = *state;
    make_first(f->path);
    /* A folder that is in the copy's way. */
    CAI_AUTO(mem) char *way = cai_format("%s.schema-1.tmp/x", f->path);
    assert_int_equal(cai_dir_make(way), 0);
    struct store *s = NULL;
    assert_true(store_open(f->path, &s) < 0);
    assert_non_null(strstr(cai_error_text(), "must be copied before it is upgraded"));
    assert_int_equal(schema_of(f->path), 1);
}

static void newer_is_refused_and_left_as_it_is(void **state) {
    struct fixture *f = *state;
    make_first(f->path);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    struct store *s = NULL;
    assert_int_equal(store_open(f->path, &s), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "schema 99, this program knows"));
    assert_non_null(strstr(cai_error_text(), "install that caid again"));
    assert_int_equal(schema_of(f->path), 99);
    CAI_AUTO(mem) char *copy = cai_format("%s.schema-99", f->path);
    assert_false(cai_file_exists(copy));
}

int main(void) {
#define SCHEMA_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCHEMA_TEST(every_former_schema_is_upgraded),
        SCHEMA_TEST(without_a_copy_nothing_is_upgraded),
        SCHEMA_TEST(newer_is_refused_and_left_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
