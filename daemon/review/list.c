/* list.c: who may read, and what is theirs to be read next. */
#include "base/clock.h"
#include "base/error.h"
#include "review/internal.h"
#include <stdlib.h>
#include <string.h>

enum { QUEUE_MAX = 500, ELSEWHERE_MS = 30 * 60 * 1000 };

const char *reviewer_role_name(enum reviewer_role r) {
    static const char *const names[] = {"none", "owner", "reviewer", "admin"};
    return names[r];
}

/* ---- who may ------------------------------------------------------------------------------- */

bool review_sees(const struct reviewer *who, int64_t owner) {
    return who->role == REVIEWER_ADMIN || who->role == REVIEWER_REVIEWER ||
           (who->role == REVIEWER_OWNER && who->uid == owner);
}

int review_may(const struct reviewer *who) {
    if (who->role != REVIEWER_NONE && who->name && *who->name)
        return 0;
    return cai_fail(CAI_EAUTH, "reviewing is for keys with the role reviewer or admin and for a "
                               "job's owner");
}

int review_job(struct store *s, const struct reviewer *who, int64_t job, struct store_job *ret) {
    CAI_TRY(review_may(who));
    CAI_TRY(store_job_get(s, job, ret));
    if (review_sees(who, ret->uid))
        return 0;
    store_job_free(ret);
    return cai_fail(CAI_EAUTH, "job %lld is read by its owner, administrators and keys with the "
                               "role reviewer", (long long)job);
}

bool review_has_read(const struct reading *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].reader, name) == 0)
            return true;
    return false;
}

/* ---- the queue ----------------------------------------------------------------------------- */

struct waiting { /* a queue whose job waits for it */
    struct store_review_queue q;
    struct book book;
    struct review_count n;
};
struct listing {
    struct store *s;
    const struct reviewer *who;
    struct waiting *at;
    size_t n;
    struct cai_arena arena;
};

static int add_queue(void *context, const struct store_review_queue *q) {
    struct listing *l = context;
    struct store_job job;
    if (q->closed)
        return 0;
    CAI_TRY(store_job_get(l->s, q->job, &job));
    bool wanted = job.state == JOB_WAITING_REVIEW && strcmp(job.gate, q->gate) == 0 &&
                  review_sees(l->who, job.uid);
    store_job_free(&job);
    if (!wanted)
        return 0;
    l->at = cai_realloc(l->at, l->n + 1, sizeof *l->at);
    struct waiting *w = &l->at[l->n];
    *w = (struct waiting){.q = *q};
    w->q.kind = cai_arena_strdup(&l->arena, q->kind);
    w->q.gate = cai_arena_strdup(&l->arena, q->gate);
    CAI_TRY(book_load(l->s, q->job, q->round, q->kind, &w->book));
    w->n = book_count(&w->book, q);
    l->n++;
    return 0;
}

static void listing_free(struct listing *l) {
    for (size_t i = 0; i < l->n; i++)
        book_free(&l->at[i].book);
    free(l->at);
    cai_arena_free(&l->arena);
}

struct entry {
    const struct book_item *item;
    size_t queue;
    int rank; /* what is wanted most, first */
    bool draft;
};

static int by_rank(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->queue != y->queue)
        return x->queue < y->queue ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    uint32_t p = x->item->row.position, q = y->item->row.position;
    return (p > q) - (p < q);
}

/* Which are this reader's to judge, and how soon; false: it is not. */
static int rank(struct listing *l, const struct book_item *i, struct entry *ret, bool *ret_wanted) {
    const char *name = l->who->name;
    struct store_review_draft d;
    bool elsewhere = false, mine = review_has_read(i->final, i->n_final, name);
    *ret_wanted = !mine && !i->skipped && (i->row.gold || i->state != REVIEW_FINAL);
    if (!*ret_wanted)
        return 0;
    ret->rank = i->row.gold || i->state == REVIEW_OPEN ? 2 : i->state == REVIEW_SECOND ? 1 : 0;
    CAI_TRY(store_review_draft_get(l->s, i->row.id, name, &d));
    ret->draft = *d.body != '\0';
    bool opened = d.opened_ms > 0;
    free(d.body);
    if (!opened)
        CAI_TRY(store_review_open_elsewhere(l->s, i->row.id, name, cai_wall_ms() - ELSEWHERE_MS,
                                            &elsewhere));
    if (elsewhere && ret->rank == 2 && !i->row.gold)
        ret->rank = 3;
    return 0;
}

const char *review_state_name(const struct book_item *i, bool draft) {
    if (draft)
        return "draft";
    if (i->row.gold) /* as any other that nobody has read */
        return "open";
    return i->state == REVIEW_SECOND ? "second" : i->state == REVIEW_DISPUTED ? "disputed" : "open";
}

/* Marks what this reader has skipped. */
static int note_skip(void *context, const struct store_review_event *e) {
    struct listing *l = context;
    for (size_t q = 0; strcmp(e->event, "skip") == 0 && q < l->n; q++) {
        struct book_item *i = l->at[q].q.job == e->job ? book_find(&l->at[q].book, e->item) : NULL;
        if (i)
            i->skipped = true;
    }
    return 0;
}

static int list_entries(struct listing *l, struct entry **ret, size_t *ret_n, int64_t *ret_mine) {
    size_t n = 0, all = 0;
    *ret_mine = 0;
    CAI_TRY(store_review_log_each(l->s, 0, 0, l->who->name, true, 0, note_skip, l));
    for (size_t q = 0; q < l->n; q++)
        all += l->at[q].book.n;
    *ret = cai_arena_array(&l->arena, all + 1, sizeof **ret);
    for (size_t q = 0; q < l->n; q++)
        for (size_t i = 0; i < l->at[q].book.n; i++) {
            bool wanted;
            struct entry e = {.item = &l->at[q].book.at[i], .queue = q};
            CAI_TRY(rank(l, e.item, &e, &wanted));
            if (wanted)
                (*ret)[n++] = e;
            *ret_mine += review_has_read(e.item->final, e.item->n_final, l->who->name);
        }
    qsort(*ret, n, sizeof **ret, by_rank);
    *ret_n = n;
    return 0;
}

static json_t *queue_json(const struct listing *l, int64_t job, const struct entry *e, size_t n,
                          int64_t mine) {
    json_t *items = json_array();
    int64_t required = 0, done = 0;
    for (size_t q = 0; q < l->n; q++) {
        required += l->at[q].n.required;
        done += l->at[q].n.done < l->at[q].n.required ? l->at[q].n.done : l->at[q].n.required;
    }
    for (size_t i = 0; i < n && i < QUEUE_MAX; i++)
        json_array_append_new(items, json_pack("{s:I, s:I, s:s, s:s, s:s}", "id",
                                               (json_int_t)e[i].item->row.id, "job",
                                               (json_int_t)e[i].item->row.job, "kind",
                                               e[i].item->row.kind, "drawn", e[i].item->row.drawn,
                                               "state", review_state_name(e[i].item, e[i].draft)));
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "job", (json_int_t)job, "required",
                     (json_int_t)required, "done", (json_int_t)done, "pending",
                     (json_int_t)(required - done), "mine", (json_int_t)mine, "gate",
                     l->n == 1 ? l->at[0].q.gate : "", "items", items);
}

int review_queue(struct store *s, const struct reviewer *who, int64_t job, json_t **ret) {
    struct listing l = {.s = s, .who = who};
    struct entry *e = NULL;
    size_t n = 0;
    int64_t mine = 0;
    CAI_TRY(review_may(who));
    if (job) {
        struct store_job row;
        CAI_TRY(review_job(s, who, job, &row));
        store_job_free(&row);
    }
    int rc = store_review_queues_each(s, job, add_queue, &l);
    if (rc == 0)
        rc = list_entries(&l, &e, &n, &mine);
    if (rc == 0)
        *ret = queue_json(&l, job, e, n, mine);
    listing_free(&l);
    return rc;
}
