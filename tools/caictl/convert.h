/* convert.h: caictl data import and export (convert.c), for the table in datafile.c. */
#ifndef CAI_CAICTL_CONVERT_H
#define CAI_CAICTL_CONVERT_H

#include "caictl.h"
#include "input/record.h"

#define CONVERT_OPTIONS                                                                            \
    "  --out FILE       instead of standard output; gzip when it ends in .gz. It appears whole or\n" \
    "                   not at all\n"                                                              \
    "  --held-out SHARE that share of the conversations goes to a second file beside it,\n"        \
    "                   NAME.held-out.jsonl: a conversation, and what is nearly the same, stays\n" \
    "                   on one side\n"                                                             \
    "  --seed N         of the split (1); the same rows and seed give the same split\n"           \
    "  --skip-bad       leave out bad lines; each is shown. Else one of them stops it\n"           \
    "  --first-turn     keep only the first turn of the user, without replies\n"                  \
    "  --no-duplicates  keep the first of rows that are nearly the same\n"                        \
    "  --chosen-only    of a pair keep the better reply alone, as something to imitate. (The\n"    \
    "                   authors of hh-rlhf advise against training on it so.)\n"

int convert_import(const struct args *a);
int convert_export(const struct args *a);
/* The style of a name ("trl"), or false and what there is, printed. */
bool convert_style(const char *name, enum record_style *ret);
/* Writes a file whole or not at all; gzip when its name ends in .gz. */
int convert_file(const char *path, const struct cai_buf *text);

#endif
