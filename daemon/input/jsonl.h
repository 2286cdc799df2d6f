/* jsonl.h: JSON Lines that people or tools wrote: one object a line, plain or gzip. Every bad
 * line becomes a finding with its place, and is left out; none is dropped silently. What a row
 * means is record.h's.
 * Codes: D001 syntax, D002 encoding, D003 a line's size, D004 not an object, D005 missing
 * member, D006 wrong value, D007 duplicate key, D008 no rows, D009 the file, D010 too many bad
 * rows, D011 nearly the same on both sides of a split. */
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
/* Rows given out so far, and lines that were left out with a finding. */
size_t jsonl_rows(const struct jsonl *r);
size_t jsonl_bad(const struct jsonl *r);
void jsonl_close(struct jsonl *r);

#endif
