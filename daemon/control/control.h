/* control.h: the verbs of proto/control.h as rows of a table; and what this room keeps. */
#ifndef CAI_CONTROL_CONTROL_H
#define CAI_CONTROL_CONTROL_H

#include "run/state.h"

struct trial;
struct estimate;
struct upload;
struct web;
/* What this room keeps while caid runs; run->front. */
struct front {
    struct trial *trials;        /* `constitution try`; trial.c */
    struct estimate *estimates;  /* `submit --dry-run`; estimate.c */
    struct upload *uploads;      /* that are open; assets.h */
    struct store_backup *backup; /* being copied; backup.c */
    bool backup_failed;
    int64_t backup_until_ms; /* until then somebody copies blobs away: none is removed */
    int64_t review_rows;     /* of the log of verdicts when jobs were looked at; review_wake.h */
    struct web *web;         /* NULL: no pages; pages.h */
    char web_trouble[256];
};

struct request {
    struct run *run;
    const json_t *args;
    const char *verb, *key; /* key: "" when the verb changes nothing */
    const struct channel_peer *who;
    const void *data; /* bytes that came beside the arguments */
    size_t len;
};

/* 0 and *ret (the caller's), or a code with its message. */
typedef int verb_function(const struct request *q, json_t **ret);

/* `args`: "name:type" separated by spaces; types i integer >= 0, n any integer, s string, b bool,
 * o object, l list; "!" after the type = required.
 *
 * A verb that changes something is for those whom the kernel names; and one that has an "id", which
 * is a job's, for the job's owner and administrators alone. It need not ask again. */
struct verb {
    const char *name;
    bool changes;
    const char *args;
    verb_function *f;
};

int64_t request_int(const struct request *q, const char *name, int64_t otherwise);
const char *request_text(const struct request *q, const char *name); /* NULL when absent */
/* The constitution given as text ("canonical"), else the stored one of that name or revision. */
int request_constitution(const struct request *q, const char *ref, struct constitution **ret);
bool request_flag(const struct request *q, const char *name);

/* As store_end, of a verb whose repetition would change something else: the answer is noted under
 * the request's key in the same transaction, so that whoever asks again after a crash gets this
 * answer and no second change. */
int request_end(const struct request *q, int rc, const json_t *answer);
/* Only that note, of a verb that commits elsewhere: within its transaction. */
int request_note(const struct request *q, const json_t *answer);
/* For pages.c: a verb that changes nothing, asked for this person. */
int control_ask(struct run *r, const struct channel_peer *who, const char *verb, const json_t *args,
                json_t **ret);

/* {"id", "state"} of a job. */
int reply_state(struct run *r, int64_t id, json_t **ret);
/* A job that has not begun becomes HELD, inside the caller's transaction. */
int people_hold(const struct request *q, int64_t id);

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

/* That a job can be run at all: its folders, what it trains (job.c). */
int control_check_job(const struct job_spec *spec);

/* `submit --smoke`: the job on so many prompts, under a name of its own; its data files become
 * samples of themselves in `dir` (rehearse.c). */
int rehearse_shrink(struct job_spec *j, int64_t prompts, const char *dir);

extern const struct verb job_verbs[], daemon_verbs[], constitution_verbs[], data_verbs[],
    backup_verbs[], ckpt_verbs[], du_verbs[], people_verbs[], asset_verbs[], estimate_verbs[],
    rehearse_verbs[], key_verbs[], review_verbs[], web_verbs[], report_verbs[];

#endif
