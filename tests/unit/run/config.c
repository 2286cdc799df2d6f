/* config: caid's configuration file: defaults, ranges, places of mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "run/run.h"
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/cai-config-XXXXXX";

static int make(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}
static int clean(void **state) {
    (void)state;
    return unlink(path);
}

static int load(const char *text, struct run_config *c) {
    assert_int_equal(cai_file_write_atomic(path, text, strlen(text)), 0);
    return run_config_load(path, c);
}

static void reads_and_fills_in(void **state) {
    (void)state;
    struct run_config c = {0}, d;
    run_config_default(&d);
    assert_int_equal(load("min_free_mb: 7\nlog: debug\n", &c), 0);
    assert_int_equal(c.min_free_mb, 7);
    assert_int_equal(c.log_level, CAI_LOG_DEBUG);
    assert_int_equal(c.drain_s, d.drain_s);
    assert_string_equal(c.interface, "lo");
    assert_int_equal(load("admins: trainers\nhalf_life_min: 30\nslice_s: 0\nupload_mb: 5\n"
                          "quota_mb: 6\n", &c), 0);
    assert_string_equal(c.admins, "trainers");
    assert_int_equal(c.half_life_min, 30);
    assert_int_equal(c.slice_s, 0);
    assert_int_equal(c.upload_mb, 5);
    assert_int_equal(c.quota_mb, 6);
    assert_string_equal(d.admins, "");
    assert_string_equal(d.web, "auto");
    assert_int_equal(load("web: 127.0.0.1:8420\nweb_host: caid.example.org\nweb_idle_min: 5\n", &c), 0);
    assert_string_equal(c.web, "127.0.0.1:8420");
    assert_string_equal(c.web_host, "caid.example.org");
    assert_int_equal(c.web_idle_min, 5);
}

static void a_bad_file_changes_nothing(void **state) {
    (void)state;
    static const char *const bad[] = {"min_free: 7\n", "min_free_mb: -1\n", "log: loud\n",
                                      "drain_s: 1000\n", "- a\n", "min_free_mb: 1\nmin_free_mb: 2\n",
                                      "interface: abcdefghijklmnopqrstuvwxyz0123456789\n",
                                      "web: 0.0.0.0:80\n", "web: tcp://127.0.0.1:80\n", "web_idle_min: 0\n",
                                      "web_host: https://caid.example.org\n",
                                      "half_life_min: 0\n", "slice_s: -1\n", "quota_mb: 0\n"};
    for (size_t i = 0; i < CAI_COUNT(bad); i++) {
        struct run_config c = {.min_free_mb = 42};
        assert_int_equal(load(bad[i], &c), CAI_EINPUT);
        assert_int_equal(c.min_free_mb, 42);
    }
    struct run_config c = {.min_free_mb = 42};
    assert_int_equal(run_config_load("/nonexistent/caid.yaml", &c), CAI_ENOTFOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_and_fills_in),
                                       cmocka_unit_test(a_bad_file_changes_nothing)};
    return cmocka_run_group_tests(tests, make, clean);
}
