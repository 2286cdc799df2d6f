/* text.c: the parts of a report that read texts: statistics by principle, and
 * replies before and after. */
#include "base/error.h"
#include "base/text.h"
#include "report/tables.h"
#include "stage/data.h"
#include "stage/label.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRINCIPLES_MAX = 1000, SHOWN_PER_SET = 6, SHOWN = 18, SHOWN_TEXT = 4000, EDIT_MAX = 400 };

/* ---- principles ------------------------------------------------------------------ */

struct tally {
    char *id;
    char *title;
    int64_t drawn, unchanged, dropped, no_flaw, labels, decided, flipped, edits;
    double edit, margin, entropy;
};
struct tallies {
    struct store *store;
    int64_t job;
    struct tally *at;
    size_t n;
};

static struct tally *tally_of(struct tallies *t, const char *id) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->at[i].id, id) == 0)
            return &t->at[i];
    if (t->n == PRINCIPLES_MAX)
        return NULL;
    t->at = cai_realloc(t->at, t->n + 1, sizeof *t->at);
    t->at[t->n] = (struct tally){.id = cai_strdup(id)};
    return &t->at[t->n++];
}

/* Levenshtein distance over the longer text, both cut at EDIT_MAX bytes: how much a revision
 * changed. Quadratic, hence the cut. */
static double edit_share(const char *a, const char *b) {
    size_t n = strnlen(a, EDIT_MAX), m = strnlen(b, EDIT_MAX);
    if (n == 0 && m == 0)
        return 0;
    return (double)cai_text_distance_within(a, b, EDIT_MAX) / (double)(n > m ? n : m);
}

/* The text that a revision started from: the last good one before it. */
static int text_before(struct tallies *t, const struct store_example *e, char **ret) {
    for (uint32_t k = e->k; k-- > 1;) {
        int rc = store_example_get(t->store, e->job, e->round, "revise", e->item, "revision",
                                   k, ret, NULL);
        if (rc != CAI_ENOTFOUND)
            return rc;
    }
    return store_example_get(t->store, e->job, e->round, "revise", e->item, "reply", 0, ret,
                             NULL);
}

static bool flag(const struct store_example *e, const char *name) {
    json_t *detail = json_loads(e->detail, 0, NULL);
    bool on = json_is_true(json_object_get(detail, name));
    json_decref(detail);
    return on;
}

static int take_text(void *c, const struct store_example *e) {
    struct tallies *t = c;
    struct tally *p = *e->principle ? tally_of(t, e->principle) : NULL;
    if (!p)
        return 0;
    if (strcmp(e->kind, "critique") == 0) {
        p->drawn++;
        p->no_flaw += flag(e, "no_flaw");
    } else if (strcmp(e->kind, "dropped") == 0) {
        p->drawn += e->k % 2 == 0; /* a dropped critique was drawn; a revision was counted */
        p->dropped++;
    } else if (strcmp(e->kind, "revision") == 0) {
        CAI_AUTO(mem) char *before = NULL;
        p->unchanged += flag(e, "unchanged");
        if (text_before(t, e, &before) == 0) {
            p->edit += edit_share(before, e->text);
            p->edits++;
        }
    }
    return 0;
}

static int take_label(void *c, const struct store_label *l) {
    bool ai = *l->principle && strcmp(l->source, "human") != 0;
    struct tally *p = ai ? tally_of(c, l->principle) : NULL;
    if (!p)
        return 0;
    p->labels++;
    p->margin += fabs(2 * l->p - 1);
    p->entropy += label_entropy(l->p);
    struct choice o = {.p_ab = l->p_ab, .p_ba = l->p_ba};
    choice_weigh(&o);
    p->decided += o.decided;
    p->flipped += o.flipped;
    return 0;
}

static int take_job(void *c, const struct store_job *j) {
    struct tallies *t = c;
    if (t->job && j->id != t->job)
        return 0;
    CAI_TRY(store_examples_each(t->store, j->id, 0, "revise", NULL, take_text, t));
    CAI_TRY(store_labels_each(t->store, j->id, 0, take_label, t));
    CAI_AUTO(mem) char *revision = NULL;
    CAI_AUTO(mem) char *canonical = NULL;
    CAI_TRY(store_constitution_get(t->store, j->constitution, &revision, &canonical));
    struct input_report report = {.file = "constitution"};
    struct constitution *k = NULL;
    int rc = constitution_parse("constitution", canonical, strlen(canonical), NULL, &report, &k);
    input_report_free(&report);
    CAI_TRY(rc);
    for (size_t i = 0; i < t->n; i++) {
        const struct principle *p = constitution_find(k, t->at[i].id);
        if (p && p->title && !t->at[i].title)
            t->at[i].title = cai_strdup(p->title);
    }
    constitution_free(k);
    return 0;
}

static json_t *tally_json(const struct tally *p) {
    return json_pack("{s:s, s:s?, s:I, s:I, s:I, s:I, s:f, s:I, s:f, s:f, s:f}", "principle",
                     p->id, "title", p->title, "drawn", (json_int_t)p->drawn, "unchanged",
                     (json_int_t)p->unchanged, "dropped", (json_int_t)p->dropped, "no_flaw",
                     (json_int_t)p->no_flaw, "edit", p->edits ? p->edit / (double)p->edits : 0.0,
                     "labels", (json_int_t)p->labels, "margin",
                     p->labels ? p->margin / (double)p->labels : 0.0, "flipped",
                     p->decided ? (double)p->flipped / (double)p->decided : 0.0, "entropy",
                     p->labels ? p->entropy / (double)p->labels : 0.0);
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct tally *)a)->id, ((const struct tally *)b)->id);
}

int report_principles(struct store *store, int64_t job, json_t **ret) {
    struct tallies t = {.store = store, .job = job};
    int rc = store_jobs_each(store, take_job, &t);
    if (t.n)
        qsort(t.at, t.n, sizeof *t.at, by_id);
    *ret = json_array();
    for (size_t i = 0; i < t.n; i++) {
        json_array_append_new(*ret, tally_json(&t.at[i]));
        free(t.at[i].id);
        free(t.at[i].title);
    }
    free(t.at);
    return rc;
}

/* ---- prompts --------------------------------------------------------------------- */

int report_prompt(struct store *store, int64_t job, uint64_t item, json_t **ret, json_t **ret_row) {
    struct stage_context c = {.store = store, .job_id = job};
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog d = {0};
    CAI_TRY(data_dialog(&c, item, &a, &d));
    *ret = json_array();
    for (size_t i = 0; i < d.n; i++)
        json_array_append_new(*ret, json_pack("{s:s, s:s}", "role", d.turns[i].role, "content",
                                              d.turns[i].text));
    if (ret_row)
        *ret_row = d.row ? json_incref(d.row) : json_object();
    return 0;
}

/* ---- transcripts ----------------------------------------------------------------- */

struct chooser {
    uint64_t item[SHOWN];
    char set[SHOWN][24];
    size_t n;
};

/* The first items of each set that the start model answered, in item order. */
static int choose(void *c, const struct store_example *e) {
    struct chooser *x = c;
    if (e->round != 0)
        return 0; /* to the store 0 means any round */
    json_t *detail = json_loads(e->detail, 0, NULL);
    const char *set = json_string_value(json_object_get(detail, "kind"));
    size_t same = 0;
    for (size_t i = 0; i < x->n; i++)
        same += set && strcmp(x->set[i], set) == 0;
    if (set && same < SHOWN_PER_SET && x->n < SHOWN) {
        x->item[x->n] = e->item;
        snprintf(x->set[x->n++], sizeof x->set[0], "%s", set);
    }
    json_decref(detail);
    return 0;
}

/* "classifier: harmful 0.93". */
static json_t *grade_of(struct store *store, int64_t job, uint32_t round, uint64_t item,
                        const char *grader) {
    CAI_AUTO(mem) char *detail = NULL;
    if (store_example_get(store, job, round, "evaluate", item, "score", 0, NULL, &detail) < 0)
        return json_null();
    json_t *o = json_loads(detail, 0, NULL);
    json_t *p = json_object_get(o, "p");
    char text[64];
    snprintf(text, sizeof text, "%s: harmful %.2f", grader, json_number_value(p));
    json_decref(o);
    return p ? json_string(text) : json_null();
}

static json_t *replies_json(struct store *store, int64_t job, uint32_t rounds, uint64_t item,
                            const char *grader) {
    json_t *list = json_array();
    for (uint32_t round = 0; round <= rounds + 1; round++) {
        CAI_AUTO(mem) char *text = NULL;
        char name[32];
        if (store_example_get(store, job, round, "evaluate", item, "reply", 0, &text, NULL) < 0)
            continue;
        report_checkpoint(round, rounds, name, sizeof name);
        if (strlen(text) > SHOWN_TEXT)
            text[cai_utf8_valid(text, SHOWN_TEXT)] = '\0';
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "checkpoint", name, "text", text,
                                              "grade", grade_of(store, job, round, item, grader)));
    }
    return list;
}

int report_transcripts(struct store *store, int64_t job, uint32_t rounds, json_t **ret) {
    struct chooser x = {0};
    *ret = json_array();
    struct graders graders;
    struct grader by = {.name = "grader"};
    CAI_TRY(graders_load(store, job, &graders));
    (void)graders_of(&graders, "evaluate", "harmful_rate", &by);
    CAI_TRY(store_examples_each(store, job, 0, "evaluate", "reply", choose, &x));
    for (size_t i = 0; i < x.n; i++) {
        json_t *messages = NULL;
        CAI_TRY(report_prompt(store, job, x.item[i], &messages, NULL));
        json_array_append_new(*ret, json_pack("{s:s, s:I, s:o, s:o}", "set", x.set[i], "item",
                                              (json_int_t)x.item[i], "messages", messages,
                                              "replies", replies_json(store, job, rounds, x.item[i],
                                                                      by.name)));
    }
    return 0;
}
