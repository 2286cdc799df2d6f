/* Any bytes as a file of JSON Lines, plain or gzip: rows in the order of their lines, each a
 * conversation or a finding. */
#include "base/error.h"
#include "input/jsonl.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const json_t *row, size_t line, struct input_report *report) {
    struct input_row m;
    size_t errors = report->errors;
    if (input_messages(row, line, report, &m) < 0) {
        CAI_CHECK(report->errors > errors);
        return;
    }
    CAI_CHECK(report->errors == errors && m.n > 0);
    CAI_CHECK(strcmp(m.turns[m.n - 1].role, "user") == 0);
    for (size_t i = 0; i < m.n; i++)
        CAI_CHECK(m.turns[i].text[0]);
    input_row_free(&m);
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
