/* review_book.c: readings beside the items they are about: what stands, what is decided, what is
 * missing. */
#include "base/error.h"
#include "stage/review.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIDDLE = 4, APART = 3 };

bool verdicts_part(int a, int b) {
    bool sides = (a < MIDDLE && b > MIDDLE) || (a > MIDDLE && b < MIDDLE);
    return sides || abs(a - b) >= APART;
}

int book_gold(const struct book_item *i, const struct reading *r) {
    if (!i->row.gold)
        return -1;
    int answer = (int)json_integer_value(json_object_get(book_kept(i), "answer"));
    return answer < MIDDLE ? r->verdict < MIDDLE : r->verdict > MIDDLE;
}

size_t book_deciding(const struct book_item *i, const struct reading **ret) {
    bool third = i->n_final > 2 && verdicts_part(i->final[0].verdict, i->final[1].verdict);
    *ret = third ? &i->final[2] : i->final;
    return third ? 1 : i->n_final < 2 ? i->n_final : 2;
}

const char *reading_of_critique(const struct reading *r, int64_t id, const char **ret_text) {
    json_t *x;
    size_t i;
    *ret_text = NULL;
    json_array_foreach(json_object_get(r->body, "critiques"), i, x) {
        if (json_integer_value(json_object_get(x, "id")) != id)
            continue;
        *ret_text = json_string_value(json_object_get(x, "text"));
        return json_string_value(json_object_get(x, "state"));
    }
    return NULL;
}

/* ---- loading ------------------------------------------------------------------------------- */

struct loader {
    struct book *book;
    size_t cap;
    size_t *by_id; /* places, in the order of their items' ids */
};

static int take_item(void *context, const struct store_review_item *i) {
    struct loader *l = context;
    struct book *b = l->book;
    if (b->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        b->at = cai_realloc(b->at, l->cap, sizeof *b->at);
    }
    struct book_item *o = &b->at[b->n++];
    *o = (struct book_item){.row = *i};
    o->row.kind = cai_arena_strdup(&b->arena, i->kind);
    o->row.drawn = cai_arena_strdup(&b->arena, i->drawn);
    o->row.content = cai_arena_strdup(&b->arena, i->content);
    return 0;
}

/* Most callers want states alone; the store's own JSON always parses. */
const json_t *book_content(const struct book_item *i) {
    struct book_item *o = (struct book_item *)i;
    if (!o->content)
        o->content = json_loads(i->row.content, 0, NULL);
    return o->content;
}

const json_t *book_kept(const struct book_item *i) {
    return json_object_get(book_content(i), "kept");
}

struct book_item *book_find(const struct book *b, int64_t id) {
    for (size_t i = 0; i < b->n; i++)
        if (b->at[i].row.id == id)
            return &b->at[i];
    return NULL;
}

/* Ids rise with the places of a queue, but queues may be drawn in any order. */
static struct book_item *find_sorted(const struct loader *l, int64_t id) {
    size_t low = 0, high = l->book->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int64_t seen = l->book->at[l->by_id[mid]].row.id;
        if (seen == id)
            return &l->book->at[l->by_id[mid]];
        if (seen < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static void push(struct reading **list, size_t *n, struct reading r) {
    *list = cai_realloc(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = r;
}

static int take_event(void *context, const struct store_review_event *e) {
    struct loader *l = context;
    struct book_item *i = find_sorted(l, e->item);
    if (!i)
        return 0; /* of another queue */
    if (strcmp(e->event, "skip") == 0) {
        i->n_skip++;
        return 0;
    }
    json_t *body = json_loads(e->body, 0, NULL);
    struct reading r = {.reader = cai_arena_strdup(&l->book->arena, e->reader),
                        .verdict = (int)json_integer_value(json_object_get(body, "verdict")),
                        .severity = (int)json_integer_value(json_object_get(body, "severity")),
                        .seq = e->seq, .wall_ms = e->wall_ms, .body = body};
    if (strcmp(e->event, "final") == 0)
        push(&i->final, &i->n_final, r);
    else
        push(&i->first, &i->n_first, r);
    return 0;
}

static void decide(struct book_item *i) {
    const struct reading *f = i->final;
    i->verdict = 0;
    i->state = REVIEW_OPEN;
    if (i->n_final == 0)
        return;
    i->verdict = f[0].verdict;
    i->state = i->row.second && !i->row.gold ? REVIEW_SECOND : REVIEW_FINAL;
    if (i->n_final == 1 || i->row.gold)
        return;
    i->verdict = 0.5 * (f[0].verdict + f[1].verdict);
    i->state = REVIEW_FINAL;
    if (!verdicts_part(f[0].verdict, f[1].verdict))
        return;
    i->state = i->n_final > 2 ? REVIEW_FINAL : REVIEW_DISPUTED;
    if (i->n_final > 2)
        i->verdict = f[2].verdict;
}

static int by_id(const void *a, const void *b, void *book) {
    int64_t x = ((const struct book *)book)->at[*(const size_t *)a].row.id;
    int64_t y = ((const struct book *)book)->at[*(const size_t *)b].row.id;
    return (x > y) - (x < y);
}

int book_load(struct store *s, int64_t job, int64_t round, const char *kind, struct book *ret) {
    struct loader l = {.book = ret};
    *ret = (struct book){0};
    int rc = store_review_items_each(s, job, round, kind, take_item, &l);
    l.by_id = cai_arena_array(&ret->arena, ret->n + 1, sizeof *l.by_id);
    for (size_t i = 0; i < ret->n; i++)
        l.by_id[i] = i;
    qsort_r(l.by_id, ret->n, sizeof *l.by_id, by_id, ret);
    if (rc == 0 && ret->n)
        rc = store_review_log_each(s, job, 0, NULL, true, 0, take_event, &l);
    if (rc < 0) {
        book_free(ret);
        return rc;
    }
    for (size_t i = 0; i < ret->n; i++)
        decide(&ret->at[i]);
    return 0;
}

int book_load_one(struct store *s, int64_t id, struct book *ret) {
    struct store_review_item item;
    struct loader l = {.book = ret};
    *ret = (struct book){0};
    CAI_TRY(store_review_item_get(s, id, &item));
    (void)take_item(&l, &item);
    store_review_item_free(&item);
    l.by_id = cai_arena_alloc(&ret->arena, sizeof *l.by_id);
    int rc = store_review_log_each(s, ret->at[0].row.job, id, NULL, true, 0, take_event, &l);
    if (rc < 0) {
        book_free(ret);
        return rc;
    }
    decide(&ret->at[0]);
    return 0;
}

static void free_readings(struct reading *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        json_decref(list[i].body);
    free(list);
}

void book_free(struct book *b) {
    for (size_t i = 0; i < b->n; i++) {
        free_readings(b->at[i].final, b->at[i].n_final);
        free_readings(b->at[i].first, b->at[i].n_first);
        json_decref(b->at[i].content);
    }
    free(b->at);
    cai_arena_free(&b->arena);
    *b = (struct book){0};
}

/* ---- counting ------------------------------------------------------------------------------ */

static bool of_queue(const struct book_item *i, const struct store_review_queue *q) {
    return i->row.job == q->job && i->row.round == q->round &&
           strcmp(i->row.kind, q->kind) == 0;
}

struct review_count book_count(const struct book *b, const struct store_review_queue *q) {
    struct review_count n = {0};
    for (size_t i = 0; i < b->n; i++) {
        const struct book_item *x = &b->at[i];
        if (!of_queue(x, q))
            continue;
        if (x->row.gold) {
            n.gold++;
            continue;
        }
        n.items++;
        n.done += x->state == REVIEW_FINAL;
        n.second += x->state == REVIEW_SECOND;
        n.disputed += x->state == REVIEW_DISPUTED;
        n.skipped += x->n_skip > 0 && x->state == REVIEW_OPEN;
    }
    n.required = q->required < n.items ? q->required : n.items;
    return n;
}

void review_reason(const struct store_review_queue *q, const struct review_count *n, char *out,
                   size_t size) {
    char second[160] = "";
    if (n->second || n->disputed)
        snprintf(second, sizeof second,
                 "; %lld wait%s for a second reader and %lld disputed for a third: other people",
                 (long long)n->second, n->second == 1 ? "s" : "", (long long)n->disputed);
    snprintf(out, size,
             "people's verdicts: %lld of %lld %ss are final%s. 'caictl review next %lld' shows the "
             "next one; it goes on by itself when they are in, or with those that are: 'caictl "
             "resume %lld --accept %s'",
             (long long)n->done, (long long)n->required,
             strcmp(q->kind, "critique") == 0 ? "rewrite"
             : strcmp(q->kind, "audit") == 0  ? "re-audit"
                                              : q->kind,
             second, (long long)q->job,
             (long long)q->job, q->gate);
}

struct search {
    const char *gate;
    struct cai_arena *arena;
    struct store_review_queue *ret;
};

static int find_gate(void *context, const struct store_review_queue *q) {
    struct search *x = context;
    if (q->closed || strcmp(q->gate, x->gate) != 0)
        return 0;
    *x->ret = *q;
    x->ret->kind = cai_arena_strdup(x->arena, q->kind);
    x->ret->gate = cai_arena_strdup(x->arena, q->gate);
    return 1;
}

int review_waiting(struct store *s, int64_t job, const char *gate, struct cai_arena *a,
                   struct store_review_queue *ret, struct review_count *ret_n, bool *ret_found) {
    CAI_AUTO(book) struct book b = {0};
    struct search x = {gate, a, ret};
    int rc = *gate ? store_review_queues_each(s, job, find_gate, &x) : 0;
    *ret_found = rc > 0;
    if (rc <= 0)
        return rc;
    CAI_TRY(book_load(s, job, ret->round, ret->kind, &b));
    *ret_n = book_count(&b, ret);
    return 0;
}
