/* jsonl.h: JSON Lines that people or tools wrote: one object a line, plain or gzip. Every bad
 * line becomes a finding with its place, and is left out; none is dropped silently.
 * Codes: D001 syntax, D002 encoding, D003 a line's size, D004 not an object, D005 missing
 * member, D006 wrong value, D007 duplicate key, D008 no rows, D009 the file. */
#ifndef CAI_INPUT_JSONL_H
#define CAI_INPUT_JSONL_H

#include "input/report.h"
#include <jansson.h>

enum { JSONL_LINE_MAX = 1 << 20 };

struct jsonl;

/* CAI_EINPUT (D009) when the file cannot be opened. `report` is used until jsonl_close. */
int jsonl_open(const char *path, struct input_report *report, struct jsonl **ret);
/* 1 and a row, the caller's (json_decref), with its line; 0 at the end of the file. After a
 * read error (damaged gzip) there is a finding and 0. Blank lines are passed over. */
int jsonl_next(struct jsonl *r, json_t **ret_row, size_t *ret_line);
/* Rows given out so far. */
size_t jsonl_rows(const struct jsonl *r);
void jsonl_close(struct jsonl *r);

/* ---- conversations ----------------------------------------------------------------------- */
struct input_turn {
    const char *role; /* "system" (first only), "user", "assistant" */
    const char *text;
};
/* {"id"?, "prompt" | "messages", "reply"?, …}. Texts are borrowed from the row. A conversation
 * that ends with the assistant gives its last turn as the reply. */
struct input_row {
    const char *id;           /* NULL when absent */
    struct input_turn *turns; /* ends with the user; the struct's */
    size_t n;
    const char *reply; /* NULL when absent */
};
/* 0, or CAI_EINPUT and findings D005, D006. */
int input_messages(const json_t *row, size_t line, struct input_report *report,
                   struct input_row *ret);
void input_row_free(struct input_row *row);
/* A text member: NULL and a finding when it is absent (if required), empty or no text. */
const char *input_text(const json_t *row, const char *key, bool required, size_t line,
                       struct input_report *report);

#endif
