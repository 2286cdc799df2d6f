/* jsonl: rows and their lines; gzip read as it lies. What is refused is tested
 * through the program (tests/unit/caictl/bad_input.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "input/jsonl.h"
#include "input/record.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const char text[] = "{\"prompt\": \"one\", \"id\": \"a\", \"topic\": \"kept\"}\n"
                           "\n"
                           "not json\r\n"
                           "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": "
                           "\"user\", \"content\": \"q\"},"
                           " {\"role\": \"assistant\", \"text\": \"r\"}]}\r\n"
                           "{\"prompt\": \"last without an end of line\", \"reply\": \"x\"}";

static void check_rows(const char *path) {
    struct input_report report = {0};
    struct jsonl *r;
    struct input_record row;
    json_t *o;
    size_t line;
    assert_int_equal(jsonl_open(path, &report, &r), 0);
    assert_int_equal(jsonl_next(r, &o, &line), 1);
    assert_int_equal(line, 1);
    assert_string_equal(json_string_value(json_object_get(o, "topic")), "kept");
    assert_int_equal(input_record(o, line, &report, &row), 0);
    assert_string_equal(row.id, "a");
    assert_int_equal(row.n, 1);
    assert_string_equal(row.turns[0].role, "user");
    assert_string_equal(row.turns[0].text, "one");
    assert_null(row.reply);
    input_record_free(&row);
    json_decref(o);
    assert_int_equal(jsonl_next(r, &o, &line), 1);
    assert_int_equal(line, 4);
    assert_int_equal(report.errors, 1); /* line 3 was passed over, but told */
    assert_int_equal(input_record(o, line, &report, &row), 0);
    assert_int_equal(row.n, 2);
    assert_string_equal(row.turns[1].text, "q");
    assert_string_equal(row.reply, "r");
    input_record_free(&row);
    json_decref(o);
    assert_int_equal(jsonl_next(r, &o, &line), 1);
    assert_int_equal(line, 5);
    json_decref(o);
    assert_int_equal(jsonl_next(r, &o, &line), 0);
    assert_int_equal(jsonl_rows(r), 3);
    assert_int_equal(jsonl_bad(r), 1);
    jsonl_close(r);
    assert_non_null(strstr(report.first, ":3:1: error[D001]"));
    input_report_free(&report);
}

static void plain(void **state) {
    (void)state;
    char path[] = "/tmp/cai-jsonl-XXXXXX";
    close(mkstemp(path));
    assert_int_equal(cai_file_write_atomic(path, text, sizeof text - 1), 0);
    check_rows(path);
    assert_int_equal(unlink(path), 0);
}

static void gzip(void **state) {
    (void)state;
    char path[] = "/tmp/cai-jsonl-XXXXXX";
    close(mkstemp(path));
    gzFile f = gzopen(path, "wb");
    assert_int_equal(gzwrite(f, text, sizeof text - 1), sizeof text - 1);
    gzclose(f);
    check_rows(path);
    assert_int_equal(unlink(path), 0);
}

static void a_line_of_exactly_the_limit(void **state) {
    (void)state;
    char path[] = "/tmp/cai-jsonl-XXXXXX";
    struct input_report report = {0};
    struct jsonl *r;
    json_t *o;
    size_t line;
    CAI_AUTO(buf) struct cai_buf b = {0};
    for (int extra = 0; extra < 2; extra++) {
        cai_buf_puts(&b, "{\"prompt\": \"");
        size_t start = b.len - strlen("{\"prompt\": \"");
        while (b.len - start < (size_t)JSONL_LINE_MAX - 2 + (size_t)extra)
            cai_buf_putc(&b, 'x');
        cai_buf_puts(&b, "\"}\n");
    }
    close(mkstemp(path));
    assert_int_equal(cai_file_write_atomic(path, b.data, b.len), 0);
    assert_int_equal(jsonl_open(path, &report, &r), 0);
    assert_int_equal(jsonl_next(r, &o, &line), 1);
    json_decref(o);
    assert_int_equal(report.errors, 0);
    assert_int_equal(jsonl_next(r, &o, &line), 0);
    assert_non_null(strstr(report.first, ":2:1: error[D003]"));
    jsonl_close(r);
    input_report_free(&report);
    assert_int_equal(unlink(path), 0);
}

static void not_a_file(void **state) {
    (void)state;
    static const char *const paths[] = {"/tmp", "/nonexistent/x.jsonl", "/dev/null"};
    for (size_t i = 0; i < CAI_COUNT(paths); i++) {
        struct input_report report = {0};
        struct jsonl *r;
        assert_int_equal(jsonl_open(paths[i], &report, &r), CAI_EINPUT);
        assert_non_null(strstr(report.first, "error[D009]"));
        input_report_free(&report);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain), cmocka_unit_test(gzip),
                                       cmocka_unit_test(a_line_of_exactly_the_limit),
                                       cmocka_unit_test(not_a_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
