/* Any bytes as a file of JSON Lines, plain or gzip: rows in the order of their lines, each a
 * conversation in one of the published forms or a finding; and back into those forms. */
#include "base/error.h"
#include "input/jsonl.h"
#include "input/record.h"
#include "input/similar.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What can be written in a form is read back as the same record. */
static void check_style(const struct input_record *r, enum record_style style) {
    struct input_report report = {.file = "written"};
    struct input_record again;
    json_t *o = record_write(r, style);
    if (!o)
        return;
    bool whole = style == STYLE_CAID || style == STYLE_TRL;
    int rc = input_record(o, 1, &report, &again);
    if (whole)
        CAI_CHECK(rc == 0);
    if (whole && rc == 0) {
        CAI_CHECK(again.n == r->n && !again.a == !r->a && !again.reply == !r->reply);
        CAI_CHECK(strcmp(again.turns[0].text, r->turns[0].text) == 0);
    }
    if (rc == 0)
        input_record_free(&again);
    input_report_free(&report);
    json_decref(o);
}

static void check_row(const json_t *row, size_t line, struct input_report *report) {
    struct input_record m;
    size_t errors = report->errors;
    if (input_record(row, line, report, &m) < 0) {
        CAI_CHECK(report->errors > errors);
        return;
    }
    CAI_CHECK(report->errors == errors && m.n > 0);
    CAI_CHECK(strcmp(m.turns[m.n - 1].role, "user") == 0);
    for (size_t i = 0; i < m.n; i++)
        CAI_CHECK(m.turns[i].text[0]);
    CAI_CHECK(!m.a == !m.b && m.p >= 0 && m.p <= 1);
    for (int s = 0; s < STYLES; s++)
        check_style(&m, (enum record_style)s);
    struct similar *texts = similar_new(SIMILAR_THRESHOLD);
    similar_add_turns(texts, m.turns, m.n);
    similar_add_turns(texts, m.turns, m.n);
    similar_group(texts);
    CAI_CHECK(similar_of(texts, 1) == 0 && similar_jaccard(texts, 0, 1) == 1);
    similar_free(texts);
    input_record_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input_report report = {.file = "fuzz"};
    struct jsonl *reader;
    char path[64];
    int fd = memfd_create("jsonl", MFD_CLOEXEC);
    CAI_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (jsonl_open(path, &report, &reader) == 0) {
        json_t *row;
        size_t line = 0, before = 0, rows = 0;
        while (jsonl_next(reader, &row, &line) > 0) {
            CAI_CHECK(line > before && json_is_object(row));
            before = line;
            rows++;
            check_row(row, line, &report);
            json_decref(row);
        }
        CAI_CHECK(jsonl_rows(reader) == rows);
        jsonl_close(reader);
    }
    close(fd);
    input_report_free(&report);
    return 0;
}
