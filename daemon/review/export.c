/* export.c: verdicts as rows for other programs, and the audit of their log. */
#include "base/error.h"
#include "base/file.h"
#include "review/internal.h"
#include <string.h>

enum { PAGE_ROWS = 200, PAGE_BYTES = 600 << 10 };

struct exporter {
    struct store *s;
    json_t *rows;
    int64_t after, seen, next; /* next: −1 at the end */
    size_t bytes;
};

/* Whether the row of this number is on the page; 1 from `put` when that is full. */
static bool wants(struct exporter *x) { return x->seen++ >= x->after; }

static int put(struct exporter *x, json_t *row) {
    size_t bytes = json_dumpb(row, NULL, 0, JSON_COMPACT) + 2;
    size_t n = json_array_size(x->rows);
    if (n && (n == PAGE_ROWS || x->bytes + bytes > PAGE_BYTES)) {
        json_decref(row);
        x->next = x->seen - 1;
        return 1;
    }
    x->bytes += bytes;
    json_array_append_new(x->rows, row);
    return 0;
}

/* ---- preferences ----------------------------------------------------------------------------- */

static json_t *messages(const json_t *from) {
    json_t *o = json_array(), *x;
    size_t i;
    json_array_foreach(from, i, x)
        json_array_append_new(o, json_pack("{s:O, s:O}", "role", json_object_get(x, "role"),
                                           "content", json_object_get(x, "text")));
    return o;
}

static json_t *assistant(const char *text) {
    return json_pack("[{s:s, s:s}]", "role", "assistant", "content", text);
}

static const char *reply(const struct book_item *i, size_t which) {
    const json_t *list = json_object_get(book_content(i), "replies");
    return json_string_value(json_object_get(json_array_get(list, which), "text"));
}

/* What a reader wrote in place of a rewrite; NULL. */
static const char *edit_of(const struct book_item *i) {
    const char *edit = NULL;
    for (size_t k = 0; k < i->n_final; k++) {
        const char *text = json_string_value(json_object_get(i->final[k].body, "edit"));
        edit = text && *text ? text : edit;
    }
    return edit;
}

static json_t *readers(const struct book_item *i) {
    json_t *o = json_array();
    for (size_t k = 0; k < i->n_final; k++)
        json_array_append_new(o, json_string(i->final[k].reader));
    return o;
}

static json_t *pair_json(const struct book_item *i) {
    const char *edit = edit_of(i);
    bool flipped = json_is_true(json_object_get(book_kept(i), "flipped")), first = i->verdict < 4;
    const char *chosen = edit ? edit : reply(i, first ? 0 : 1);
    const char *rejected = edit ? reply(i, flipped ? 1 : 0) : reply(i, first ? 1 : 0);
    double p = (first ? 7 - i->verdict : i->verdict - 1) / 6;
    return json_pack("{s:o, s:o, s:o, s:I, s:i, s:s, s:f, s:f, s:o, s:O, s:b}", "prompt",
                     messages(json_object_get(book_content(i), "messages")), "chosen",
                     assistant(chosen), "rejected", assistant(rejected), "id",
                     (json_int_t)i->row.id, "round", (int)i->row.round, "kind", i->row.kind,
                     "verdict", i->verdict, "p", edit ? 1.0 : p, "readers", readers(i),
                     "principle", json_object_get(book_content(i), "principle"), "edited",
                     edit != NULL);
}

static int export_pairs(struct exporter *x, int64_t job) {
    CAI_AUTO(book) struct book b = {0};
    CAI_TRY(book_load(x->s, job, -1, NULL, &b));
    for (size_t k = 0; k < b.n; k++) {
        const struct book_item *i = &b.at[k];
        bool pair = strcmp(i->row.kind, "grade") != 0 && !i->row.gold && i->n_final > 0 &&
                    i->state != REVIEW_DISPUTED && (i->verdict != 4 || edit_of(i));
        if (pair && wants(x) && put(x, pair_json(i)))
            return 0;
    }
    return 0;
}

/* ---- the audit --------------------------------------------------------------------------------- */

static int put_item(void *context, const struct store_review_item *i) {
    struct exporter *x = context;
    char hash[CAI_SHA256_HEX];
    if (!wants(x))
        return 0;
    cai_sha256(i->content, strlen(i->content), hash);
    json_t *content = json_loads(i->content, 0, NULL);
    return put(x, json_pack("{s:s, s:I, s:I, s:i, s:s, s:I, s:I, s:i, s:s, s:b, s:b, s:b, s:s, s:o}",
                            "type", "item", "id", (json_int_t)i->id, "job", (json_int_t)i->job,
                            "round", (int)i->round, "kind", i->kind, "item", (json_int_t)i->item,
                            "k", (json_int_t)i->k, "position", (int)i->position, "drawn", i->drawn,
                            "gold", i->gold, "unaided", i->unaided, "second", i->second,
                            "content_sha256", hash, "content", content));
}

/* The body stays text: so the hash can be worked out again. */
static int put_event(void *context, const struct store_review_event *e) {
    struct exporter *x = context;
    if (!wants(x))
        return 0;
    return put(x, json_pack("{s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "type",
                            "event", "seq", (json_int_t)e->seq, "job", (json_int_t)e->job, "item",
                            (json_int_t)e->item, "reader", e->reader, "role", e->role, "event",
                            e->event, "body", e->body, "undoes", (json_int_t)e->undoes, "wall_ms",
                            (json_int_t)e->wall_ms, "prev", e->prev, "hash", e->hash));
}

static int export_audit(struct exporter *x, int64_t job) {
    int rc = store_review_items_each(x->s, job, -1, NULL, put_item, x);
    if (rc == 0)
        rc = store_review_log_each(x->s, job, 0, NULL, false, 0, put_event, x);
    return rc < 0 ? rc : 0;
}

int review_export(struct store *s, const struct reviewer *who, int64_t job, const char *what,
                  int64_t after, json_t **ret) {
    struct exporter x = {.s = s, .after = after, .next = -1};
    struct store_job row;
    bool audit = strcmp(what, "audit") == 0;
    if (!audit && strcmp(what, "pairs") != 0)
        return cai_fail(CAI_EINPUT, "there is no export '%.40s' of a review; there are: pairs audit",
                        what);
    CAI_TRY(review_job(s, who, job, &row));
    bool waits = row.state == JOB_WAITING_REVIEW;
    store_job_free(&row);
    if (waits && who->role == REVIEWER_REVIEWER)
        return cai_fail(CAI_EAUTH, "job %lld still waits: what others said of it, and which items "
                        "have a known answer, is for its owner and administrators until it goes on",
                        (long long)job);
    x.rows = json_array();
    int rc = audit ? export_audit(&x, job) : export_pairs(&x, job);
    if (rc == 0)
        *ret = json_pack("{s:O, s:o}", "rows", x.rows, "next",
                         x.next < 0 ? json_null() : json_integer(x.next));
    json_decref(x.rows);
    return rc;
}

int review_audit(struct store *s, const struct reviewer *who, const char *head, json_t **ret) {
    char why[200], last[65];
    int64_t broken, rows;
    bool known = false;
    CAI_TRY(review_may(who));
    CAI_TRY(store_review_head(s, &rows, last));
    bool asked = head && *head;
    CAI_TRY(store_review_verify(s, asked ? head : NULL, &broken, why, sizeof why, &known));
    *ret = json_pack("{s:I, s:s, s:b}", "rows", (json_int_t)rows, "head", last, "whole",
                     broken == 0);
    if (broken) {
        json_object_set_new(*ret, "broken", json_integer(broken));
        json_object_set_new(*ret, "why", json_string(why));
    }
    if (asked)
        json_object_set_new(*ret, "known", json_boolean(known));
    return 0;
}
