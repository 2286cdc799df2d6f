/* answer: a table of requests and what they get; each check alone keeps somebody out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "host.h"
#include <unistd.h>

#define HOST "127.0.0.1:8420"
#define ORIGIN "http://127.0.0.1:8420"
static struct site site;

static int set_up(void **state) {
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/sessions.json", dir);
    unlink(path);
    site_open(&site, path);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    site_close(&site);
    return 0;
}

/* As the page itself asks. */
static struct web_request page_asks(const char *method, const char *path) {
    bool post = strcmp(method, "POST") == 0;
    return (struct web_request){.method = method, .path = path, .host = HOST, .site = "same-origin",
                                .origin = post ? ORIGIN : NULL, .type = post ? "application/json" : NULL,
                                .cookie = site.header, .secret = site.secret, .body = post ? "{}" : NULL,
                                .len = post ? 2 : 0};
}

static int status_of(const struct web_request *q) {
    struct web_reply r = {0};
    site.told.what[0] = '\0';
    answer(&site.web, q, &r);
    assert_non_null(r.type);
    reply_free(&r);
    return r.status;
}

static void the_page_is_let_in(void **state) {
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
    } cases[] = {{"GET", "/", 200},          {"GET", "/review", 200},    {"GET", "/style.css", 200},
                 {"GET", "/chart.js", 200},  {"GET", "/api/jobs", 200},  {"POST", "/api/undo", 200},
                 {"GET", "/nothing", 404},   {"GET", "/review.html", 404}, {"GET", "/../etc/passwd", 404},
                 {"GET", "/api/none", 404},  {"GET", "/api/undo", 405},  {"POST", "/api/jobs", 405},
                 {"POST", "/", 405},         {"PUT", "/", 405},          {"DELETE", "/api/undo", 405},
                 {"HEAD", "/", 405},         {"OPTIONS", "/api/undo", 405}, {"POST", "/api/submit", 400}};
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct web_request q = page_asks(cases[i].method, cases[i].path);
        assert_int_equal(status_of(&q), cases[i].status);
    }
}

/* One thing wrong each; the host is never asked. */
static void each_check_keeps_out(void **state) {
    (void)state;
    char foreign[96], no_session[96];
    snprintf(foreign, sizeof foreign, "cai_1=%043d", 7);
    snprintf(no_session, sizeof no_session, "cai_2=%s", site.cookie);
#define WRONG(change, wanted)                                                                      \
    do {                                                                                           \
        struct web_request q = page_asks("POST", "/api/undo");                                     \
        change;                                                                                    \
        assert_int_equal(status_of(&q), wanted);                                                   \
        assert_string_equal(site.told.what, "");                                                   \
    } while (0)
    WRONG(q.host = NULL, 421);
    WRONG(q.host = "evil.example", 421);
    WRONG(q.cookie = NULL, 401);
    WRONG(q.cookie = foreign, 401);
    WRONG(q.cookie = no_session, 401);
    WRONG(q.origin = NULL, 403);
    WRONG(q.origin = "http://evil.example", 403);
    WRONG(q.origin = "null", 403);
    WRONG(q.site = "cross-site", 403);
    WRONG(q.secret = NULL, 403);
    WRONG(q.secret = "", 403);
    WRONG(q.secret = site.cookie, 403);
    WRONG(q.type = NULL, 415);
    WRONG(q.type = "text/plain", 415);
    WRONG(q.type = "application/x-www-form-urlencoded", 415);
    WRONG(q.type = "multipart/form-data; boundary=x", 415);
    WRONG(q.type = "application/jsonp", 415);
    WRONG(q.len = BODY_MAX + 1, 413);
    WRONG(q.body = "{", 400);
    struct web_request q = page_asks("POST", "/api/undo");
    q.type = "Application/JSON; charset=utf-8";
    assert_int_equal(status_of(&q), 200);
    q = page_asks("GET", "/api/jobs");
    q.secret = NULL;
    assert_int_equal(status_of(&q), 403);
}

static void a_link_gives_a_session(void **state) {
    (void)state;
    static const struct web_person bob = {"bob", 7, 7, ""};
    char token[SECRET_SIZE];
    visits_invite(&site.web.visits, &bob, cai_wall_ms() / 1000, token);
    struct web_request q = {.method = "GET", .path = "/in", .host = HOST, .site = "cross-site",
                            .query = json_pack("{s:s}", "t", token)};
    struct web_reply r = {0};
    answer(&site.web, &q, &r);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.cookie, "; Path=/; HttpOnly; SameSite=Strict"));
    assert_null(strstr(r.cookie, "Secure"));
    char *value = strchr(r.cookie, '=') + 1, secret[SECRET_SIZE] = "", cookie[96];
    const char *at = strstr(r.body.data, "name=\"session\" content=\"");
    assert_non_null(at);
    memcpy(secret, at + strlen("name=\"session\" content=\""), SECRET_SIZE - 1);
    snprintf(cookie, sizeof cookie, "cai_1=%.*s", (int)strcspn(value, ";"), value);
    reply_free(&r);
    assert_int_equal(status_of(&q), 401); /* once */
    json_decref(q.query);
    q = page_asks("POST", "/api/undo");
    q.cookie = cookie;
    assert_int_equal(status_of(&q), 403); /* ann's secret */
    q.secret = secret;
    assert_int_equal(status_of(&q), 200);
    assert_string_equal(site.told.who, "bob");
    q = (struct web_request){.method = "GET", .path = "/in", .host = HOST};
    assert_int_equal(status_of(&q), 401);
}

static void behind_a_proxy_the_cookie_is_secure(void **state) {
    (void)state;
    static const struct web_person bob = {"bob", 7, 7, ""};
    char token[SECRET_SIZE];
    site.web.o.host = "caid.example.org";
    visits_invite(&site.web.visits, &bob, cai_wall_ms() / 1000, token);
    struct web_request q = {.method = "GET", .path = "/in", .host = "caid.example.org",
                            .query = json_pack("{s:s}", "t", token)};
    struct web_reply r = {0};
    answer(&site.web, &q, &r);
    assert_non_null(strstr(r.cookie, "; Secure"));
    json_decref(q.query);
    reply_free(&r);
}

static void looking_again_is_no_use(void **state) {
    (void)state;
    struct visit *one = &site.web.visits.at[0];
    int64_t before = one->used_s -= 100;
    struct web_request q = page_asks("GET", "/api/jobs");
    assert_int_equal(status_of(&q), 200);
    assert_int_equal(one->used_s, before);
    q = page_asks("GET", "/");
    assert_int_equal(status_of(&q), 200);
    assert_true(one->used_s > before);
}

static void who_leaves_is_out(void **state) {
    (void)state;
    struct web_request q = page_asks("POST", "/api/leave");
    struct web_reply r = {0};
    answer(&site.web, &q, &r);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.cookie, "Max-Age=0"));
    reply_free(&r);
    q = page_asks("GET", "/");
    assert_int_equal(status_of(&q), 401);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(the_page_is_let_in), TEST(each_check_keeps_out),
                                       TEST(a_link_gives_a_session), TEST(behind_a_proxy_the_cookie_is_secure),
                                       TEST(looking_again_is_no_use), TEST(who_leaves_is_out)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
