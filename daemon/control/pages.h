/* pages.h: caid's pages (room web) as a part of this coordinator: what they may ask, and their
 * turn in the loop. For the files of this room only. */
#ifndef CAI_CONTROL_PAGES_H
#define CAI_CONTROL_PAGES_H

#include "run/gate.h"
#include "review/review.h"
#include "control/control.h"

/* Serves them where the configuration says so. What goes wrong is logged, and told to whoever asks
 * for a link: caid works without pages. */
void pages_open(struct run *r);
void pages_close(struct run *r);
void pages_reload(struct run *r); /* after the configuration was read again */
/* A link for who asks, the caller's; CAI_ESTATE with why there are no pages. */
int pages_link(struct run *r, const struct channel_peer *who, char **ret_url);
/* In one sentence for `caictl doctor`; false when they should be there and are not. */
bool pages_told(const struct run *r, char *out, size_t size);

/* ---- what a page may ask: rows of tables ------------------------------------------------------------ */
struct page_asking {
    struct run *run;
    const struct channel_peer *who;
    struct reviewer reader;
    const json_t *args; /* of the types that web/api.c says */
};
struct page_question {
    const char *what;
    enum act act;
    int (*f)(const struct page_asking *q, json_t **ret); /* NULL: caictl's request of that name */
};
extern const struct page_question review_questions[]; /* pages_review.c */
int64_t page_integer(const struct page_asking *q, const char *name); /* 0 when it is absent */

/* ---- pages_read.c: what the dashboard shows and no request of caictl gives ------------------------ */
/* {"rows": [PROGRESS]}: what has not ended, and the newest that have; the newest first. */
int pages_jobs(struct run *r, json_t **ret);
/* The report without what the page does not draw: of transcripts the first few. */
int pages_report(struct run *r, const struct channel_peer *who, const json_t *args, json_t **ret);
/* Points of the present stage's curves after a step: {"round", "stage", "series": [{"name",
 * "title", "stage", "x", "unit", "says", "marks", "points"}]}, and reward over distance. */
int pages_curves(struct run *r, int64_t job, int64_t after, json_t **ret);

#endif
