/* api: arguments are strict, and what the host says reaches the page as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "host.h"

static struct site site;

static int set_up(void **state) {
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/sessions.json", dir);
    site_open(&site, path);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    site_close(&site);
    return 0;
}

static int args_of(const char *path, const char *method, const char *text, char **ret) {
    bool other;
    const struct api *a = api_find(path, method, &other);
    assert_non_null(a);
    bool get = strcmp(method, "GET") == 0;
    struct web_request q = {.method = method, .path = path, .body = get ? NULL : text,
                            .len = get ? 0 : strlen(text), .query = get ? json_loads(text, 0, NULL) : NULL};
    json_t *args = NULL;
    int rc = api_args(a, &q, &args);
    *ret = rc == 0 ? json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(args);
    json_decref(q.query);
    return rc;
}

static void arguments(void **state) {
    (void)state;
    static const struct {
        const char *path, *method, *text, *args; /* args NULL: refused */
    } cases[] = {
        {"/api/jobs", "GET", "{}", "{}"},
        {"/api/jobs", "GET", "{\"x\":\"1\"}", NULL},
        {"/api/item", "GET", "{\"id\":\"17\"}", "{\"id\":17}"},
        {"/api/item", "GET", "{}", NULL},
        {"/api/item", "GET", "{\"id\":\"-1\"}", NULL},
        {"/api/item", "GET", "{\"id\":\"1x\"}", NULL},
        {"/api/item", "GET", "{\"id\":\"\"}", NULL},
        {"/api/item", "GET", "{\"id\":\"99999999999999999999\"}", NULL},
        {"/api/samples", "GET", "{\"id\":\"1\",\"stage\":\"sft\"}", "{\"id\":1,\"stage\":\"sft\"}"},
        {"/api/submit", "POST", "{\"id\":1,\"verdict\":{\"verdict\":7}}", "{\"id\":1,\"verdict\":{\"verdict\":7}}"},
        {"/api/submit", "POST", "{\"id\":1,\"verdict\":7}", NULL},
        {"/api/submit", "POST", "{\"id\":\"1\",\"verdict\":{}}", NULL},
        {"/api/submit", "POST", "{\"id\":-1,\"verdict\":{}}", NULL},
        {"/api/submit", "POST", "{\"id\":1.5,\"verdict\":{}}", NULL},
        {"/api/submit", "POST", "{\"id\":1,\"id\":2,\"verdict\":{}}", NULL},
        {"/api/submit", "POST", "{\"id\":1,\"verdict\":{},\"more\":1}", NULL},
        {"/api/submit", "POST", "[1]", NULL},
        {"/api/submit", "POST", "", NULL},
        {"/api/submit", "POST", "id=1&verdict=2", NULL},
        {"/api/submit", "POST", "{\"id\":1,\"verdict\":{}} x", NULL},
        {"/api/draft", "POST", "{\"id\":1,\"version\":0,\"draft\":{\"note\":\"\\u0000\"}}", NULL},
        {"/api/skip", "POST", "{\"id\":1,\"reason\":\"caf\\u00e9\"}", "{\"id\":1,\"reason\":\"café\"}"},
        {"/api/undo", "POST", "{}", "{}"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        char *got = NULL;
        int rc = args_of(cases[i].path, cases[i].method, cases[i].text, &got);
        if ((rc == 0) != (cases[i].args != NULL) || (got && strcmp(got, cases[i].args) != 0))
            fail_msg("%s %s: %d %s", cases[i].path, cases[i].text, rc, got ? got : cai_error_text());
        assert_true(rc == 0 || rc == CAI_EINPUT);
        free(got);
    }
}

static void nesting_ends(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    char *got = NULL;
    for (int i = 0; i < 100000; i++)
        cai_buf_puts(&b, "{\"a\":");
    assert_int_equal(args_of("/api/undo", "POST", b.data, &got), CAI_EINPUT);
}

static void answers(void **state) {
    (void)state;
    static const struct {
        int code, status;
    } cases[] = {{0, 200}, {CAI_EINPUT, 400}, {CAI_EAUTH, 403}, {CAI_ENOTFOUND, 404}, {CAI_ESTATE, 409},
                 {CAI_ELIMIT, 400}, {CAI_ENOSPC, 507}, {CAI_EIO, 500}};
    bool other;
    const struct api *a = api_find("/api/undo", "POST", &other);
    const struct web_person ann = {"ann", 1, 1, ""};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct web_request q = {.method = "POST", .path = "/api/undo", .body = "{}", .len = 2};
        struct web_reply r = {0};
        site.told.code = cases[i].code;
        api_answer(&site.web, a, &ann, &q, &r);
        assert_int_equal(r.status, cases[i].status);
        assert_string_equal(r.type, "application/json");
        assert_string_equal(r.body.data, cases[i].code ? "{\"error\":\"the host says <no>\"}" : "{}");
        assert_string_equal(site.told.what, "review.undo");
        assert_string_equal(site.told.who, "ann");
        reply_free(&r);
    }
}

static void other_methods_are_told_apart(void **state) {
    (void)state;
    bool other;
    assert_null(api_find("/api/submit", "GET", &other));
    assert_true(other);
    assert_null(api_find("/api/nothing", "GET", &other));
    assert_false(other);
    assert_null(api_find("/api/jobs/", "GET", &other));
    assert_null(api_find("/api/", "GET", &other));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments), cmocka_unit_test(nesting_ends),
        cmocka_unit_test_setup_teardown(answers, set_up, tear_down),
        cmocka_unit_test(other_methods_are_told_apart)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
