/* page: what is readable without a script holds every job, and no name becomes markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host.h"

static const struct web_person who = {"<b>ann</b>", 1, 1, ""};

static void escapes(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf out = {0};
    page_escape(&out, "<a href=\"x\" id='y'>&</a>");
    assert_string_equal(out.data, "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;&lt;/a&gt;");
}

static void a_table_of_jobs(void **state) {
    (void)state;
    struct site s = {.web = {.o = {.host = ""}}};
    s.web.host = (struct web_host){&s.told, tell};
    s.told.answer = json_pack(
        "{s:[{s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:s, s:f}]}", "rows", "id", 3, "name",
        "<script>alert(1)</script>", "state", "RUNNING", "reason", "\"><img src=x>", "title", "Label",
        "round", 2, "rounds", 3, "done", 5.0, "total", 20.0, "unit", "tasks", "eta_s", 65.0);
    struct web_reply r = {0};
    page_dashboard(&s.web, &who, &r);
    assert_int_equal(cai_buf_status(&r.body), 0);
    assert_non_null(strstr(r.body.data, "&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert_non_null(strstr(r.body.data, "round 2 of 3 · Label · &quot;&gt;&lt;img src=x&gt;"));
    assert_non_null(strstr(r.body.data, "5 of 20 tasks, 1m 05s left"));
    assert_non_null(strstr(r.body.data, "&lt;b&gt;ann&lt;/b&gt;"));
    assert_null(strstr(r.body.data, "<img src=x"));
    assert_null(strstr(r.body.data, "<script>"));
    assert_null(strstr(r.body.data, "@NAME@"));
    assert_null(strstr(r.body.data, "@JOBS@"));
    assert_null(strstr(r.body.data, "@WORKERS@"));
    reply_free(&r);
    json_decref(s.told.answer);
    json_decref(s.told.args);
}

static void a_host_in_trouble(void **state) {
    (void)state;
    struct site s = {.told = {.code = CAI_EIO}};
    s.web.host = (struct web_host){&s.told, tell};
    struct web_reply r = {0};
    page_dashboard(&s.web, &who, &r);
    assert_non_null(strstr(r.body.data, "the host says &lt;no&gt;"));
    reply_free(&r);
    json_decref(s.told.args);
}

/* Nothing inline: the pages' own policy would refuse it. */
static void frames_hold_no_inline_code(void **state) {
    (void)state;
    static const char *const never[] = {"<script>", " onclick", " onload", " onerror", "style=", "<style", "javascript:", "http://", "https://"};
    size_t frames = 0;
    for (const struct asset *a = web_assets; a->path; a++) {
        if (*a->type)
            continue;
        frames++;
        for (size_t i = 0; i < CAI_COUNT(never); i++)
            if (memmem(a->data, a->len, never[i], strlen(never[i])) &&
                !(strcmp(a->path, "/refused.html") == 0 && strcmp(never[i], "<style") == 0))
                fail_msg("%s: %s", a->path, never[i]);
    }
    assert_int_equal(frames, 4);
}

/* Our scripts reach the page by text nodes and elements alone. */
static void scripts_make_no_markup(void **state) {
    (void)state;
    static const char *const never[] = {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                                        "new Function", "DOMParser", "srcdoc", "createContextualFragment"};
    for (const struct asset *a = web_assets; a->path; a++)
        for (size_t i = 0; strcmp(a->path, "/chart.js") != 0 && i < CAI_COUNT(never); i++)
            if (memmem(a->data, a->len, never[i], strlen(never[i])))
                fail_msg("%s: %s", a->path, never[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes), cmocka_unit_test(a_table_of_jobs), cmocka_unit_test(a_host_in_trouble),
        cmocka_unit_test(frames_hold_no_inline_code), cmocka_unit_test(scripts_make_no_markup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
