/* data.c: reads the job's JSONL files once and answers which prompts there are. Not for
 * datasets to train on (dataset.h). */
#include "stage/data.h"

#include "base/rng.h"
#include "base/error.h"
#include "input/jsonl.h"
#include <stdlib.h>
#include <string.h>

#define ITEM_KIND UINT64_C(1000000000)
#define ITEM_RED (9 * ITEM_KIND)
#define ITEM_ROUND ((uint64_t)DATA_RED_MAX)
#define HELD_OUT_SHARE 0.1 /* of prompts, when the job names no file for evaluation */

static const char *const kind_names[DATA_KINDS] = {"harmful", "helpful", "evaluate", "human",
                                                   "classifier"};

uint64_t data_item(enum data_kind kind, size_t index) {
    return (uint64_t)kind * ITEM_KIND + index + 1;
}

uint64_t data_red_item(uint32_t round, size_t index) {
    CAI_CHECK(index < ITEM_ROUND);
    return ITEM_RED + round * ITEM_ROUND + index;
}

const char *data_kind_name(enum data_kind kind) { return kind_names[kind]; }

const char *data_item_source(uint64_t item) {
    return data_item_is_red(item) ? "red_team" : kind_names[item / ITEM_KIND % DATA_KINDS];
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
    enum data_kind kind;
    const char *path;
    size_t n;
};

static int bad(const struct freeze *f, size_t line, const char *what, const char *help) {
    return cai_fail(CAI_EINPUT, "%s:%zu: %s; %s", f->path, line, what, help);
}

static int check_human(const struct freeze *f, size_t line, json_t *rest) {
    const json_t *chosen = json_object_get(rest, "chosen"), *a = json_object_get(rest, "a");
    const json_t *rejected = json_object_get(rest, "rejected"), *b = json_object_get(rest, "b");
    const json_t *p = json_object_get(rest, "p");
    if (json_is_string(chosen) && json_is_string(rejected))
        return 0;
    if (!json_is_string(a) || !json_is_string(b) || !json_is_number(p))
        return bad(f, line, "no pair of replies",
                   "give \"chosen\" and \"rejected\", or \"a\", \"b\" and \"p\"");
    double v = json_number_value(p);
    return v >= 0 && v <= 1 ? 0 : bad(f, line, "\"p\" is not in 0 … 1", "p is P(a is better)");
}

static int check_row(const struct freeze *f, size_t line, json_t *rest) {
    if (f->kind == DATA_HUMAN)
        return check_human(f, line, rest);
    if (f->kind == DATA_CLASSIFIER) {
        const json_t *label = json_object_get(rest, "label");
        if (!json_is_string(json_object_get(rest, "reply")))
            return bad(f, line, "no reply to classify", "end the messages with the assistant");
        if (json_is_boolean(label))
            json_object_set_new(rest, "label", json_real(json_is_true(label)));
        else if (!json_is_number(label) || json_number_value(label) < 0 ||
                 json_number_value(label) > 1)
            return bad(f, line, "\"label\" is not in 0 … 1", "1 is harmful, 0 is harmless");
    }
    if (f->kind == DATA_EVALUATE) {
        const char *kind = json_string_value(json_object_get(rest, "kind"));
        if (!kind || (strcmp(kind, "harmful") != 0 && strcmp(kind, "helpful") != 0 &&
                      strcmp(kind, "lookalike") != 0))
            return bad(f, line, "\"kind\" is not known", "it is harmful, helpful or lookalike");
    }
    return 0;
}

static json_t *turns_json(const struct input_row *m) {
    json_t *o = json_array();
    for (size_t i = 0; i < m->n; i++)
        json_array_append_new(o, json_pack("{s:s, s:s}", "role", m->turns[i].role, "text",
                                           m->turns[i].text));
    return o;
}

static int freeze_row(struct freeze *f, size_t line, const json_t *row,
                      struct input_report *report) {
    struct input_row m;
    if (input_messages(row, line, report, &m) < 0)
        return input_report_status(report);
    json_t *rest = json_copy((json_t *)row);
    json_object_del(rest, "messages");
    json_object_del(rest, "prompt");
    if (m.reply)
        json_object_set_new(rest, "reply", json_string(m.reply));
    int rc = check_row(f, line, rest);
    json_t *detail = json_pack("{s:o, s:o}", "messages", turns_json(&m), "row", rest);
    CAI_AUTO(mem) char *text = json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
    CAI_CHECK(text);
    if (rc == 0) {
        struct store_example e = {
            .job = f->c->job_id, .stage = "data", .item = data_item(f->kind, f->n),
            .kind = kind_names[f->kind], .principle = "", .revision = "", .model = "",
            .text = m.turns[m.n - 1].text, .detail = text};
        rc = store_example_add(f->c->store, &e);
        f->n++;
    }
    json_decref(detail);
    input_row_free(&m);
    return rc;
}

static int freeze_file(const struct stage_context *c, enum data_kind kind, const char *path) {
    struct freeze f = {.c = c, .kind = kind, .path = path};
    struct input_report report = {.file = path};
    struct jsonl *reader;
    json_t *row;
    size_t line;
    int rc = jsonl_open(path, &report, &reader);
    if (rc == 0) {
        while (rc == 0 && jsonl_next(reader, &row, &line) > 0) {
            rc = freeze_row(&f, line, row, &report);
            json_decref(row);
        }
        jsonl_close(reader);
    }
    if (rc == 0)
        rc = input_report_status(&report);
    input_report_free(&report);
    return rc;
}

int data_ensure(const struct stage_context *c) {
    const char *const paths[DATA_KINDS] = {c->job->data.harmful, c->job->data.helpful,
                                           c->job->data.evaluate, c->job->data.human,
                                           c->job->data.classifier};
    int64_t n;
    CAI_TRY(store_examples_count(c->store, c->job_id, 0, "data", NULL, &n));
    if (n > 0)
        return 0;
    for (int k = 0; k < DATA_KINDS; k++)
        if (paths[k])
            CAI_TRY(freeze_file(c, (enum data_kind)k, paths[k]));
    return 0;
}

int data_count(const struct stage_context *c, enum data_kind kind, size_t *ret) {
    int64_t n;
    CAI_TRY(store_examples_count(c->store, c->job_id, 0, "data", kind_names[kind], &n));
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
static bool kept_out(const struct stage_context *c, uint64_t item) {
    if (c->job->data.evaluate || item > 2 * ITEM_KIND)
        return false; /* people's pairs and the classifier's rows are no prompts to ask */
    return cai_rng_uniform(cai_key_make(c->job->seed, 0, "data/held_out", item, 0), 0) <
           HELD_OUT_SHARE;
}

static int pool(const struct stage_context *c, enum data_kind kind, bool held_out,
                struct cai_arena *a, struct items *ret) {
    size_t n;
    CAI_TRY(data_count(c, kind, &n));
    *ret = (struct items){cai_arena_array(a, n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < n; i++)
        if (kept_out(c, data_item(kind, i)) == held_out)
            ret->at[ret->n++] = data_item(kind, i);
    return 0;
}

int data_pool(const struct stage_context *c, enum data_kind kind, struct cai_arena *a,
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
        CAI_TRY(pool(c, strcmp(kind, "harmful") == 0 ? DATA_HARMFUL : DATA_HELPFUL, true, a, ret));
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
