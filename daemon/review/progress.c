/* progress.c: where people's review stands, how far readers agree, and what help changes. */
#include "base/clock.h"
#include "base/error.h"
#include "review/internal.h"
#include "stage/agree.h"
#include "stage/consensus.h"
#include "stage/rates.h"
#include <stdlib.h>
#include <string.h>

enum { READERS_MAX = 256, SIDES = 3, STEPS = 7 };
static const double CONFIDENCE = 0.95;
static const char *const kinds[] = {"comparison", "critique", "grade", "audit"};

struct reader {
    const char *name;
    size_t verdicts, skips, gold, right, n_seconds;
    double *seconds;
};
struct view {
    struct store *s;
    const struct reviewer *who;
    struct store_job *job;
    struct book book;
    struct reader reader[READERS_MAX];
    size_t n_readers;
    json_t *queues;
};

static int side(int verdict) { return verdict < 4 ? 0 : verdict > 4 ? 2 : 1; }
static bool is_kind(const struct book_item *i, const char *kind) {
    return strcmp(i->row.kind, kind) == 0;
}
static json_t *real_or_null(bool there, double x) { return there ? json_real(x) : json_null(); }

/* ---- readers ------------------------------------------------------------------------------- */

/* In the order of their names; NULL when there are too many. */
static struct reader *reader_of(struct view *v, const char *name) {
    size_t i = 0;
    while (i < v->n_readers && strcmp(v->reader[i].name, name) < 0)
        i++;
    if (i < v->n_readers && strcmp(v->reader[i].name, name) == 0)
        return &v->reader[i];
    if (v->n_readers == READERS_MAX)
        return NULL;
    memmove(&v->reader[i + 1], &v->reader[i], (v->n_readers - i) * sizeof *v->reader);
    v->reader[i] = (struct reader){.name = cai_arena_strdup(&v->book.arena, name)};
    v->n_readers++;
    return &v->reader[i];
}

static void note_reading(struct view *v, const struct book_item *i, const struct reading *r) {
    struct reader *p = reader_of(v, r->reader);
    int64_t opened = json_integer_value(json_object_get(r->body, "opened_ms"));
    int right = book_gold(i, r);
    if (!p)
        return;
    p->verdicts++;
    p->gold += right >= 0;
    p->right += right > 0;
    if (opened <= 0)
        return;
    p->seconds = cai_realloc(p->seconds, p->n_seconds + 1, sizeof *p->seconds);
    p->seconds[p->n_seconds++] = (double)(r->wall_ms - opened) / 1000;
}

static int note_skip(void *context, const struct store_review_event *e) {
    struct reader *p = strcmp(e->event, "skip") == 0 ? reader_of(context, e->reader) : NULL;
    if (p)
        p->skips++;
    return 0;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *gold_json(size_t right, size_t n) {
    double low, high;
    rates_wilson(right, n, CONFIDENCE, &low, &high);
    return json_pack("{s:I, s:I, s:o, s:o, s:o}", "right", (json_int_t)right, "n", (json_int_t)n,
                     "rate", real_or_null(n > 0, n ? (double)right / (double)n : 0), "low",
                     real_or_null(n > 0, low), "high", real_or_null(n > 0, high));
}

static void put_readers(struct view *v, json_t *o) {
    bool tells = v->who->role != REVIEWER_REVIEWER;
    size_t right = 0, gold = 0;
    json_t *list = json_array();
    for (size_t i = 0; i < v->n_readers; i++) {
        struct reader *p = &v->reader[i];
        if (p->n_seconds)
            qsort(p->seconds, p->n_seconds, sizeof *p->seconds, by_value);
        right += p->right;
        gold += p->gold;
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:o}", "name", p->name,
                                              "verdicts", (json_int_t)p->verdicts, "skips",
                                              (json_int_t)p->skips, "gold",
                                              tells ? gold_json(p->right, p->gold) : json_null(),
                                              "seconds", p->n_seconds
                                              ? json_real(p->seconds[(p->n_seconds - 1) / 2])
                                              : json_null()));
        free(p->seconds);
    }
    json_object_set_new(o, "readers", list);
    json_object_set_new(o, "gold", gold_json(right, gold));
}

/* ---- agreement ----------------------------------------------------------------------------- */

struct tables {
    int *verdict, *pair; /* items × readers; the first two readings of an item, by reader's name */
    size_t items;
};

static int place_of(const struct view *v, const char *name) {
    for (size_t i = 0; i < v->n_readers; i++)
        if (strcmp(v->reader[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* Items of a kind that several have read; gold apart, which everybody reads. */
static void fill(const struct view *v, const char *kind, struct tables *t) {
    for (size_t i = 0; i < v->book.n; i++) {
        const struct book_item *x = &v->book.at[i];
        if (!is_kind(x, kind) || x->row.gold || x->n_final < 2)
            continue;
        int *row = t->verdict + t->items * v->n_readers;
        for (size_t k = 0; k < v->n_readers; k++)
            row[k] = AGREE_GAP;
        for (size_t k = 0; k < x->n_final; k++) {
            int at = place_of(v, x->final[k].reader);
            if (at >= 0)
                row[at] = x->final[k].verdict - 1;
        }
        bool turned = strcmp(x->final[0].reader, x->final[1].reader) > 0;
        t->pair[2 * t->items] = side(x->final[turned ? 1 : 0].verdict);
        t->pair[2 * t->items + 1] = side(x->final[turned ? 0 : 1].verdict);
        t->items++;
    }
}

static json_t *agreement_of(const struct view *v, const char *kind) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    size_t columns = v->n_readers ? v->n_readers : 1;
    struct tables t = {cai_arena_array(&a, v->book.n * columns + 1, sizeof *t.verdict),
                       cai_arena_array(&a, 2 * v->book.n + 1, sizeof *t.pair), 0};
    fill(v, kind, &t);
    if (t.items == 0)
        return NULL;
    struct readings pair = {t.pair, t.items, 2, SIDES}, all = {t.verdict, t.items, columns, STEPS};
    agree_figure *kappa = v->n_readers == 2 ? agree_cohen : agree_fleiss;
    double k, k_low, k_high, alpha, a_low, a_high;
    bool known = kappa(&pair, &k), ranged, alpha_known = agree_ordinal_alpha(&all, &alpha);
    struct cai_key key = cai_key_make((uint64_t)v->job->id, 0, "review/agreement", 0, 0);
    ranged = agree_interval(&pair, kappa, key, CONFIDENCE, &k_low, &k_high);
    bool alpha_ranged = agree_interval(&all, agree_ordinal_alpha, key, CONFIDENCE, &a_low, &a_high);
    return json_pack("{s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "kind", kind, "items",
                     (json_int_t)t.items, "figure", v->n_readers == 2 ? "Cohen" : "Fleiss",
                     "kappa", real_or_null(known, k), "low", real_or_null(ranged, k_low), "high",
                     real_or_null(ranged, k_high), "alpha", real_or_null(alpha_known, alpha),
                     "alpha_low", real_or_null(alpha_ranged, a_low), "alpha_high",
                     real_or_null(alpha_ranged, a_high));
}

static json_t *agreement_json(const struct view *v) {
    json_t *o = json_array();
    for (size_t k = 0; k < CAI_COUNT(kinds); k++) {
        json_t *one = agreement_of(v, kinds[k]);
        if (one)
            json_array_append_new(o, one);
    }
    return o;
}

/* ---- consensus ------------------------------------------------------------------------------- */

struct sides {
    int *said, *known; /* items × readers; by item */
    const struct book_item **item;
    size_t n;
};

/* Which side is right of a gold item, of this kind; −1 of others. */
static int known_side(const struct book_item *i) {
    if (!i->row.gold)
        return -1;
    return side((int)json_integer_value(json_object_get(book_kept(i), "answer")));
}

/* What several have read, and gold, whose truth is known. */
static void fill_sides(const struct view *v, const char *kind, struct sides *s) {
    for (size_t i = 0; i < v->book.n; i++) {
        const struct book_item *x = &v->book.at[i];
        if (!is_kind(x, kind) || x->n_final < (x->row.gold ? 1u : 2u))
            continue;
        int *row = s->said + s->n * v->n_readers;
        for (size_t k = 0; k < v->n_readers; k++)
            row[k] = AGREE_GAP;
        for (size_t k = 0; k < x->n_final; k++) {
            int at = place_of(v, x->final[k].reader);
            if (at >= 0)
                row[at] = side(x->final[k].verdict);
        }
        s->known[s->n] = known_side(x);
        s->item[s->n++] = x;
    }
}

/* Decided items whose likeliest side is another than what was decided; *ret_n: of how many. */
static size_t differing(const struct sides *s, const struct consensus *c, size_t *ret_n) {
    size_t differ = 0;
    *ret_n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct book_item *x = s->item[i];
        const double *t = &c->truth[i * SIDES];
        if (x->row.gold || x->state != REVIEW_FINAL)
            continue;
        int top = t[0] >= t[1] && t[0] >= t[2] ? 0 : t[2] >= t[1] ? 2 : 1;
        int decided = x->verdict < 4 ? 0 : x->verdict > 4 ? 2 : 1;
        ++*ret_n;
        differ += top != decided;
    }
    return differ;
}

static json_t *consensus_of(const struct view *v, const char *kind) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct sides s = {cai_arena_array(&a, v->book.n * v->n_readers + 1, sizeof *s.said),
                      cai_arena_array(&a, v->book.n + 1, sizeof *s.known),
                      cai_arena_array(&a, v->book.n + 1, sizeof *s.item), 0};
    struct consensus c;
    size_t decided;
    fill_sides(v, kind, &s);
    if (s.n == 0 || v->n_readers < 2)
        return NULL;
    struct readings r = {s.said, s.n, v->n_readers, SIDES};
    consensus_estimate(&r, s.known, &a, &c);
    size_t differ = differing(&s, &c, &decided);
    json_t *list = json_array();
    for (size_t k = 0; k < v->n_readers; k++)
        if (c.reader[k].n)
            json_array_append_new(list, json_pack("{s:s, s:f, s:f, s:f, s:I}", "name",
                                                  v->reader[k].name, "accuracy",
                                                  c.reader[k].accuracy, "low", c.reader[k].low,
                                                  "high", c.reader[k].high, "n",
                                                  (json_int_t)c.reader[k].n));
    return json_pack("{s:s, s:I, s:o, s:I, s:I}", "kind", kind, "items", (json_int_t)s.n, "readers",
                     list, "differ", (json_int_t)differ, "decided", (json_int_t)decided);
}

/* Its accuracies rest on gold, which a reader must not be told of. */
static json_t *consensus_json(const struct view *v) {
    json_t *o = json_array();
    for (size_t k = 0; k < CAI_COUNT(kinds) && v->who->role != REVIEWER_REVIEWER; k++) {
        json_t *one = consensus_of(v, kinds[k]);
        if (one)
            json_array_append_new(o, one);
    }
    return o;
}

/* ---- help ---------------------------------------------------------------------------------- */

struct arms {
    size_t n[2], flawed[2]; /* unaided, aided */
    size_t both, changed;
};

static void note_help(const struct book_item *i, struct arms *a) {
    bool help = json_array_size(json_object_get(book_content(i), "critiques")) > 0 ||
                json_array_size(json_object_get(book_content(i), "speeches")) > 0;
    if (i->row.gold || !help)
        return;
    for (size_t k = 0; !i->row.unaided && k < i->n_final; k++) {
        a->n[1]++;
        a->flawed[1] += i->final[k].severity > 0;
    }
    for (size_t k = 0; i->row.unaided && k < i->n_first; k++) {
        a->n[0]++;
        a->flawed[0] += i->first[k].severity > 0;
        for (size_t f = 0; f < i->n_final; f++)
            if (strcmp(i->final[f].reader, i->first[k].reader) == 0) {
                a->both++;
                a->changed += side(i->final[f].verdict) != side(i->first[k].verdict);
            }
    }
}

static json_t *arm_json(const struct arms *a, int arm) {
    bool any = a->n[arm] > 0;
    return json_pack("{s:I, s:I, s:o}", "flawed", (json_int_t)a->flawed[arm], "n",
                     (json_int_t)a->n[arm], "rate",
                     real_or_null(any, any ? (double)a->flawed[arm] / (double)a->n[arm] : 0));
}

static json_t *help_json(const struct view *v) {
    struct arms a = {0};
    double effect, low, high;
    for (size_t i = 0; i < v->book.n; i++)
        note_help(&v->book.at[i], &a);
    bool known = agree_difference(a.flawed[1], a.n[1], a.flawed[0], a.n[0], CONFIDENCE, &effect,
                                  &low, &high);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "aided", arm_json(&a, 1), "unaided",
                     arm_json(&a, 0), "effect", real_or_null(known, effect), "low",
                     real_or_null(known, low), "high", real_or_null(known, high), "changed",
                     real_or_null(a.both > 0, a.both ? (double)a.changed / (double)a.both : 0),
                     "changed_n", (json_int_t)a.both);
}

/* ---- critiques, labels ----------------------------------------------------------------------- */

static json_t *critiques_json(const struct view *v) {
    static const char *const states[] = {"keep", "reject", "edit"};
    size_t n[3] = {0}, c;
    for (size_t i = 0; i < v->book.n; i++)
        for (size_t k = 0; k < v->book.at[i].n_final; k++) {
            json_t *x;
            json_array_foreach(json_object_get(v->book.at[i].final[k].body, "critiques"), c, x) {
                const char *state = json_string_value(json_object_get(x, "state"));
                for (size_t s = 0; state && s < 3; s++)
                    n[s] += strcmp(state, states[s]) == 0;
            }
        }
    return json_pack("{s:I, s:I, s:I}", "kept", (json_int_t)n[0], "rejected", (json_int_t)n[1],
                     "edited", (json_int_t)n[2]);
}

static json_t *overturned_json(const struct view *v) {
    size_t labels = 0, turned = 0;
    for (size_t i = 0; i < v->book.n; i++) {
        const struct book_item *x = &v->book.at[i];
        if (!is_kind(x, "comparison") || x->row.gold || x->n_final == 0 ||
            x->state == REVIEW_DISPUTED || x->verdict == 4)
            continue;
        bool flipped = json_is_true(json_object_get(book_kept(x), "flipped"));
        double p = json_number_value(json_object_get(book_kept(x), "p"));
        labels += p != 0.5;
        turned += p != 0.5 && ((x->verdict < 4) != flipped) != (p > 0.5);
    }
    return json_pack("{s:I, s:I, s:o}", "labels", (json_int_t)labels, "turned",
                     (json_int_t)turned, "rate",
                     real_or_null(labels > 0, labels ? (double)turned / (double)labels : 0));
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int add_queue(void *context, const struct store_review_queue *q) {
    struct view *v = context;
    struct review_count n = book_count(&v->book, q);
    return json_array_append_new(
        v->queues, json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "round",
                             (int)q->round, "kind", q->kind, "gate", q->gate, "required",
                             (json_int_t)n.required, "done", (json_int_t)n.done, "items",
                             (json_int_t)n.items, "second", (json_int_t)n.second, "disputed",
                             (json_int_t)n.disputed, "skipped", (json_int_t)n.skipped, "closed",
                             q->closed));
}

static int fill_view(struct view *v, json_t *o) {
    char head[65];
    int64_t rows;
    CAI_TRY(book_load(v->s, v->job->id, -1, NULL, &v->book));
    CAI_TRY(store_review_head(v->s, &rows, head));
    v->queues = json_array();
    json_object_set_new(o, "queues", v->queues);
    int rc = store_review_queues_each(v->s, v->job->id, add_queue, v);
    for (size_t i = 0; i < v->book.n; i++)
        for (size_t k = 0; k < v->book.at[i].n_final; k++)
            note_reading(v, &v->book.at[i], &v->book.at[i].final[k]);
    if (rc == 0)
        rc = store_review_log_each(v->s, v->job->id, 0, NULL, true, 0, note_skip, v);
    json_object_set_new(o, "agreement", agreement_json(v));
    json_object_set_new(o, "consensus", consensus_json(v));
    json_object_set_new(o, "help", help_json(v));
    json_object_set_new(o, "critiques", critiques_json(v));
    json_object_set_new(o, "overturned", overturned_json(v));
    json_object_set_new(o, "audit", json_pack("{s:I, s:s}", "rows", (json_int_t)rows, "head", head));
    put_readers(v, o);
    return rc;
}

static int job_json(struct store *s, const struct reviewer *who, struct store_job *job,
                    json_t **ret) {
    struct view v = {.s = s, .who = who, .job = job};
    *ret = json_pack("{s:I, s:s, s:s, s:b, s:s}", "job", (json_int_t)job->id, "name", job->name,
                     "state", job_state_name(job->state), "waits",
                     job->state == JOB_WAITING_REVIEW, "reason", job->reason);
    int rc = fill_view(&v, *ret);
    book_free(&v.book);
    if (rc < 0) {
        json_decref(*ret);
        *ret = NULL;
    }
    return rc;
}

struct all_jobs {
    struct store *s;
    const struct reviewer *who;
    json_t *list;
    int64_t last;
};

static int add_job(void *context, const struct store_review_queue *q) {
    struct all_jobs *a = context;
    struct store_job job;
    json_t *o = NULL;
    if (q->job == a->last)
        return 0;
    a->last = q->job;
    CAI_TRY(store_job_get(a->s, q->job, &job));
    int rc = review_sees(a->who, job.uid) ? job_json(a->s, a->who, &job, &o) : 0;
    store_job_free(&job);
    if (o)
        json_array_append_new(a->list, o);
    return rc;
}

int review_progress(struct store *s, const struct reviewer *who, int64_t job, json_t **ret) {
    struct all_jobs a = {.s = s, .who = who};
    struct store_job row;
    CAI_TRY(review_may(who));
    if (job) {
        CAI_TRY(review_job(s, who, job, &row));
        int rc = job_json(s, who, &row, ret);
        store_job_free(&row);
        return rc;
    }
    a.list = json_array();
    int rc = store_review_queues_each(s, 0, add_job, &a);
    *ret = rc < 0 ? NULL : json_pack("{s:O}", "jobs", a.list);
    json_decref(a.list);
    return rc;
}
