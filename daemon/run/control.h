/* control.h: the verbs of proto/control.h as rows of a table; for the control_*.c files. */
#ifndef CAI_RUN_CONTROL_H
#define CAI_RUN_CONTROL_H

#include "run/state.h"

struct request {
    struct run *run;
    const json_t *args;
    const char *key; /* "" when the verb changes nothing */
};

/* 0 and *ret (the caller's), or a code with its message. */
typedef int verb_function(const struct request *q, json_t **ret);

/* `args`: "name:type" separated by spaces; types i integer >= 0, s string, b bool, o object,
 * l list; "!" after the type = required. */
struct verb {
    const char *name;
    bool changes;
    const char *args;
    verb_function *f;
};

int64_t request_int(const struct request *q, const char *name, int64_t otherwise);
const char *request_text(const struct request *q, const char *name); /* NULL when absent */
bool request_flag(const struct request *q, const char *name);

/* Collects rows of a list page by page; stops before the reply grows past its limit. */
struct page {
    json_t *rows;
    int64_t after, limit, seen, next; /* next: -1 at the end */
    size_t bytes;
};
void page_open(struct page *p, const struct request *q, int64_t limit);
/* True when the row with position `seen` is on this page; counts it. */
bool page_wants(struct page *p);
/* Takes the row; false when the page is full and the iteration can stop. */
bool page_add(struct page *p, json_t *row);
json_t *page_close(struct page *p);

extern const struct verb job_verbs[], daemon_verbs[], constitution_verbs[], data_verbs[],
    backup_verbs[], ckpt_verbs[], du_verbs[], key_verbs[];

#endif
