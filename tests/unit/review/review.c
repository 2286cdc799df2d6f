/* review: who may read, what is shown and what is not, what may be said, and what it comes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "review/review.h"
#include "store/review.h"
#include "../temporary.h"

static const struct reviewer ann = {"ann", REVIEWER_REVIEWER, -5};
static const struct reviewer bea = {"bea", REVIEWER_REVIEWER, -6};
static const struct reviewer cyn = {"cyn", REVIEWER_REVIEWER, -7};
static const struct reviewer owner = {"olga", REVIEWER_OWNER, 1000};
static const struct reviewer stranger = {"sam", REVIEWER_OWNER, 1001};
static const struct reviewer nobody = {"nob", REVIEWER_NONE, 1000};
static const struct reviewer root = {"root", REVIEWER_ADMIN, 0};

enum { PLAIN, UNAIDED, SECOND, GOLD, REWRITE, ITEMS };

struct fixture {
    char *path;
    struct store *s;
    int64_t job, item[ITEMS];
};

static void add_item(struct fixture *f, int which) {
    static const char content[] =
        "{\"critiques\":[{\"id\":1,\"reply\":\"A\",\"span\":[0,3],\"text\":\"It is rude.\"}],"
        "\"kept\":{\"answer\":1,\"flipped\":false,\"held_out\":false,\"p\":0.2,\"from\":\"labels\"},"
        "\"messages\":[{\"role\":\"user\",\"text\":\"Which way?\"}],\"principle\":\"Be kind.\","
        "\"question\":\"Which reply is better?\",\"replies\":[{\"mark\":\"A\",\"text\":\"Go left\"},"
        "{\"mark\":\"B\",\"text\":\"Go right\"}]}";
    struct store_review_item i = {.job = f->job, .round = 1, .drawn = "random",
                                  .kind = which == REWRITE ? "critique" : "comparison",
                                  .item = (uint64_t)which + 1, .position = (uint32_t)which,
                                  .gold = which == GOLD, .unaided = which == UNAIDED,
                                  .second = which == SECOND, .content = content};
    assert_int_equal(store_review_item_add(f->s, &i, &f->item[which]), 0);
}

static int setup(void **state) {
    static int number;
    struct fixture *f = cai_alloc(sizeof *f);
    struct store_review_queue q = {.round = 1, .kind = "comparison", .gate = "review-1",
                                   .required = 3};
    f->path = cai_format("%s/%d.db", dir, number++);
    *state = f;
    assert_int_equal(store_open(f->path, &f->s), 0);
    assert_int_equal(store_job_add(f->s, "one", "{}", "r", 1000, "k", &f->job), 0);
    assert_int_equal(store_job_set_state(f->s, f->job, JOB_WAITING_REVIEW, "old", "review-1"), 0);
    q.job = f->job;
    assert_int_equal(store_review_queue_add(f->s, &q), 0);
    for (int i = 0; i < ITEMS; i++)
        add_item(f, i);
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    store_close(f->s);
    free(f->path);
    free(f);
    return 0;
}

static int say(struct fixture *f, const struct reviewer *who, int which, const char *text,
               json_t **ret) {
    json_t *body = json_loads(text, 0, NULL), *out = NULL;
    assert_non_null(body);
    int rc = review_submit(f->s, who, f->item[which], body, &out);
    json_decref(body);
    if (ret)
        *ret = out;
    else
        json_decref(out);
    return rc;
}

static int first(struct fixture *f, const struct reviewer *who, int which, const char *text) {
    json_t *body = json_loads(text, 0, NULL), *out = NULL;
    int rc = review_first(f->s, who, f->item[which], body, &out);
    json_decref(body);
    json_decref(out);
    return rc;
}

static json_t *opened(struct fixture *f, const struct reviewer *who, int which) {
    json_t *out = NULL;
    assert_int_equal(review_open(f->s, who, f->item[which], &out), 0);
    return out;
}

static const char *text(const json_t *o, const char *member) {
    return json_string_value(json_object_get(o, member));
}
static int64_t number(const json_t *o, const char *member) {
    return json_integer_value(json_object_get(o, member));
}

/* "1:open 3:open": what the reader is to read, by place in `item`. */
static void queue_is(struct fixture *f, const struct reviewer *who, const char *expected) {
    CAI_AUTO(buf) struct cai_buf seen = {0};
    json_t *out = NULL, *x;
    size_t i;
    assert_int_equal(review_queue(f->s, who, f->job, &out), 0);
    cai_buf_puts(&seen, "");
    json_array_foreach(json_object_get(out, "items"), i, x)
        for (int k = 0; k < ITEMS; k++)
            if (number(x, "id") == f->item[k])
                cai_buf_printf(&seen, "%s%d:%s", seen.len ? " " : "", k, text(x, "state"));
    assert_string_equal(seen.data ? seen.data : "", expected);
    json_decref(out);
}

/* ---- who ------------------------------------------------------------------------------------ */

static void only_readers_read(void **state) {
    struct fixture *f = *state;
    json_t *out = NULL;
    assert_int_equal(review_queue(f->s, &nobody, 0, &out), CAI_EAUTH);
    assert_int_equal(review_queue(f->s, &stranger, f->job, &out), CAI_EAUTH);
    assert_int_equal(review_open(f->s, &stranger, f->item[PLAIN], &out), CAI_EAUTH);
    assert_int_equal(review_progress(f->s, &stranger, f->job, &out), CAI_EAUTH);
    assert_int_equal(say(f, &stranger, PLAIN, "{\"verdict\":1}", NULL), CAI_EAUTH);
    assert_null(out);
    assert_int_equal(review_queue(f->s, &stranger, 0, &out), 0); /* of all that sam may see */
    assert_int_equal(json_array_size(json_object_get(out, "items")), 0);
    json_decref(out);
    queue_is(f, &owner, "0:open 1:open 2:open 3:open");
    queue_is(f, &root, "0:open 1:open 2:open 3:open");
    queue_is(f, &ann, "0:open 1:open 2:open 3:open");
    out = NULL;
    assert_int_equal(review_export(f->s, &ann, f->job, "audit", 0, &out), CAI_EAUTH);
    assert_int_equal(review_open(f->s, &ann, 999, &out), CAI_ENOTFOUND);
    assert_null(out);
}

/* ---- what is shown ----------------------------------------------------------------------------- */

static void help_comes_after_the_first_verdict(void **state) {
    struct fixture *f = *state;
    json_t *o = opened(f, &ann, UNAIDED);
    assert_true(json_is_true(json_object_get(o, "unaided")));
    assert_int_equal(json_array_size(json_object_get(o, "critiques")), 0);
    json_decref(o);
    assert_int_equal(say(f, &ann, UNAIDED, "{\"verdict\":1}", NULL), CAI_ESTATE);
    assert_int_equal(first(f, &ann, UNAIDED, "{\"verdict\":9}"), CAI_EINPUT);
    assert_int_equal(first(f, &ann, UNAIDED, "{\"verdict\":6,\"severity\":2}"), 0);
    assert_int_equal(first(f, &ann, UNAIDED, "{\"verdict\":1}"), CAI_ESTATE);
    assert_int_equal(first(f, &ann, PLAIN, "{\"verdict\":1}"), CAI_ESTATE);
    o = opened(f, &ann, UNAIDED);
    assert_int_equal(json_array_size(json_object_get(o, "critiques")), 1);
    assert_int_equal(number(json_object_get(o, "first"), "severity"), 2);
    json_decref(o);
    o = opened(f, &bea, UNAIDED); /* each reader for herself */
    assert_int_equal(json_array_size(json_object_get(o, "critiques")), 0);
    assert_true(json_is_null(json_object_get(o, "first")));
    json_decref(o);
}

static void what_is_kept_back_stays_back(void **state) {
    struct fixture *f = *state;
    assert_int_equal(say(f, &bea, GOLD, "{\"verdict\":7,\"note\":\"secret\"}", NULL), 0);
    for (int which = 0; which <= GOLD; which++) {
        json_t *o = opened(f, &ann, which);
        CAI_AUTO(mem) char *all = json_dumps(o, 0);
        for (const char *const *w = (const char *const[]){"kept", "answer", "gold", "secret", "bea",
                                                          "held_out", NULL}; *w; w++)
            assert_null(strstr(all, *w));
        assert_string_equal(text(o, "state"), "open");
        json_decref(o);
    }
}

/* ---- what is said ------------------------------------------------------------------------------ */

static void wrong_verdicts_change_nothing(void **state) {
    static const char *const wrong[] = {
        "{}", "[]", "{\"verdict\":0}", "{\"verdict\":8}", "{\"verdict\":\"5\"}",
        "{\"verdict\":5.5}", "{\"verdict\":5,\"severity\":5}", "{\"verdict\":5,\"more\":1}",
        "{\"verdict\":5,\"critiques\":{}}", "{\"verdict\":5,\"critiques\":[{\"id\":1}]}",
        "{\"verdict\":5,\"critiques\":[{\"id\":1,\"state\":\"edit\"}]}",
        "{\"verdict\":5,\"own\":[1]}", "{\"verdict\":5,\"note\":7}",
        "{\"verdict\":5,\"edit\":\"of a comparison\"}",
    };
    struct fixture *f = *state;
    int64_t rows;
    char head[65];
    for (size_t i = 0; i < CAI_COUNT(wrong); i++)
        assert_int_equal(say(f, &ann, PLAIN, wrong[i], NULL), CAI_EINPUT);
    assert_int_equal(say(f, &ann, PLAIN, "{\"verdict\":5,\"critiques\":[{\"id\":2,\"state\":\"keep\"}]}",
                         NULL), CAI_ENOTFOUND);
    assert_int_equal(store_review_head(f->s, &rows, head), 0);
    assert_int_equal(rows, 0);
    assert_int_equal(say(f, &ann, REWRITE, "{\"verdict\":5}", NULL), CAI_ESTATE); /* no such queue */
}

static void two_agree_or_a_third_decides(void **state) {
    struct fixture *f = *state;
    json_t *o = NULL;
    assert_int_equal(say(f, &ann, SECOND, "{\"verdict\":1}", &o), 0);
    assert_string_equal(text(o, "state"), "second");
    assert_int_equal(number(o, "next"), f->item[PLAIN]);
    json_decref(o);
    queue_is(f, &bea, "2:second 0:open 1:open 3:open");
    assert_int_equal(say(f, &ann, SECOND, "{\"verdict\":1}", NULL), CAI_ESTATE);
    assert_int_equal(say(f, &bea, SECOND, "{\"verdict\":7}", &o), 0);
    assert_string_equal(text(o, "state"), "disputed");
    assert_int_equal(number(o, "done"), 0);
    json_decref(o);
    queue_is(f, &ann, "0:open 1:open 3:open");
    queue_is(f, &cyn, "2:disputed 0:open 1:open 3:open");
    assert_int_equal(say(f, &cyn, SECOND, "{\"verdict\":2}", &o), 0);
    assert_string_equal(text(o, "state"), "final");
    assert_int_equal(number(o, "done"), 1);
    assert_int_equal(number(o, "pending"), 2);
    json_decref(o);
    struct store_job job;
    assert_int_equal(store_job_get(f->s, f->job, &job), 0);
    assert_non_null(strstr(job.reason, "1 of 3 comparisons are final"));
    store_job_free(&job);
}

static void what_is_taken_back_comes_again(void **state) {
    struct fixture *f = *state;
    json_t *o = NULL;
    assert_int_equal(review_undo(f->s, &ann, NULL, NULL, &o), CAI_ESTATE);
    assert_int_equal(review_skip(f->s, &ann, f->item[UNAIDED], " ", &o), CAI_EINPUT);
    assert_int_equal(review_skip(f->s, &ann, f->item[UNAIDED], "I know him", &o), 0);
    json_decref(o);
    assert_int_equal(review_skip(f->s, &ann, f->item[UNAIDED], "I know him", &o), CAI_ESTATE);
    queue_is(f, &ann, "0:open 2:open 3:open");
    queue_is(f, &bea, "0:open 1:open 2:open 3:open");
    assert_int_equal(say(f, &ann, PLAIN, "{\"verdict\":6,\"note\":\"so\"}", NULL), 0);
    assert_int_equal(review_undo(f->s, &ann, NULL, NULL, &o), 0);
    assert_string_equal(text(o, "undone"), "final");
    json_decref(o);
    o = opened(f, &ann, PLAIN);
    assert_string_equal(text(o, "state"), "draft");
    assert_string_equal(text(json_object_get(o, "draft"), "note"), "so");
    assert_null(json_object_get(json_object_get(o, "draft"), "opened_ms"));
    json_decref(o);
    assert_int_equal(review_undo(f->s, &ann, NULL, NULL, &o), 0);
    assert_string_equal(text(o, "undone"), "skip");
    json_decref(o);
    queue_is(f, &ann, "0:draft 1:open 2:open 3:open");
    assert_int_equal(store_review_queue_close(f->s, f->job, 1, "comparison"), 0);
    assert_int_equal(say(f, &ann, PLAIN, "{\"verdict\":6}", NULL), CAI_ESTATE);
}

static int note_of(const void *context, const json_t *answer) {
    assert_string_equal(text(answer, "undone"), "final");
    return context ? cai_fail(CAI_ENOSPC, "%s", (const char *)context) : 0;
}

static void what_is_taken_back_is_noted_with_it_or_stands(void **state) {
    struct fixture *f = *state;
    json_t *o = NULL;
    assert_int_equal(say(f, &ann, PLAIN, "{\"verdict\":6}", NULL), 0);
    assert_int_equal(review_undo(f->s, &ann, note_of, "full", &o), CAI_ENOSPC);
    assert_null(o);
    assert_int_equal(say(f, &ann, PLAIN, "{\"verdict\":6}", NULL), CAI_ESTATE);
    assert_int_equal(review_undo(f->s, &ann, note_of, NULL, &o), 0);
    json_decref(o);
    assert_int_equal(review_undo(f->s, &ann, NULL, NULL, &o), CAI_ESTATE);
}

static void an_older_window_saves_nothing(void **state) {
    struct fixture *f = *state;
    json_t *draft = json_pack("{s:i}", "verdict", 3), *o = opened(f, &ann, PLAIN);
    assert_int_equal(number(o, "version"), 0);
    json_decref(o);
    assert_int_equal(review_draft(f->s, &ann, f->item[PLAIN], 0, draft, &o), 0);
    assert_int_equal(number(o, "version"), 1);
    json_decref(o);
    assert_int_equal(review_draft(f->s, &ann, f->item[PLAIN], 0, draft, &o), CAI_ESTATE);
    o = opened(f, &ann, PLAIN);
    assert_int_equal(number(json_object_get(o, "draft"), "verdict"), 3);
    json_decref(o);
    json_decref(draft);
}

/* ---- what it comes to --------------------------------------------------------------------------- */

static void progress_and_exports(void **state) {
    struct fixture *f = *state;
    json_t *o = NULL;
    assert_int_equal(say(f, &ann, PLAIN, "{\"verdict\":2,\"severity\":1,\"critiques\":[{\"id\":1,"
                                         "\"state\":\"reject\"}]}", NULL), 0);
    assert_int_equal(say(f, &ann, GOLD, "{\"verdict\":1}", NULL), 0);
    assert_int_equal(say(f, &bea, GOLD, "{\"verdict\":7}", NULL), 0);
    assert_int_equal(say(f, &ann, SECOND, "{\"verdict\":3}", NULL), 0);
    assert_int_equal(say(f, &bea, SECOND, "{\"verdict\":2}", NULL), 0);
    assert_int_equal(first(f, &bea, UNAIDED, "{\"verdict\":6}"), 0);
    assert_int_equal(say(f, &bea, UNAIDED, "{\"verdict\":1,\"severity\":3}", NULL), 0);
    assert_int_equal(review_progress(f->s, &owner, f->job, &o), 0);
    const json_t *q = json_array_get(json_object_get(o, "queues"), 0);
    assert_int_equal(number(q, "done"), 3);
    const json_t *help = json_object_get(o, "help");
    assert_int_equal(number(json_object_get(help, "aided"), "flawed"), 1);
    assert_int_equal(number(json_object_get(help, "aided"), "n"), 3);
    assert_int_equal(number(json_object_get(help, "unaided"), "n"), 1);
    assert_true(json_number_value(json_object_get(help, "changed")) == 1);
    assert_int_equal(number(json_object_get(o, "critiques"), "rejected"), 1);
    const json_t *turned = json_object_get(o, "overturned"); /* the overseer had p(A) = 0.2 */
    assert_int_equal(number(turned, "labels"), 3);
    assert_int_equal(number(turned, "turned"), 3);
    const json_t *a = json_array_get(json_object_get(o, "readers"), 0);
    assert_int_equal(number(json_object_get(a, "gold"), "right"), 1);
    assert_int_equal(number(json_object_get(o, "gold"), "n"), 2);
    assert_int_equal(number(json_array_get(json_object_get(o, "agreement"), 0), "items"), 1);
    json_decref(o);
    assert_int_equal(review_progress(f->s, &ann, f->job, &o), 0);
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(o, "readers"), 0), "gold")));
    json_decref(o);
    assert_int_equal(review_export(f->s, &owner, f->job, "pairs", 0, &o), 0);
    const json_t *rows = json_object_get(o, "rows"), *row = json_array_get(rows, 0);
    assert_int_equal(json_array_size(rows), 3);
    const json_t *chosen = json_array_get(json_object_get(row, "chosen"), 0);
    assert_string_equal(text(chosen, "content"), "Go left");
    assert_true(json_is_null(json_object_get(o, "next")));
    json_decref(o);
    assert_int_equal(review_export(f->s, &owner, f->job, "all", 0, &o), CAI_EINPUT);
    assert_int_equal(review_export(f->s, &owner, f->job, "audit", 3, &o), 0);
    assert_int_equal(json_array_size(json_object_get(o, "rows")), ITEMS - 3 + 7);
    json_decref(o);
    assert_int_equal(review_audit(f->s, &ann, "", &o), 0);
    assert_true(json_is_true(json_object_get(o, "whole")));
    assert_int_equal(number(o, "rows"), 7);
    json_decref(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_readers_read, setup, teardown),
        cmocka_unit_test_setup_teardown(help_comes_after_the_first_verdict, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_kept_back_stays_back, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_verdicts_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(two_agree_or_a_third_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_back_comes_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_back_is_noted_with_it_or_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_window_saves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(progress_and_exports, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
