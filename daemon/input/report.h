/* report.h: findings about an input file, made for people:
 *
 *   house.yaml:12:5: error[C011]: duplicate key 'weight', first at 10:5
 *      12 |     weight: 2
 *         |     ^
 *      help: remove one of the two
 *
 * Collects up to 20, then counts. */
#ifndef CAI_INPUT_REPORT_H
#define CAI_INPUT_REPORT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum { INPUT_REPORT_SHOWN = 20 };

struct input_report {
    struct cai_buf text; /* rendered findings, ready for stderr */
    size_t errors, warnings;
    const char *file;   /* name shown; borrowed */
    const char *source; /* whole source text, for the quoted line; may be NULL */
    size_t source_len;
    char first[512]; /* the first error on one line, for error messages */
    const char *row; /* of JSON Lines: the line being read, for columns and quotes; borrowed */
    size_t row_len, row_line;
    bool lenient; /* bad rows are warnings, since they are left out */
};

/* line and column count from 1 (columns in characters); line 0 = the whole file. A code
 * beginning with 'W' is a warning. help may be NULL. */
void input_report_add(struct input_report *r, size_t line, size_t column, const char *code,
                      const char *help, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* The column of a member ("chosen", "messages.3.content") of the line being read; 1 when `line`
 * is not that one. */
size_t input_column(const struct input_report *r, size_t line, const char *path);
/* 0, or CAI_EINPUT with the first error as message and "and N more". */
int input_report_status(const struct input_report *r);
/* Adds the findings of another file's report; `from` is emptied. */
void input_report_merge(struct input_report *to, struct input_report *from);
void input_report_free(struct input_report *r);
/* Reads a text file whole. What hinders (absent, not a file, more than `max` bytes) becomes a
 * finding: C006, C004. 0 or CAI_EINPUT. */
int input_file(const char *path, size_t max, struct input_report *report, struct cai_buf *ret);

#endif
