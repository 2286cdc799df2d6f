/* review.h: what people are asked to judge, and what they said: rows only. Items and the log are
 * never changed nor deleted (the database refuses it); each row of the log holds the hash of the
 * one before it, so that a row that was changed, taken out or put in breaks the chain. Whoever
 * can write the file can make a whole new chain: note the head down elsewhere (`caictl review
 * audit`) to find that too. Not for what verdicts mean (stage/review.h) nor who may read
 * (review/review.h). Nothing here commits by itself. */
#ifndef CAI_STORE_REVIEW_H
#define CAI_STORE_REVIEW_H

#include "store/store.h"

/* ---- queues: what one stage of a job waits for ------------------------------------- */
struct store_review_queue {
    int64_t job;
    uint32_t round;
    const char *kind; /* comparison, critique, grade */
    const char *gate; /* of the job while it waits */
    int64_t required; /* final verdicts wanted, gold apart */
    bool closed;      /* the job has used them: nothing is added */
};
int store_review_queue_add(struct store *s, const struct store_review_queue *q);
int store_review_queue_close(struct store *s, int64_t job, uint32_t round, const char *kind);
/* By (job, round, kind); job 0 = any. */
int store_review_queues_each(struct store *s, int64_t job,
                             int (*f)(void *c, const struct store_review_queue *q), void *c);

/* ---- items ------------------------------------------------------------------------- */
struct store_review_item {
    int64_t id; /* for people; set when it is added */
    int64_t job;
    uint32_t round;
    const char *kind;
    uint64_t item; /* with k: what it is drawn from, as in examples and labels */
    uint32_t k;
    uint32_t position; /* in its queue, from 0: part of the draw */
    const char *drawn; /* uncertain, disagreement, random */
    bool gold;         /* its answer is known; not counted among the required */
    bool unaided;      /* a first verdict before any help */
    bool second;       /* two readers are wanted */
    const char *content; /* JSON: as shown, and what is kept back (stage/review.h) */
};
int store_review_item_add(struct store *s, const struct store_review_item *i, int64_t *ret_id);
/* ret's strings are the caller's: store_review_item_free. CAI_ENOTFOUND. */
int store_review_item_get(struct store *s, int64_t id, struct store_review_item *ret);
void store_review_item_free(struct store_review_item *i);
/* By (job, round, kind, position); job 0, round −1, kind NULL = any. */
int store_review_items_each(struct store *s, int64_t job, int64_t round, const char *kind,
                            int (*f)(void *c, const struct store_review_item *i), void *c);

/* ---- the log ----------------------------------------------------------------------- */
struct store_review_event {
    int64_t seq; /* from 1, without a gap; set when it is appended */
    int64_t job, item;
    const char *reader, *role;
    const char *event; /* first, final, skip, undo */
    const char *body;  /* JSON */
    int64_t undoes;    /* of an undo: the row that it withdraws; else 0 */
    int64_t wall_ms;
    char prev[65], hash[65];
};
/* Sets seq, wall_ms, prev and hash. The hash covers the item's content too. */
int store_review_append(struct store *s, struct store_review_event *e);
/* By seq, those after `after`. job 0, item 0, reader NULL = any; `standing`: without undos and
 * without what they withdrew. */
int store_review_log_each(struct store *s, int64_t job, int64_t item, const char *reader,
                          bool standing, int64_t after,
                          int (*f)(void *c, const struct store_review_event *e), void *c);
/* Rows and the last one's hash; 64 zeros when there is none. */
int store_review_head(struct store *s, int64_t *ret_rows, char ret_hash[65]);
/* Walks the whole chain: *ret_broken is the number of the first row that does not hold and `why`
 * says how; 0 when all do. `head` not NULL: *ret_known, whether some row has that hash. */
int store_review_verify(struct store *s, const char *head, int64_t *ret_broken, char *why,
                        size_t size, bool *ret_known);

/* ---- what a reader has open: may be lost without harm to any verdict ------------------- */
struct store_review_draft {
    int64_t version, opened_ms; /* version 0: opened, nothing saved yet */
    char *body;                 /* JSON or "" */
};
int store_review_opened(struct store *s, int64_t item, const char *reader);
/* version 0, opened_ms 0 and "" when it was not opened. body is the caller's. */
int store_review_draft_get(struct store *s, int64_t item, const char *reader,
                           struct store_review_draft *ret);
/* CAI_ESTATE unless `version` is the stored one. */
int store_review_draft_set(struct store *s, int64_t item, const char *reader, int64_t version,
                           const char *body, int64_t *ret_version);
/* Readers that opened an item last, since a time, other than `reader`. */
int store_review_open_elsewhere(struct store *s, int64_t item, const char *reader,
                                int64_t since_ms, bool *ret);

#endif
