/* review: items that stay as they were shown, and a log whose every change is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/review.h"
#include "../temporary.h"
#include <sqlite3.h>

struct fixture {
    char *path;
    struct store *s;
    int64_t item[3];
};

static int64_t add_item(struct store *s, int64_t job, uint32_t position, const char *content) {
    struct store_review_item i = {.job = job, .round = 1, .kind = "comparison",
                                  .item = 1000000001 + position, .position = position,
                                  .drawn = "random", .second = position == 1, .content = content};
    int64_t id = 0;
    assert_int_equal(store_review_item_add(s, &i, &id), 0);
    return id;
}

static int setup(void **state) {
    static int number;
    struct fixture *f = cai_alloc(sizeof *f);
    f->path = cai_format("%s/%d.db", dir, number++);
    *state = f;
    if (store_open(f->path, &f->s) < 0)
        return -1;
    for (uint32_t i = 0; i < 3; i++)
        f->item[i] = add_item(f->s, 7, i, "{\"x\":1}");
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    store_close(f->s);
    free(f->path);
    free(f);
    return 0;
}

static int64_t append(struct fixture *f, int which, const char *reader, const char *event,
                      int64_t undoes) {
    struct store_review_event e = {.job = 7, .item = f->item[which], .reader = reader,
                                   .role = "reviewer", .event = event,
                                   .body = "{\"verdict\":5}", .undoes = undoes};
    assert_int_equal(store_review_append(f->s, &e), 0);
    return e.seq;
}

static int note(void *c, const struct store_review_event *e) {
    cai_buf_printf(c, "%lld:%s:%s ", (long long)e->seq, e->reader, e->event);
    return 0;
}

static char *standing(struct fixture *f, int64_t item, const char *reader) {
    struct cai_buf text = {0};
    cai_buf_printf(&text, "%s", "");
    assert_int_equal(store_review_log_each(f->s, 7, item, reader, true, 0, note, &text), 0);
    return text.data;
}

static void what_is_undone_does_not_stand(void **state) {
    struct fixture *f = *state;
    int64_t first = append(f, 0, "ann", "final", 0);
    append(f, 0, "bea", "final", 0);
    append(f, 1, "ann", "skip", 0);
    append(f, 0, "ann", "undo", first);
    append(f, 0, "ann", "final", 0);
    CAI_AUTO(mem) char *all = standing(f, 0, NULL);
    CAI_AUTO(mem) char *anns = standing(f, f->item[0], "ann");
    assert_string_equal(all, "2:bea:final 3:ann:skip 5:ann:final ");
    assert_string_equal(anns, "5:ann:final ");
}

static void drafts_know_their_version(void **state) {
    struct fixture *f = *state;
    struct store_review_draft d;
    int64_t version = -1;
    bool elsewhere = true;
    assert_int_equal(store_review_draft_get(f->s, f->item[0], "ann", &d), 0);
    assert_int_equal(d.version, 0);
    assert_string_equal(d.body, "");
    assert_true(d.opened_ms == 0);
    free(d.body);
    assert_int_equal(store_review_draft_set(f->s, f->item[0], "ann", 0, "{\"note\":1}", &version), 0);
    assert_int_equal(version, 1);
    assert_int_equal(store_review_draft_set(f->s, f->item[0], "ann", 0, "{}", &version), CAI_ESTATE);
    assert_int_equal(store_review_draft_get(f->s, f->item[0], "ann", &d), 0);
    assert_string_equal(d.body, "{\"note\":1}");
    assert_true(d.opened_ms > 0);
    free(d.body);
    assert_int_equal(store_review_open_elsewhere(f->s, f->item[0], "ann", 0, &elsewhere), 0);
    assert_false(elsewhere);
    assert_int_equal(store_review_open_elsewhere(f->s, f->item[0], "bea", 0, &elsewhere), 0);
    assert_true(elsewhere);
}

static void the_same_is_not_drawn_twice(void **state) {
    struct fixture *f = *state;
    struct store_review_item i = {.job = 7, .round = 1, .kind = "comparison", .item = 1000000001,
                                  .position = 9, .drawn = "random", .content = "{}"};
    assert_int_equal(store_review_item_add(f->s, &i, NULL), CAI_ESTATE);
    struct store_review_queue q = {.job = 7, .round = 1, .kind = "comparison", .gate = "review-1",
                                   .required = 2};
    assert_int_equal(store_review_queue_add(f->s, &q), 0);
    assert_int_equal(store_review_queue_add(f->s, &q), CAI_ESTATE);
}

/* ---- the chain --------------------------------------------------------------------- */

static void verify(struct fixture *f, int64_t broken, const char *words) {
    int64_t seen = -1;
    char why[200];
    assert_int_equal(store_review_verify(f->s, NULL, &seen, why, sizeof why, NULL), 0);
    assert_int_equal(seen, broken);
    assert_non_null(strstr(why, words));
}

static void the_chain_holds(void **state) {
    struct fixture *f = *state;
    char head[65], why[200];
    int64_t rows, broken;
    bool known = false;
    verify(f, 0, "");
    append(f, 0, "ann", "final", 0);
    assert_int_equal(store_review_head(f->s, &rows, head), 0);
    append(f, 1, "bea", "final", 0);
    append(f, 1, "ann", "skip", 0);
    verify(f, 0, "");
    assert_int_equal(store_review_verify(f->s, head, &broken, why, sizeof why, &known), 0);
    assert_true(known && broken == 0 && rows == 1);
    head[0] = head[0] == 'a' ? 'b' : 'a';
    assert_int_equal(store_review_verify(f->s, head, &broken, why, sizeof why, &known), 0);
    assert_false(known);
}

/* The store has its file alone. */
static int script(struct fixture *f, const char *text) {
    sqlite3 *db = NULL;
    store_close(f->s);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(store_open(f->path, &f->s), 0);
    return rc;
}

/* The database itself refuses it; whoever takes the refusal away is found by the hashes. */
static void what_is_changed_is_found(void **state) {
    static const struct {
        const char *text, *words;
        int64_t row;
    } changes[] = {
        {"UPDATE review_log SET body = '{\"verdict\":1}' WHERE seq = 3", "was changed", 3},
        {"UPDATE review_log SET reader = 'eve' WHERE seq = 2", "was changed", 2},
        {"UPDATE review_log SET wall_ms = wall_ms + 1 WHERE seq = 1", "was changed", 1},
        {"DELETE FROM review_log WHERE seq = 2", "missing", 2},
        {"UPDATE review_items SET content = '{\"x\":2}' WHERE position = 1", "was changed", 2},
        {"DELETE FROM review_items WHERE position = 0", "gone", 1},
        {"UPDATE review_log SET hash = prev WHERE seq = 3", "was changed", 3},
    };
    for (size_t i = 0; i < CAI_COUNT(changes); i++) {
        struct fixture *f = *state;
        append(f, 0, "ann", "final", 0);
        append(f, 1, "bea", "final", 0);
        append(f, 2, "ann", "final", 0);
        append(f, 2, "bea", "final", 0);
        assert_int_equal(script(f, changes[i].text), SQLITE_CONSTRAINT);
        verify(f, 0, "");
        assert_int_equal(script(f, "DROP TRIGGER review_log_stays; DROP TRIGGER review_log_whole;"
                                   "DROP TRIGGER review_items_stay;"
                                   "DROP TRIGGER review_items_whole"),
                         SQLITE_OK);
        assert_int_equal(script(f, changes[i].text), SQLITE_OK);
        verify(f, changes[i].row, changes[i].words);
        teardown(state);
        assert_int_equal(setup(state), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_undone_does_not_stand, setup, teardown),
        cmocka_unit_test_setup_teardown(drafts_know_their_version, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_is_not_drawn_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(the_chain_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_changed_is_found, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
