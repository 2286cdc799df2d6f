/* entry: host names, origins, cookies, and the configuration's words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "web/inside.h"
#include <string.h>

static void hosts(void **state) {
    (void)state;
    static const struct {
        const char *ours, *host;
        bool in;
    } cases[] = {
        {"", "127.0.0.1", true},          {"", "127.0.0.1:8420", true},
        {"", "localhost:1", true},        {"", "LOCALHOST:65535", true},
        {"", "[::1]:80", true},           {"", "[::1]", true},
        {"", NULL, false},                {"", "", false},
        {"", "evil.example", false},      {"", "evil.example:8420", false},
        {"", "127.0.0.1.evil.example", false}, {"", "localhost.evil.example", false},
        {"", "127.0.0.1:", false},        {"", "127.0.0.1:80x", false},
        {"", "127.0.0.1:8420:1", false},  {"", "127.0.0.1:800000", false},
        {"", "x127.0.0.1", false},        {"", "127.0.0.2", false},
        {"", "127.0.0.1@evil.example", false}, {"", "[::1", false},
        {"", "[::1]x", false},            {"", "[::1]]", false},
        {"", "0.0.0.0:8420", false},      {"", " localhost", false},
        {"caid.example.org", "caid.example.org", true},
        {"caid.example.org", "CAID.example.org:443", true},
        {"caid.example.org", "caid.example.org.evil.net", false},
        {"caid.example.org", "example.org", false},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct entry_names n = {cases[i].ours, "cai_1"};
        if (entry_host(&n, cases[i].host) != cases[i].in)
            fail_msg("Host: %s (ours: '%s')", cases[i].host, cases[i].ours);
    }
}

static void origins(void **state) {
    (void)state;
    static const struct {
        const char *host, *origin, *site;
        bool may, must; /* let in where Origin may be absent; where it must be there */
    } cases[] = {
        {"127.0.0.1:80", "http://127.0.0.1:80", NULL, true, true},
        {"127.0.0.1:80", "http://127.0.0.1:80", "same-origin", true, true},
        {"caid.example.org", "https://caid.example.org", "same-origin", true, true},
        {"127.0.0.1:80", NULL, NULL, true, false},
        {"127.0.0.1:80", NULL, "same-origin", true, false},
        {"127.0.0.1:80", NULL, "none", true, false},
        {"127.0.0.1:80", NULL, "same-site", false, false},
        {"127.0.0.1:80", NULL, "cross-site", false, false},
        {"127.0.0.1:80", "http://127.0.0.1:80", "cross-site", false, false},
        {"127.0.0.1:80", "http://127.0.0.1:81", NULL, false, false},
        {"127.0.0.1:80", "http://localhost:80", NULL, false, false},
        {"127.0.0.1:80", "http://127.0.0.1:80.evil.example", NULL, false, false},
        {"127.0.0.1:80", "https://evil.example", NULL, false, false},
        {"127.0.0.1:80", "null", NULL, false, false},
        {"127.0.0.1:80", "", NULL, false, false},
        {"127.0.0.1:80", "ftp://127.0.0.1:80", NULL, false, false},
        {"127.0.0.1:80", "127.0.0.1:80", NULL, false, false},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct web_request q = {.host = cases[i].host, .origin = cases[i].origin, .site = cases[i].site};
        if (entry_origin(&q, false) != cases[i].may || entry_origin(&q, true) != cases[i].must)
            fail_msg("case %zu: Origin %s, Sec-Fetch-Site %s", i, cases[i].origin, cases[i].site);
    }
}

static void cookies(void **state) {
    (void)state;
    struct entry_names n = {"", "cai_1"};
    char long_enough[SECRET_SIZE], header[256], got[SECRET_SIZE];
    memset(long_enough, 'x', sizeof long_enough - 1);
    long_enough[sizeof long_enough - 1] = '\0';
    static const char *const around[][2] = {{"cai_1=", ""}, {"a=b; cai_1=", "; c=d"}, {"cai_1=short; cai_1=", ""},
                                            {"cai_12=1; cai_1=", ";"}};
    for (size_t i = 0; i < CAI_COUNT(around); i++) {
        snprintf(header, sizeof header, "%s%s%s", around[i][0], long_enough, around[i][1]);
        assert_true(entry_cookie(&n, header, got));
        assert_string_equal(got, long_enough);
    }
    static const char *const none[] = {"", "cai_1", "cai_1=", "cai_1=short", "xcai_1=", ";;; ;", "cai_2=1"};
    for (size_t i = 0; i < CAI_COUNT(none); i++)
        assert_false(entry_cookie(&n, none[i], got));
    assert_false(entry_cookie(&n, NULL, got));
    snprintf(header, sizeof header, "cai_1=%sy", long_enough);
    assert_false(entry_cookie(&n, header, got));
}

static void configuration(void **state) {
    (void)state;
    static const char *const good[] = {"auto", "unix", "off", "127.0.0.1:1", "127.0.0.1:8420", "127.0.0.1:65535"};
    static const char *const bad[] = {"", "on", "0.0.0.0:80", "*:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
                                      "127.0.0.1:65536", "127.0.0.1:80 ", "localhost:80", "[::1]:80", "10.0.0.1:80",
                                      "127.0.0.1:123456", "tcp://127.0.0.1:80", "127.0.0.2:80"};
    for (size_t i = 0; i < CAI_COUNT(good); i++)
        assert_int_equal(web_listen_check(good[i]), 0);
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        assert_int_equal(web_listen_check(bad[i]), CAI_EINPUT);
        assert_non_null(strstr(cai_error_text(), "ssh -L"));
    }
    assert_int_equal(web_host_check(""), 0);
    assert_int_equal(web_host_check("caid.example.org"), 0);
    assert_int_equal(web_host_check("https://caid.example.org"), CAI_EINPUT);
    assert_int_equal(web_host_check("caid.example.org:443"), CAI_EINPUT);
    assert_int_equal(web_host_check("a\r\nb"), CAI_EINPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hosts), cmocka_unit_test(origins),
                                       cmocka_unit_test(cookies), cmocka_unit_test(configuration)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
