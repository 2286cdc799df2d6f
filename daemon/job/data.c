/* data.c: reads a job's data files line by line and says what is wrong in them, so that a job
 * fails before it starts. What the rows mean is the stages'. */
#include "base/error.h"
#include "input/jsonl.h"
#include "job/job.h"
#include <stdlib.h>
#include <string.h>

enum kind { HARMFUL, HELPFUL, HUMAN, CLASSIFIER, EVALUATE, KINDS };

static void check_share(const json_t *row, const char *key, bool truth, size_t line,
                        struct input_report *report) {
    const json_t *v = json_object_get(row, key);
    double d = json_number_value(v);
    if (!v)
        input_report_add(report, line, 1, "D005", NULL, "missing member \"%s\"", key);
    else if (!(truth && json_is_boolean(v)) && (!json_is_number(v) || !(d >= 0 && d <= 1)))
        input_report_add(report, line, 1, "D006", NULL, "\"%s\" must be %sfrom 0 to 1", key,
                         truth ? "true, false or a number " : "a number ");
}

static void check_human(const json_t *row, size_t line, struct input_report *report) {
    bool ab = json_object_get(row, "a") || json_object_get(row, "b");
    input_text(row, ab ? "a" : "chosen", true, line, report);
    input_text(row, ab ? "b" : "rejected", true, line, report);
    if (ab)
        check_share(row, "p", false, line, report);
}

static void check_classifier(const json_t *row, const struct input_row *m, size_t line,
                             struct input_report *report) {
    if (!m->reply)
        input_report_add(report, line, 1, "D005", "end the messages with the assistant",
                         "missing member \"reply\"");
    check_share(row, "label", true, line, report);
}

static void check_kind(const json_t *row, size_t line, struct input_report *report) {
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    const char *kind = input_text(row, "kind", true, line, report);
    for (size_t i = 0; kind && i < CAI_COUNT(kinds); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return;
    if (kind)
        input_report_add(report, line, 1, "D006", "it is harmful, helpful or lookalike",
                         "\"kind\" is not known: %.40s", kind);
}

static void check_row(enum kind kind, const json_t *row, size_t line, struct input_report *report) {
    struct input_row m;
    if (input_messages(row, line, report, &m) < 0)
        return;
    if (kind == HUMAN)
        check_human(row, line, report);
    if (kind == CLASSIFIER)
        check_classifier(row, &m, line, report);
    if (kind == EVALUATE)
        check_kind(row, line, report);
    input_row_free(&m);
}

static size_t check_file(enum kind kind, const char *path, struct input_report *report) {
    struct input_report own = {.file = path};
    struct jsonl *reader;
    json_t *row;
    size_t line, good = 0;
    if (jsonl_open(path, &own, &reader) == 0) {
        while (jsonl_next(reader, &row, &line) > 0) {
            size_t errors = own.errors;
            check_row(kind, row, line, &own);
            good += own.errors == errors;
            json_decref(row);
        }
        if (good == 0 && own.errors == 0)
            input_report_add(&own, 0, 0, "D008", "give at least one row", "the file has no rows");
        jsonl_close(reader);
    }
    input_report_merge(report, &own);
    return good;
}

int job_check_data(const struct job_spec *j, struct input_report *report, size_t ret_rows[5]) {
    const char *const paths[KINDS] = {j->data.harmful, j->data.helpful, j->data.human,
                                      j->data.classifier, j->data.evaluate};
    size_t errors = report->errors;
    for (int k = 0; k < KINDS; k++) {
        size_t n = paths[k] ? check_file((enum kind)k, paths[k], report) : 0;
        if (ret_rows)
            ret_rows[k] = n;
    }
    return report->errors > errors ? input_report_status(report) : 0;
}
