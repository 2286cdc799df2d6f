/* review.h: what people's verdicts mean for a job: which of its texts they are asked about, when
 * enough of them are in, and what is trained in their place. Verdicts are 1 … 7 and stand in the
 * store's log (store/review.h). Not for who may read, or how items are shown (review/review.h).
 *
 * A person's verdict decides. Of two replies it takes the place of the overseer's label of the
 * same pair, whatever principles that was asked under: a label of source "human" with p = (7 −
 * verdict) ÷ 6 for the reply shown as A. Pairs of data.human are others, with replies of their
 * own: neither overrides the other. Of a rewrite it says what supervised training takes (sft.h).
 *
 * Item → open → [second: another reader is wanted] → [disputed: a third one is] → final.
 * A queue is drawn once, by counted draws over natural keys, so that it is the same whoever
 * reads and whenever; its items are shuffled, so that their order says nothing. */
#ifndef CAI_STAGE_REVIEW_H
#define CAI_STAGE_REVIEW_H

#include "stage/build.h"
#include "stage/sft.h"
#include "store/review.h"

/* ---- what the guard asks: a grader beside people --------------------------------------------- */
/* One graded reply that people have decided: two readers who agree, a third after a dispute, or one
 * where one was wanted. */
#define REVIEW_CHECK "red_team" /* replies to red teaming's prompts, set aside: is it harmful? */
struct review_graded {
    uint32_t round;    /* of evaluate; 0 = the base */
    const char *class; /* the name of a rate: "harmful_rate" (probes.h); or REVIEW_CHECK */
    uint64_t item;     /* the prompt */
    int person;        /* 1 a failure of the class, 0 none, −1 people could not tell */
    int grader;        /* 1 or 0: what the job's own grader says of this reply */
    double score;      /* the grader's probability */
    /* Replies are drawn apart where the grader passed and where it accused: this one stands for
     * so many replies of its round and class (1 ÷ the chance of being drawn). */
    double weight;
    uint32_t readers;  /* who gave a verdict */
};
/* By (round, class, item) of the queue. round −1 = any, class NULL = any. f returns 0 to go on.
 * Gold is left out. */
int review_graded_each(struct store *s, int64_t job, int64_t round, const char *class,
                       int (*f)(void *c, const struct review_graded *g), void *c);

/* ---- verdicts of one queue, or of all of a job (review_book.c) ----------------------------------- */
enum review_state { REVIEW_OPEN, REVIEW_SECOND, REVIEW_DISPUTED, REVIEW_FINAL };
struct reading {
    const char *reader;
    int verdict, severity; /* 1 … 7; 0 … 4 */
    int64_t seq, wall_ms;
    json_t *body;
};
struct book_item {
    struct store_review_item row; /* strings lie in the arena */
    json_t *content;              /* book_content's own */
    struct reading *final, *first; /* final verdicts that stand, oldest first; first ones */
    size_t n_final, n_first, n_skip;
    bool skipped;                 /* the caller's */
    enum review_state state;
    double verdict; /* what was decided, 1 … 7; of an undecided one the mean so far */
};
struct book {
    struct cai_arena arena;
    struct book_item *at; /* by (job, round, kind, position) */
    size_t n;
};
/* job 0, round −1, kind NULL = any. */
int book_load(struct store *s, int64_t job, int64_t round, const char *kind, struct book *ret);
void book_free(struct book *b);
static inline void cai_book_auto(struct book *b) { book_free(b); }
int book_load_one(struct store *s, int64_t id, struct book *ret); /* one item; CAI_ENOTFOUND */
struct book_item *book_find(const struct book *b, int64_t id); /* NULL */
const json_t *book_content(const struct book_item *i); /* parsed; the book's */
const json_t *book_kept(const struct book_item *i);    /* its "kept" */
/* Two verdicts part when they are on different sides of 4, or 3 or more steps away. */
bool verdicts_part(int a, int b);
/* The final readings that decide: a third one after a dispute, else the first two; how many. */
size_t book_deciding(const struct book_item *i, const struct reading **ret);
/* What a reader says of a critique: "keep", "reject" or "edit", then with *ret_text; NULL: nothing. */
const char *reading_of_critique(const struct reading *r, int64_t id, const char **ret_text);
/* 1 right, 0 wrong, −1 no gold or no verdict yet; a verdict of 4 is never right. */
int book_gold(const struct book_item *i, const struct reading *r);

struct review_count {
    int64_t required; /* as asked, but not more than can be decided */
    int64_t done, items, second, disputed, gold, skipped;
};
struct review_count book_count(const struct book *b, const struct store_review_queue *q);
/* "12 of 50 comparisons are judged: …", with what to do. */
void review_reason(const struct store_review_queue *q, const struct review_count *n, char *out,
                   size_t size);
/* The open queue that a job waits for, by its gate; false when there is none. Strings of `ret`
 * lie in the arena. */
int review_waiting(struct store *s, int64_t job, const char *gate, struct cai_arena *a,
                   struct store_review_queue *ret, struct review_count *ret_n, bool *ret_found);

/* ---- drawing (review_draw.c) ------------------------------------------------------------------- */
struct candidate {
    uint64_t item;
    uint32_t k;
    double doubt;    /* 0 … 1: entropy of the label, in bits; 0 where there is none */
    double disputes; /* by how much orders, principles or judges part; 0 = they do not */
    double weight;   /* for the figures; 1 */
    void *about;     /* the caller's */
};
struct drawn {
    const struct candidate *of; /* NULL: a place for gold */
    const char *how;            /* uncertain, disagreement, random */
    bool unaided, second, gold;
};
/* Draws `want` and some in reserve (for skips and second readings) by the weights of human.draw,
 * and mixes in `gold` places; their order is the queue's. `what` is a stable name. */
void review_draw(const struct stage_context *c, const char *what, const struct candidate *from,
                 size_t n, size_t want, size_t gold, struct cai_arena *a, struct drawn **ret,
                 size_t *ret_n);

/* ---- what is shown (review_item.c) --------------------------------------------------------------- */
/* Content of an item, as JSON: {"principle", "question", "messages": [{"role", "text"}],
 * "replies": [{"mark", "text"}], "critiques": [{"id", "text", "span", "reply"}], "speeches":
 * [{"reply", "text"}] (of the debate before the label, in the order spoken; absent without), "kept":
 * {…}};
 * "kept" is never shown: {"flipped": B was stored first, "answer": the right verdict's side of a
 * gold item (1 or 7), "p", "class", "grader", "score", "weight", "round", "steps"}. */
struct shown {
    const char *principle, *question;
    json_t *messages; /* taken */
    const char *reply[2]; /* as stored; [1] NULL for one alone */
    bool flipped;
    json_t *critiques; /* taken; "reply" is 0 or 1 as stored; see shown_critique */
    json_t *speeches;  /* taken, may be NULL; "reply" as of critiques */
    json_t *kept;      /* taken */
};
char *shown_content(const struct shown *s); /* the caller's */
/* Appends a critique of stored reply 0 or 1 to a list. */
void shown_critique(json_t *list, int64_t id, const char *text, int of, const char *reply);
/* What a critique quotes, or else the longest run of at least three words that it shares with the
 * reply, in code points; false when there is none. */
bool shown_span(const char *reply, const char *critique, size_t *ret_from, size_t *ret_to);

/* Sets STAGE_WAIT with the queue's reason, or closes it when enough are in, or when a person has
 * accepted the gate: then *ret_closed. */
int review_wait(const struct stage_context *c, const char *kind, const struct book *b,
                struct stage_verdict *ret, bool *ret_closed);
bool review_drawn(const struct stage_context *c); /* this stage's queue exists */
int review_open_queue(const struct stage_context *c, const char *kind, const char *gate,
                      int64_t required);

/* ---- for the stages that use verdicts --------------------------------------------------------------- */
/* What readers decided about a round's rewrites: stage "review_texts", kind "decision", text = the
 * person's own rewrite or "", {"verdict", "rejected": [step, …]}; in item order. */
struct rewrite_decision {
    uint64_t item;
    const char *edit; /* NULL: none */
    bool dropped;     /* the rewrite is worse than the reply: neither is taken */
    uint64_t rejected; /* bit k: the critique of step k (1 … 63) was rejected */
};
int review_decisions(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                     struct rewrite_decision **ret, size_t *ret_n);
/* What readers decided about a critique of a reply that they compared: stage "review", kind
 * "judged", item, k = 2 · pass + side, text = the critique, in the reader's words where one edited it,
 * the principle that it was asked under, {"helpful": it stands, "reply": the reply}. */

/* Before the guard judges a round: draws replies to grade, and of what red teaming set aside;
 * STAGE_WAIT until people have. */
int review_grades(const struct stage_context *c, struct stage_verdict *ret);

#endif
