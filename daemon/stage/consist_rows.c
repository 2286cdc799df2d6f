/* consist_rows.c: questions as they are asked, and kept paths as rows to learn from: up to four
 * forms each, so that no single way of asking is learned (Huang et al. 2022, §3). Not for: which
 * paths are kept (consist.c says it in "vote", "teach" and the figure "threshold"). */
#include "stage/consist.h"

#include "base/error.h"
#include "base/rng.h"
#include <string.h>

/* ---- asking ------------------------------------------------------------------------------- */
int consist_worked(const struct stage_context *c, struct cai_arena *a, struct worked *ret) {
    size_t n;
    CAI_TRY(data_count(c, JOB_DATA_QUESTIONS, &n));
    *ret = (struct worked){cai_arena_array(a, n + 1, sizeof *ret->at), 0};
    for (size_t i = 0; i < n; i++) {
        CAI_AUTO(dialog) struct dialog d = {0};
        CAI_TRY(data_dialog(c, data_item(JOB_DATA_QUESTIONS, i), a, &d));
        const char *steps = json_string_value(json_object_get(d.row, "reply"));
        const json_t *answer = json_object_get(d.row, "answer");
        if (!steps || !answer)
            continue;
        CAI_AUTO(mem) char *number = json_dumps(answer, JSON_ENCODE_ANY);
        const char *text = json_string_value(answer);
        ret->at[ret->n++] = (struct shot){d.turns[d.n - 1].text, cai_arena_strdup(a, steps),
                                          cai_arena_strdup(a, text ? text : number)};
    }
    return 0;
}

char *consist_direct(const struct stage_context *c, const char *answer, struct cai_arena *a) {
    const char *form = c->job->consist.direct, *hole = strstr(form, "{}");
    CAI_CHECK(hole);
    return cai_arena_printf(a, "%.*s%s%s", (int)(hole - form), form, answer, hole + 2);
}

void consist_ask(const struct stage_context *c, const struct worked *w, const struct dialog *q,
                 uint64_t item, uint32_t k, bool direct, const char *ask, struct cai_arena *a,
                 struct asked_question *ret) {
    size_t want = (size_t)c->job->consist.shots, shots = w && want < w->n ? want : w ? w->n : 0;
    *ret = (struct asked_question){cai_arena_array(a, 2 * shots + q->n, sizeof *ret->turns), 0};
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, shots ? w->n : 1, sizeof *order);
    if (shots)
        cai_rng_permutation(cai_key_make(c->job->seed, c->round, "consist/shots", item, k), w->n,
                            order);
    for (size_t i = 0; i < shots; i++) {
        const struct shot *s = &w->at[order[i]];
        ret->turns[ret->n++] = (struct turn){"user", s->question};
        ret->turns[ret->n++] = (struct turn){
            "assistant", direct ? consist_direct(c, s->answer, a) : s->steps};
    }
    for (size_t i = 0; i < q->n; i++)
        ret->turns[ret->n++] = q->turns[i];
    if (ask)
        ret->turns[ret->n - 1].text =
            cai_arena_printf(a, "%s %s", q->turns[q->n - 1].text, ask);
}

/* ---- rows --------------------------------------------------------------------------------- */
struct writing {
    const struct stage_context *c;
    struct dataset *d;
    const struct examples *votes, *taught;
    const struct worked *worked;
    unsigned formats;
    double threshold;
    size_t rows;
    uint64_t item; /* the present one */
    size_t n_kept; /* of it */
};

static void add_row(struct writing *w, const struct asked_question *q, const char *reply) {
    json_t *messages = data_messages(q->turns, q->n);
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "text", reply));
    dataset_row(w->d, json_pack("{s:I, s:o}", "item", (json_int_t)w->item, "messages", messages));
    w->rows++;
}

static int add_path(struct writing *w, const struct store_example *e, const char *answer) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog q = {0};
    CAI_TRY(data_dialog(w->c, e->item, &a, &q));
    const char *direct = consist_direct(w->c, answer, &a);
    for (unsigned f = 0; f < JOB_FORMATS; f++) {
        bool shots = f == JOB_FORMAT_SHOTS || f == JOB_FORMAT_DIRECT_SHOTS;
        bool alone = f == JOB_FORMAT_DIRECT || f == JOB_FORMAT_DIRECT_SHOTS;
        bool none = shots && (w->worked->n == 0 || w->c->job->consist.shots == 0);
        struct asked_question asked;
        if (!(w->formats & (1u << f)) || none)
            continue;
        consist_ask(w->c, shots ? w->worked : NULL, &q, e->item, e->k + 1, alone,
                    f == JOB_FORMAT_STEP ? w->c->job->consist.ask : NULL, &a, &asked);
        add_row(w, &asked, alone ? direct : e->text);
    }
    return 0;
}

/* So many as the cap says, in the order drawn. The same text counts as often as it was drawn:
 * kept once each, the rare ways, whose errors happen to cancel, would outweigh the good ones. */
static bool has_room(struct writing *w) {
    return w->n_kept++ < (size_t)w->c->job->consist.keep;
}

/* By vote, of a question, as many as the cap says; by the known answer, of one that teaches, all:
 * there are few such questions, and what is right there is sure to be. */
static bool is_kept(struct writing *w, const struct store_example *e, const char *answer) {
    const struct store_example *v = examples_find(w->votes, e->item, 0);
    const struct store_example *known = examples_find(w->taught, e->item, 0);
    if (known)
        return strcmp(answer, known->text) == 0;
    return v && !example_flag(v, "labelled") && strcmp(answer, v->text) == 0 &&
           example_number(v, "share", 0) >= w->threshold && has_room(w);
}

static int take_path(void *context, const struct store_example *e) {
    struct writing *w = context;
    json_t *detail = json_loads(e->detail, 0, NULL);
    const char *answer = json_string_value(json_object_get(detail, "answer"));
    int rc = 0;
    if (e->item != w->item)
        w->n_kept = 0;
    w->item = e->item;
    if (answer && is_kept(w, e, answer))
        rc = add_path(w, e, answer);
    json_decref(detail);
    return rc;
}

int consist_rows(const struct stage_context *c, uint32_t round, struct dataset *d, size_t *io_n) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct stage_context own = *c;
    struct examples votes, taught;
    struct worked worked;
    own.round = round;
    if (!c->job->consist.enabled)
        return 0;
    struct writing w = {.c = &own, .d = d, .votes = &votes, .taught = &taught, .worked = &worked,
                        .formats = job_formats(c->job->consist.formats)};
    CAI_TRY(consist_worked(&own, &a, &worked));
    CAI_TRY(examples_load(&own, round, "consist", "vote", &a, &votes));
    CAI_TRY(examples_load(&own, round, "consist", "teach", &a, &taught));
    CAI_TRY(store_metric_get(c->store, c->job_id, round, "consist", 0, "threshold", &w.threshold));
    CAI_TRY(store_examples_each(c->store, c->job_id, round, "consist", "path", take_path, &w));
    *io_n += w.rows;
    return 0;
}
