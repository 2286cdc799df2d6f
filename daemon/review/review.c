/* review.c: what a reader is shown of an item, and what a reader says. Who may, and what is to be
 * read: list.c; where review stands: progress.c; exports and the audit:
 * export.c. */
#include "review/review.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "review/internal.h"
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 64 << 10, TEXT_BYTES = 32 << 10 };

static const struct reading *reading_of(const struct reading *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].reader, name) == 0)
            return &list[i];
    return NULL;
}

/* ---- one item ------------------------------------------------------------------------------ */

struct desk { /* an item before one reader */
    struct store *s;
    const struct reviewer *who;
    struct book book;
    struct book_item *item;
    struct store_job job;
    struct store_review_draft draft;
    bool open; /* its job waits for this queue */
};

static void desk_clear(struct desk *d) {
    book_free(&d->book);
    store_job_free(&d->job);
    free(d->draft.body);
}

struct gate_search {
    const struct book_item *item;
    char gate[32];
    bool closed;
};

static int find_queue(void *context, const struct store_review_queue *q) {
    struct gate_search *x = context;
    if (q->round != x->item->row.round || strcmp(q->kind, x->item->row.kind) != 0)
        return 0;
    snprintf(x->gate, sizeof x->gate, "%s", q->gate);
    x->closed = q->closed;
    return 1;
}

static int desk_fill(struct desk *d, int64_t item) {
    CAI_TRY(book_load_one(d->s, item, &d->book));
    d->item = &d->book.at[0];
    CAI_TRY(review_job(d->s, d->who, d->item->row.job, &d->job));
    struct gate_search x = {.item = d->item};
    int rc = store_review_queues_each(d->s, d->item->row.job, find_queue, &x);
    if (rc < 0)
        return rc;
    d->open = !x.closed && d->job.state == JOB_WAITING_REVIEW && strcmp(d->job.gate, x.gate) == 0;
    return store_review_draft_get(d->s, item, d->who->name, &d->draft);
}

static int desk_set(struct store *s, const struct reviewer *who, int64_t item, struct desk *ret) {
    *ret = (struct desk){.s = s, .who = who};
    CAI_TRY(review_may(who));
    int rc = desk_fill(ret, item);
    if (rc < 0)
        desk_clear(ret);
    return rc;
}

/* "keep", "reject" or "edit" of one critique, as the reader last had it. */
static json_t *critique_state(const json_t *said, int64_t id) {
    json_t *x;
    size_t i;
    json_array_foreach(json_object_get(said, "critiques"), i, x)
        if (json_integer_value(json_object_get(x, "id")) == id)
            return json_incref(json_object_get(x, "state"));
    return json_null();
}

static json_t *critiques_json(const struct desk *d, const json_t *said) {
    json_t *o = json_array(), *x;
    size_t i;
    json_array_foreach(json_object_get(book_content(d->item), "critiques"), i, x) {
        json_t *copy = json_copy(x);
        json_t *state = critique_state(said, json_integer_value(json_object_get(x, "id")));
        json_object_set_new(copy, "state", state ? state : json_null());
        json_array_append_new(o, copy);
    }
    return o;
}

static json_t *first_json(const struct reading *first) {
    return first ? json_pack("{s:i, s:i}", "verdict", first->verdict, "severity", first->severity)
                 : json_null();
}

static json_t *item_json(const struct desk *d) {
    const struct book_item *i = d->item;
    const struct reading *first = reading_of(i->first, i->n_first, d->who->name);
    const struct reading *final = reading_of(i->final, i->n_final, d->who->name);
    json_t *draft = *d->draft.body ? json_loads(d->draft.body, 0, NULL) : NULL;
    const json_t *said = final ? final->body : draft;
    const json_t *content = book_content(i);
    bool help = !i->row.unaided || first;
    const char *state = final ? "mine" : !d->open ? "closed" : review_state_name(i, draft != NULL);
    json_t *o = json_pack("{s:I, s:I, s:i, s:s, s:s, s:O, s:O, s:O, s:O, s:b, s:o, s:o, s:I}", "id",
                          (json_int_t)i->row.id, "job", (json_int_t)i->row.job, "round",
                          (int)i->row.round, "kind", i->row.kind, "state", state, "principle",
                          json_object_get(content, "principle"), "question",
                          json_object_get(content, "question"), "messages",
                          json_object_get(content, "messages"), "replies",
                          json_object_get(content, "replies"), "unaided", i->row.unaided, "first",
                          first_json(first), "critiques",
                          help ? critiques_json(d, said) : json_array(), "version",
                          (json_int_t)d->draft.version);
    json_t *speeches = help ? json_object_get(content, "speeches") : NULL;
    json_object_set_new(o, "speeches", speeches ? json_incref(speeches) : json_array());
    json_object_set_new(o, "draft", draft ? draft : json_null());
    json_object_set(o, "verdict", final ? final->body : json_null());
    return o;
}

static int answer(const struct desk *d, json_t **ret) {
    *ret = item_json(d);
    return *ret ? 0 : cai_fail(CAI_EINTERNAL, "item %lld cannot be shown",
                               (long long)d->item->row.id);
}

static int commit(struct store *s, int rc) {
    if (rc == 0)
        rc = CAI_FAILPOINT("review.commit.before");
    if (rc == 0)
        rc = store_commit(s);
    if (rc < 0)
        store_rollback(s);
    else
        (void)CAI_FAILPOINT("review.commit.after");
    return rc;
}

int review_open(struct store *s, const struct reviewer *who, int64_t item, json_t **ret) {
    struct desk d;
    CAI_TRY(desk_set(s, who, item, &d));
    int rc = 0;
    if (d.open) {
        rc = store_begin(s);
        if (rc == 0)
            rc = commit(s, store_review_opened(s, item, who->name));
    }
    if (rc == 0)
        rc = answer(&d, ret);
    desk_clear(&d);
    return rc;
}

/* ---- checking what was said ------------------------------------------------------------------ */

static int wrong(const char *member, const char *expected) {
    return cai_fail(CAI_EINPUT, "verdict: \"%s\": expected %s", member, expected);
}

static int whole(const json_t *o, const char *member, int low, int high, bool needed) {
    const json_t *v = json_object_get(o, member);
    char expected[64];
    if (!v && !needed)
        return 0;
    snprintf(expected, sizeof expected, "a whole number from %d to %d", low, high);
    if (!json_is_integer(v) || json_integer_value(v) < low || json_integer_value(v) > high)
        return wrong(member, expected);
    return 0;
}

static int members(const json_t *o, const char *const *known, size_t n) {
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "verdict: expected a JSON object");
    json_object_foreach((json_t *)o, key, v) {
        size_t i = 0;
        while (i < n && strcmp(known[i], key) != 0)
            i++;
        if (i == n)
            return cai_fail(CAI_EINPUT, "verdict: unknown member \"%.60s\"", key);
    }
    return 0;
}

static int check_text(const json_t *v, const char *member) {
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v) || json_string_length(v) > TEXT_BYTES)
        return wrong(member, "text of at most 32 KiB");
    return strlen(json_string_value(v)) == json_string_length(v) ? 0
                                                                 : wrong(member, "text without NUL");
}

static int check_critique(const struct desk *d, const json_t *c) {
    static const char *const known[] = {"id", "state", "text"};
    const char *state = json_string_value(json_object_get(c, "state"));
    json_t *x;
    size_t i;
    CAI_TRY(members(c, known, CAI_COUNT(known)));
    CAI_TRY(check_text(json_object_get(c, "text"), "critiques.text"));
    bool edit = state && strcmp(state, "edit") == 0;
    const char *text = json_string_value(json_object_get(c, "text"));
    if (!state || (!edit && strcmp(state, "keep") != 0 && strcmp(state, "reject") != 0))
        return wrong("critiques.state", "keep, reject or edit");
    if (edit && (!text || !*text))
        return wrong("critiques.text", "the critique as you would have it");
    json_array_foreach(json_object_get(book_content(d->item), "critiques"), i, x)
        if (json_equal(json_object_get(x, "id"), json_object_get(c, "id")))
            return 0;
    return cai_fail(CAI_ENOTFOUND, "item %lld has no such critique", (long long)d->item->row.id);
}

static int check_verdict(const struct desk *d, const json_t *o) {
    static const char *const known[] = {"verdict", "severity", "critiques", "own", "edit", "note"};
    const json_t *list = json_object_get(o, "critiques"), *own = json_object_get(o, "own");
    const char *edit = json_string_value(json_object_get(o, "edit"));
    json_t *x;
    size_t i;
    CAI_TRY(members(o, known, CAI_COUNT(known)));
    CAI_TRY(whole(o, "verdict", 1, 7, true));
    CAI_TRY(whole(o, "severity", 0, 4, false));
    CAI_TRY(check_text(json_object_get(o, "edit"), "edit"));
    CAI_TRY(check_text(json_object_get(o, "note"), "note"));
    if (edit && *edit && strcmp(d->item->row.kind, "critique") != 0)
        return wrong("edit", "none: only a rewrite has a text to be bettered");
    if ((list && !json_is_array(list)) || (own && !json_is_array(own)))
        return wrong(own && !json_is_array(own) ? "own" : "critiques", "a list");
    json_array_foreach(list, i, x) CAI_TRY(check_critique(d, x));
    json_array_foreach(own, i, x) {
        if (!json_is_string(x))
            return wrong("own", "a list of texts");
        CAI_TRY(check_text(x, "own"));
    }
    if (json_dumpb(o, NULL, 0, JSON_COMPACT) > BODY_MAX)
        return cai_fail(CAI_ELIMIT, "verdict: longer than 64 KiB");
    return 0;
}

/* That this reader can still say something of it. */
static int check_moment(const struct desk *d) {
    const struct book_item *i = d->item;
    if (review_has_read(i->final, i->n_final, d->who->name))
        return cai_fail(CAI_ESTATE, "item %lld: you have given your verdict; 'u' (caictl review "
                        "undo) takes the last one back", (long long)i->row.id);
    if (!d->open)
        return cai_fail(CAI_ESTATE, "item %lld: job %lld does not wait for it any more (%s)",
                        (long long)i->row.id, (long long)i->row.job,
                        job_state_name(d->job.state));
    if (!i->row.gold && i->n_final > 2)
        return cai_fail(CAI_ESTATE, "item %lld: others have decided it", (long long)i->row.id);
    return 0;
}

/* ---- saying -------------------------------------------------------------------------------- */

/* A row of the log, with when the reader opened the item; body is taken. */
static int append(const struct desk *d, const char *event, json_t *body, int64_t undoes) {
    if (d->draft.opened_ms)
        json_object_set_new(body, "opened_ms", json_integer(d->draft.opened_ms));
    CAI_AUTO(mem) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    struct store_review_event e = {.job = d->item->row.job, .item = d->item->row.id,
                                   .reader = d->who->name,
                                   .role = reviewer_role_name(d->who->role), .event = event,
                                   .body = text, .undoes = undoes};
    return store_review_append(d->s, &e);
}

/* What the job waits for, anew. */
static int tell_job(const struct desk *d, struct review_count *ret_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct store_review_queue q;
    char reason[512];
    bool found;
    CAI_TRY(review_waiting(d->s, d->item->row.job, d->job.gate, &a, &q, ret_n, &found));
    if (!found)
        return 0;
    review_reason(&q, ret_n, reason, sizeof reason);
    return store_job_set_state(d->s, d->item->row.job, JOB_WAITING_REVIEW, reason, q.gate);
}

/* {"id", "state", "done", "required", "pending", "next"}. */
static int after_json(const struct desk *d, const struct review_count *n, json_t **ret) {
    CAI_AUTO(book) struct book b = {0};
    json_t *queue = NULL;
    int64_t done = n->done < n->required ? n->done : n->required;
    CAI_TRY(book_load_one(d->s, d->item->row.id, &b));
    CAI_TRY(review_queue(d->s, d->who, d->item->row.job, &queue));
    json_t *next = json_object_get(json_array_get(json_object_get(queue, "items"), 0), "id");
    bool final = b.at[0].state == REVIEW_FINAL || b.at[0].row.gold;
    *ret = json_pack("{s:I, s:s, s:I, s:I, s:I, s:O}", "id", (json_int_t)d->item->row.id, "state",
                     final ? "final" : review_state_name(&b.at[0], false), "done", (json_int_t)done,
                     "required", (json_int_t)n->required, "pending",
                     (json_int_t)(n->required - done), "next", next ? next : json_null());
    json_decref(queue);
    return 0;
}

int review_first(struct store *s, const struct reviewer *who, int64_t item, const json_t *verdict,
                 json_t **ret) {
    static const char *const known[] = {"verdict", "severity"};
    struct desk d;
    CAI_TRY(desk_set(s, who, item, &d));
    int rc = check_moment(&d);
    if (rc == 0 && !d.item->row.unaided)
        rc = cai_fail(CAI_ESTATE, "item %lld wants no first verdict", (long long)item);
    if (rc == 0 && review_has_read(d.item->first, d.item->n_first, who->name))
        rc = cai_fail(CAI_ESTATE, "item %lld: your first verdict stands; help was shown since",
                      (long long)item);
    if (rc == 0)
        rc = members(verdict, known, CAI_COUNT(known));
    if (rc == 0)
        rc = whole(verdict, "verdict", 1, 7, true);
    if (rc == 0)
        rc = whole(verdict, "severity", 0, 4, false);
    if (rc == 0)
        rc = store_begin(s);
    if (rc == 0)
        rc = commit(s, append(&d, "first", json_copy((json_t *)verdict), 0));
    desk_clear(&d);
    return rc < 0 ? rc : review_open(s, who, item, ret);
}

int review_draft(struct store *s, const struct reviewer *who, int64_t item, int64_t version,
                 const json_t *draft, json_t **ret) {
    struct desk d;
    int64_t now = 0;
    if (!json_is_object(draft) || json_dumpb(draft, NULL, 0, JSON_COMPACT) > BODY_MAX)
        return cai_fail(CAI_EINPUT, "draft: expected an object of at most 64 KiB");
    CAI_TRY(desk_set(s, who, item, &d));
    int rc = check_moment(&d);
    if (rc == 0)
        rc = store_begin(s);
    if (rc == 0) {
        CAI_AUTO(mem) char *text = json_dumps(draft, JSON_COMPACT | JSON_SORT_KEYS);
        rc = commit(s, store_review_draft_set(s, item, who->name, version, text, &now));
    }
    desk_clear(&d);
    if (rc == 0)
        *ret = json_pack("{s:I}", "version", (json_int_t)now);
    return rc;
}

static int say(struct desk *d, const char *event, json_t *body, json_t **ret) {
    struct review_count n = {0};
    int rc = store_begin(d->s);
    if (rc < 0) {
        json_decref(body);
        return rc;
    }
    rc = append(d, event, body, 0);
    CAI_TRY(commit(d->s, rc < 0 ? rc : tell_job(d, &n)));
    return after_json(d, &n, ret);
}

int review_submit(struct store *s, const struct reviewer *who, int64_t item,
                  const json_t *verdict, json_t **ret) {
    struct desk d;
    CAI_TRY(desk_set(s, who, item, &d));
    int rc = check_moment(&d);
    if (rc == 0 && d.item->row.unaided && !review_has_read(d.item->first, d.item->n_first, who->name))
        rc = cai_fail(CAI_ESTATE, "item %lld wants your first verdict before any help",
                      (long long)item);
    if (rc == 0)
        rc = check_verdict(&d, verdict);
    if (rc == 0)
        rc = say(&d, "final", json_copy((json_t *)verdict), ret);
    desk_clear(&d);
    return rc;
}

static int find_skip(void *context, const struct store_review_event *e) {
    (void)context;
    return strcmp(e->event, "skip") == 0;
}

/* A repeated request says nothing twice. */
static int check_skip(const struct desk *d) {
    int rc = store_review_log_each(d->s, d->item->row.job, d->item->row.id, d->who->name, true, 0,
                                   find_skip, NULL);
    return rc > 0 ? cai_fail(CAI_ESTATE, "item %lld: you have skipped it",
                             (long long)d->item->row.id) : rc;
}

int review_skip(struct store *s, const struct reviewer *who, int64_t item, const char *reason,
                json_t **ret) {
    struct desk d;
    if (!reason || !reason[strspn(reason, " \t\r\n")] || strlen(reason) > 2000)
        return cai_fail(CAI_EINPUT, "say why it is skipped, in at most 2,000 bytes");
    CAI_TRY(desk_set(s, who, item, &d));
    int rc = check_moment(&d);
    if (rc == 0)
        rc = check_skip(&d);
    if (rc == 0)
        rc = say(&d, "skip", json_pack("{s:s}", "reason", reason), ret);
    desk_clear(&d);
    return rc;
}

/* ---- taking back ------------------------------------------------------------------------------ */

struct last_said {
    int64_t seq, item;
    char event[16];
    char *body;
};

static int keep_last(void *context, const struct store_review_event *e) {
    struct last_said *l = context;
    if (strcmp(e->event, "first") == 0)
        return 0;
    free(l->body);
    *l = (struct last_said){.seq = e->seq, .item = e->item, .body = cai_strdup(e->body)};
    snprintf(l->event, sizeof l->event, "%s", e->event);
    return 0;
}

static int withdraw(struct desk *d, const struct last_said *l) {
    struct review_count n = {0};
    int64_t version;
    CAI_TRY(append(d, "undo", json_object(), l->seq));
    if (strcmp(l->event, "final") == 0) {
        json_t *body = json_loads(l->body, 0, NULL);
        json_object_del(body, "opened_ms");
        CAI_AUTO(mem) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(body);
        CAI_TRY(store_review_draft_set(d->s, l->item, d->who->name, d->draft.version, text,
                                       &version));
    }
    return tell_job(d, &n);
}

static int undo_last(struct store *s, const struct reviewer *who, const struct last_said *l,
                     int (*note)(const void *context, const json_t *answer), const void *context,
                     const json_t *answer) {
    struct desk d;
    CAI_TRY(desk_set(s, who, l->item, &d));
    int rc = 0;
    if (!d.open)
        rc = cai_fail(CAI_ESTATE, "item %lld: job %lld has gone on with that verdict",
                      (long long)l->item, (long long)d.item->row.job);
    if (rc == 0)
        rc = store_begin(s);
    if (rc == 0) {
        rc = withdraw(&d, l);
        if (rc == 0 && note)
            rc = note(context, answer);
        rc = commit(s, rc);
    }
    desk_clear(&d);
    return rc;
}

int review_undo(struct store *s, const struct reviewer *who,
                int (*note)(const void *context, const json_t *answer), const void *context,
                json_t **ret) {
    struct last_said l = {0};
    CAI_TRY(review_may(who));
    int rc = store_review_log_each(s, 0, 0, who->name, true, 0, keep_last, &l);
    if (rc == 0 && !l.seq)
        rc = cai_fail(CAI_ESTATE, "you have said nothing that could be taken back");
    json_t *answer = json_pack("{s:I, s:s}", "id", (json_int_t)l.item, "undone", l.event);
    if (rc == 0)
        rc = undo_last(s, who, &l, note, context, answer);
    if (rc == 0)
        *ret = json_incref(answer);
    json_decref(answer);
    free(l.body);
    return rc;
}
