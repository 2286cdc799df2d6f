/* data.c: reads the job's JSONL files once and answers which prompts there are. Not for
 * datasets to train on (dataset.h). */
#include "stage/data.h"

#include "base/rng.h"
#include "base/error.h"
#include "input/similar.h"
#include <stdlib.h>
#include <string.h>

#define ITEM_KIND UINT64_C(1000000000)
/* Kinds beyond these are numbered above the red team's prompts, and above questions of gates. */
#define KINDS_BELOW_RED UINT64_C(9)
#define FIRST_ABOVE UINT64_C(20)
#define ITEM_RED (KINDS_BELOW_RED * ITEM_KIND)
#define ITEM_ROUND ((uint64_t)DATA_RED_MAX)
#define HELD_OUT_SHARE 0.1 /* of prompts, when the job names no file for evaluation */

uint64_t data_item(enum job_data kind, size_t index) {
    uint64_t of = (uint64_t)kind;
    if (of >= KINDS_BELOW_RED)
        of += FIRST_ABOVE - KINDS_BELOW_RED;
    return of * ITEM_KIND + index + 1;
}

uint64_t data_red_item(uint32_t round, size_t index) {
    CAI_CHECK(index < ITEM_ROUND);
    return ITEM_RED + round * ITEM_ROUND + index;
}

const char *data_item_source(uint64_t item) {
    uint64_t of = item / ITEM_KIND;
    if (data_item_is_red(item))
        return "red_team";
    return job_data_name((enum job_data)(of < FIRST_ABOVE ? of : of - FIRST_ABOVE + KINDS_BELOW_RED));
}

json_t *data_messages(const struct turn *turns, size_t n) {
    json_t *o = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(o, json_pack("{s:s, s:s}", "role", turns[i].role, "text",
                                           turns[i].text));
    return o;
}

/* ---- freezing -------------------------------------------------------------------------- */
struct freeze {
    const struct stage_context *c;
    enum job_data kind;
    size_t n;
    struct similar *texts; /* of all files that are split */
    uint64_t *items;       /* by the number in `texts` */
    size_t cap;
};

static json_t *turns_json(const struct input_record *m) {
    json_t *o = json_array();
    for (size_t i = 0; i < m->n; i++)
        json_array_append_new(o, json_pack("{s:s, s:s}", "role", m->turns[i].role, "text",
                                           m->turns[i].text));
    return o;
}

/* The line's other fields, and its replies under the names that the stages read. */
static json_t *row_json(const struct input_record *m) {
    json_t *rest = json_copy(m->rest);
    const json_t *label = json_object_get(rest, "label");
    if (m->reply)
        json_object_set_new(rest, "reply", json_string(m->reply));
    if (m->a && m->p == 1) {
        json_object_set_new(rest, "chosen", json_string(m->a));
        json_object_set_new(rest, "rejected", json_string(m->b));
    } else if (m->a) {
        json_object_set_new(rest, "a", json_string(m->a));
        json_object_set_new(rest, "b", json_string(m->b));
        json_object_set_new(rest, "p", json_real(m->p));
    }
    if (json_is_boolean(label))
        json_object_set_new(rest, "label", json_real(json_is_true(label)));
    return rest;
}

/* What a draw for or against holding out is keyed by must not part prompts that are alike. */
static void note_text(struct freeze *f, uint64_t item, const struct input_record *r) {
    if (f->kind != JOB_DATA_HARMFUL && f->kind != JOB_DATA_HELPFUL && f->kind != JOB_DATA_HUMAN &&
        f->kind != JOB_DATA_CRITIQUES)
        return;
    size_t i = similar_count(f->texts);
    if (i == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 1024;
        f->items = cai_realloc(f->items, f->cap, sizeof *f->items);
    }
    f->items[i] = item;
    similar_add_turns(f->texts, r->turns, r->n);
}

static int freeze_row(void *context, size_t line, const struct input_record *r) {
    struct freeze *f = context;
    (void)line;
    json_t *detail = json_pack("{s:o, s:o}", "messages", turns_json(r), "row", row_json(r));
    CAI_AUTO(mem) char *text = json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(detail);
    CAI_CHECK(text);
    struct store_example e = {
        .job = f->c->job_id, .stage = "data", .item = data_item(f->kind, f->n),
        .kind = job_data_name(f->kind), .principle = "", .revision = "", .model = "",
        .text = r->turns[r->n - 1].text, .detail = text};
    note_text(f, e.item, r);
    f->n++;
    return store_example_add(f->c->store, &e);
}

static int freeze_file(struct freeze *f, enum job_data kind) {
    const char *path = job_data_path(f->c->job, kind);
    struct input_report report = {.file = path};
    struct job_rows rows;
    if (!path)
        return 0;
    f->kind = kind;
    f->n = 0;
    int rc = job_read_data(kind, path, f->c->job->data.skip, &report, freeze_row, f, &rows);
    input_report_free(&report);
    if (rc == 0 && rows.bad) {
        CAI_AUTO(mem) char *text =
            cai_format("data.%s: %zu bad rows were left out, %zu are used (data.skip is %g)",
                       job_data_name(kind), rows.bad, rows.good, f->c->job->data.skip);
        rc = store_event_add(f->c->store, f->c->job_id, 4, text);
    }
    return rc;
}

/* An example "group" for each item that is like an earlier one: data_group() reads it. */
static int freeze_groups(struct freeze *f) {
    similar_group(f->texts);
    for (size_t i = 0; i < similar_count(f->texts); i++) {
        size_t first = similar_of(f->texts, i);
        if (first == i)
            continue;
        CAI_AUTO(mem) char *text = cai_format("%llu", (unsigned long long)f->items[first]);
        struct store_example e = {.job = f->c->job_id, .stage = "data", .item = f->items[i],
                                  .kind = "group", .principle = "", .revision = "", .model = "",
                                  .text = text, .detail = "{}"};
        CAI_TRY(store_example_add(f->c->store, &e));
    }
    return 0;
}

int data_group(const struct stage_context *c, uint64_t item, uint64_t *ret) {
    CAI_AUTO(mem) char *text = NULL;
    *ret = item;
    int rc = store_example_get(c->store, c->job_id, 0, "data", item, "group", 0, &text, NULL);
    if (rc == CAI_ENOTFOUND) { /* like no other */
        cai_error_clear();
        return 0;
    }
    if (rc == 0)
        *ret = strtoull(text, NULL, 10);
    return rc;
}

int data_ensure(const struct stage_context *c) {
    int64_t n;
    CAI_TRY(store_examples_count(c->store, c->job_id, 0, "data", NULL, &n));
    if (n > 0)
        return 0;
    struct freeze f = {.c = c, .texts = similar_new(c->job->data.near)};
    int rc = 0;
    for (int k = 0; k < JOB_DATA_FILES && rc == 0; k++)
        rc = freeze_file(&f, (enum job_data)k);
    if (rc == 0)
        rc = freeze_groups(&f);
    similar_free(f.texts);
    free(f.items);
    return rc;
}

int data_count(const struct stage_context *c, enum job_data kind, size_t *ret) {
    int64_t n;
    CAI_TRY(store_examples_count(c->store, c->job_id, 0, "data", job_data_name(kind), &n));
    *ret = (size_t)n;
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------- */
static int load_turns(const json_t *detail, struct cai_arena *a, struct dialog *ret) {
    const json_t *messages = json_object_get(detail, "messages"), *m;
    size_t i;
    ret->n = json_array_size(messages);
    ret->turns = cai_arena_array(a, ret->n ? ret->n : 1, sizeof *ret->turns);
    json_array_foreach(messages, i, m) {
        ret->turns[i].role = cai_arena_strdup(a, json_string_value(json_object_get(m, "role")));
        ret->turns[i].text = cai_arena_strdup(a, json_string_value(json_object_get(m, "text")));
    }
    return ret->n ? 0 : CAI_ENOTFOUND;
}

int data_dialog(const struct stage_context *c, uint64_t item, struct cai_arena *a,
                struct dialog *ret) {
    CAI_AUTO(mem) char *text = NULL, *detail = NULL;
    *ret = (struct dialog){0};
    if (data_item_is_red(item)) {
        uint32_t round = (uint32_t)((item - ITEM_RED) / ITEM_ROUND);
        CAI_TRY(store_example_get(c->store, c->job_id, round, "red_team", item, "prompt", 0, &text,
                                  &detail));
        ret->n = 1;
        ret->turns = cai_arena_array(a, 1, sizeof *ret->turns);
        ret->turns[0] = (struct turn){"user", cai_arena_strdup(a, text)};
        return 0;
    }
    CAI_TRY(store_example_get(c->store, c->job_id, 0, "data", item, data_item_source(item), 0,
                              &text, &detail));
    json_t *o = json_loads(detail, 0, NULL);
    CAI_CHECK(o);
    ret->row = json_incref(json_object_get(o, "row"));
    int rc = load_turns(o, a, ret);
    json_decref(o);
    return rc;
}

void data_dialog_free(struct dialog *d) {
    json_decref(d->row);
    d->row = NULL;
}

/* ---- choosing ---------------------------------------------------------------------------- */
/* People's pairs and the classifier's rows are no prompts to ask. */
static int kept_out(const struct stage_context *c, uint64_t item, bool *ret) {
    uint64_t group;
    *ret = false;
    if (c->job->data.evaluate || item > 2 * ITEM_KIND)
        return 0;
    CAI_TRY(data_group(c, item, &group));
    *ret = cai_rng_uniform(cai_key_make(c->job->seed, 0, "data/held_out", group, 0), 0) <
           HELD_OUT_SHARE;
    return 0;
}

static int pool(const struct stage_context *c, enum job_data kind, bool held_out,
                struct cai_arena *a, struct items *ret) {
    size_t n;
    bool kept = false;
    CAI_TRY(data_count(c, kind, &n));
    *ret = (struct items){cai_arena_array(a, n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < n; i++) {
        CAI_TRY(kept_out(c, data_item(kind, i), &kept));
        if (kept == held_out)
            ret->at[ret->n++] = data_item(kind, i);
    }
    return 0;
}

int data_pool(const struct stage_context *c, enum job_data kind, struct cai_arena *a,
              struct items *ret) {
    return pool(c, kind, false, a, ret);
}

static int items_order(const void *x, const void *y) {
    const uint64_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

void items_sort(struct items *io) {
    if (io->n)
        qsort(io->at, io->n, sizeof *io->at, items_order);
}

bool items_have(const struct items *sorted, uint64_t item) {
    return sorted->n && bsearch(&item, sorted->at, sorted->n, sizeof item, items_order);
}

void items_take(const struct stage_context *c, uint32_t round, const char *what, size_t limit,
                struct items *io) {
    if (limit == 0 || limit >= io->n)
        return;
    uint32_t *perm = cai_realloc(NULL, io->n, sizeof *perm);
    uint64_t *taken = cai_realloc(NULL, limit, sizeof *taken);
    cai_rng_permutation(cai_key_make(c->job->seed, round, what, 0, 0), io->n, perm);
    for (size_t i = 0; i < limit; i++)
        taken[i] = io->at[perm[i]];
    memcpy(io->at, taken, limit * sizeof *taken);
    io->n = limit;
    free(taken);
    free(perm);
    items_sort(io);
}

struct filter {
    struct cai_arena *arena;
    struct items *items;
    size_t cap;
    const char *kind;
    uint32_t first, last;
};

static void push(struct filter *f, uint64_t item) {
    if (f->items->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 256;
        uint64_t *grown = cai_arena_array(f->arena, cap, sizeof *grown);
        if (f->cap)
            memcpy(grown, f->items->at, f->cap * sizeof *grown);
        f->items->at = grown;
        f->cap = cap;
    }
    f->items->at[f->items->n++] = item;
}

static int take_failing(void *context, const struct store_example *e) {
    struct filter *f = context;
    if (e->round >= f->first && e->round <= f->last)
        push(f, e->item);
    return 0;
}

int data_red_pool(const struct stage_context *c, uint32_t round, bool this_round_only,
                  struct cai_arena *a, struct items *ret) {
    *ret = (struct items){0};
    struct filter f = {a, ret, 0, NULL, this_round_only ? round : 1, round};
    CAI_TRY(store_examples_each(c->store, c->job_id, this_round_only ? round : 0, "red_team",
                                "failing", take_failing, &f));
    items_sort(ret);
    return 0;
}

static int take_kind(void *context, const struct store_example *e) {
    struct filter *f = context;
    json_t *detail = json_loads(e->detail, 0, NULL);
    const char *kind = json_string_value(json_object_get(json_object_get(detail, "row"), "kind"));
    if (kind && strcmp(kind, f->kind) == 0)
        push(f, e->item);
    json_decref(detail);
    return 0;
}

int data_held_out(const struct stage_context *c, const char *kind, size_t limit,
                  struct cai_arena *a, struct items *ret) {
    *ret = (struct items){0};
    if (c->job->data.evaluate) {
        struct filter f = {a, ret, 0, kind, 0, 0};
        CAI_TRY(store_examples_each(c->store, c->job_id, 0, "data", "evaluate", take_kind, &f));
    } else if (strcmp(kind, "lookalike") != 0) {
        CAI_TRY(pool(c, strcmp(kind, "harmful") == 0 ? JOB_DATA_HARMFUL : JOB_DATA_HELPFUL, true, a, ret));
    }
    CAI_AUTO(mem) char *what = cai_format("evaluate/%s", kind);
    items_take(c, 0, what, limit, ret);
    return 0;
}

/* ---- texts of the stages ------------------------------------------------------------------ */
int example_put(const struct stage_context *c, uint64_t item, uint32_t k, const char *kind,
                const char *text, const char *principle, const char *model, json_t *detail) {
    CAI_AUTO(mem) char *json = detail ? json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(detail);
    struct store_example e = {.job = c->job_id, .round = c->round, .stage = c->stage,
                              .item = item, .k = k, .kind = kind, .text = text,
                              .principle = principle ? principle : "",
                              .revision = c->constitution->revision, .model = model,
                              .detail = json ? json : "{}"};
    return store_example_add(c->store, &e);
}

static int keep_example(void *context, const struct store_example *e) {
    struct examples *l = context;
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        struct store_example *grown = cai_arena_array(l->arena, l->cap, sizeof *grown);
        if (l->n)
            memcpy(grown, l->at, l->n * sizeof *grown);
        l->at = grown;
    }
    struct store_example *o = &l->at[l->n++];
    *o = *e;
    o->stage = cai_arena_strdup(l->arena, e->stage);
    o->kind = cai_arena_strdup(l->arena, e->kind);
    o->text = cai_arena_strdup(l->arena, e->text);
    o->principle = cai_arena_strdup(l->arena, e->principle);
    o->revision = cai_arena_strdup(l->arena, e->revision);
    o->model = cai_arena_strdup(l->arena, e->model);
    o->detail = cai_arena_strdup(l->arena, e->detail);
    return 0;
}

int examples_load(const struct stage_context *c, uint32_t round, const char *stage,
                  const char *kind, struct cai_arena *a, struct examples *ret) {
    *ret = (struct examples){.arena = a};
    return store_examples_each(c->store, c->job_id, round, stage, kind, keep_example, ret);
}

const struct store_example *examples_find(const struct examples *e, uint64_t item, uint32_t k) {
    size_t low = 0, high = e->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct store_example *m = &e->at[middle];
        if (m->item < item || (m->item == item && m->k < k))
            low = middle + 1;
        else
            high = middle;
    }
    return low < e->n && e->at[low].item == item && e->at[low].k == k ? &e->at[low] : NULL;
}

double example_number(const struct store_example *e, const char *name, double otherwise) {
    json_t *o = json_loads(e->detail, 0, NULL);
    const json_t *v = json_object_get(o, name);
    double number = json_is_number(v) ? json_number_value(v) : otherwise;
    json_decref(o);
    return number;
}

bool example_flag(const struct store_example *e, const char *name) {
    json_t *o = json_loads(e->detail, 0, NULL);
    bool on = json_is_true(json_object_get(o, name));
    json_decref(o);
    return on;
}
