/* build.c: tasks from conversations; results checked against their task and put in its
 * order, so that what follows never depends on the order a worker answered in. */
#include "stage/build.h"

#include "base/error.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

static Cai__V1__Model *model_message(struct cai_arena *a, const struct model_ref *m) {
    Cai__V1__Model *o = cai_arena_alloc(a, sizeof *o);
    cai__v1__model__init(o);
    o->path = cai_arena_strdup(a, m->path);
    o->hash = cai_arena_strdup(a, m->hash);
    return o;
}

static Cai__V1__Message *message(struct cai_arena *a, const char *role, const char *text,
                                 const char *origin, uint32_t drop) {
    Cai__V1__Message *o = cai_arena_alloc(a, sizeof *o);
    cai__v1__message__init(o);
    o->role = cai_arena_strdup(a, role);
    o->text = cai_arena_strdup(a, text);
    o->origin = cai_arena_strdup(a, origin);
    o->drop = drop;
    return o;
}

static Cai__V1__Conversation *conversation(struct cai_arena *a, size_t n) {
    Cai__V1__Conversation *o = cai_arena_alloc(a, sizeof *o);
    cai__v1__conversation__init(o);
    o->n_messages = n;
    o->messages = cai_arena_array(a, n ? n : 1, sizeof *o->messages);
    return o;
}

/* Older turns go first when a prompt is too long; a system message and the last turn stay. */
static Cai__V1__Conversation *from_turns(struct cai_arena *a, const struct turn *turns, size_t n,
                                         const char *reply) {
    Cai__V1__Conversation *o = conversation(a, n + (reply != NULL));
    for (size_t i = 0; i < n; i++) {
        bool keep = i + 1 == n || strcmp(turns[i].role, "system") == 0;
        o->messages[i] = message(a, turns[i].role, turns[i].text, "data",
                                 keep ? 0 : (uint32_t)(n - i));
    }
    if (reply)
        o->messages[n] = message(a, "assistant", reply, "model", 0);
    return o;
}

static Cai__V1__Conversation *from_rendering(struct cai_arena *a, const struct rendering *r) {
    Cai__V1__Conversation *o = conversation(a, r->n);
    for (size_t i = 0; i < r->n; i++)
        o->messages[i] = message(a, r->messages[i].role, r->messages[i].text,
                                 r->messages[i].origin, r->messages[i].drop);
    return o;
}

static void open_builder(struct builder *b, const struct stage_context *c, const char *phase,
                         uint32_t chunk) {
    *b = (struct builder){.c = c, .phase = phase, .chunk = chunk};
    cai__v1__task__init(&b->task);
}

void build_generate(struct builder *b, const struct stage_context *c, const char *phase,
                    uint32_t first_chunk, const struct model_ref *m, const struct job_sampling *s) {
    open_builder(b, c, phase, first_chunk);
    cai__v1__generate__init(&b->generate);
    Cai__V1__Sampling *sampling = cai_arena_alloc(&b->arena, sizeof *sampling);
    cai__v1__sampling__init(sampling);
    sampling->temperature = s->temperature;
    sampling->top_p = s->top_p;
    sampling->max_tokens = (uint32_t)s->max_tokens;
    b->generate.model = model_message(&b->arena, m);
    b->generate.sampling = sampling;
    b->task.work_case = CAI__V1__TASK__WORK_GENERATE;
    b->task.generate = &b->generate;
}

void build_common_draws(struct builder *b, const char *name) { b->generate.draws = (char *)name; }

void build_score(struct builder *b, const struct stage_context *c, const char *phase,
                 uint32_t first_chunk, const struct model_ref *m) {
    open_builder(b, c, phase, first_chunk);
    cai__v1__score__init(&b->score);
    b->score.model = model_message(&b->arena, m);
    b->task.work_case = CAI__V1__TASK__WORK_SCORE;
    b->task.score = &b->score;
}

void build_reward(struct builder *b, const struct stage_context *c, const char *phase,
                  uint32_t first_chunk, const struct model_ref *m, size_t n_models) {
    open_builder(b, c, phase, first_chunk);
    cai__v1__reward__init(&b->reward);
    b->reward.n_models = n_models;
    b->reward.models = cai_arena_array(&b->arena, n_models, sizeof *b->reward.models);
    for (size_t i = 0; i < n_models; i++)
        b->reward.models[i] = model_message(&b->arena, &m[i]);
    b->task.work_case = CAI__V1__TASK__WORK_REWARD;
    b->task.reward = &b->reward;
}

void build_stop(struct builder *b, const char *stop) {
    Cai__V1__Sampling *s = b->generate.sampling;
    char **grown = cai_arena_array(&b->arena, s->n_stop + 1, sizeof *grown);
    for (size_t i = 0; i < s->n_stop; i++)
        grown[i] = s->stop[i];
    grown[s->n_stop++] = cai_arena_strdup(&b->arena, stop);
    s->stop = grown;
}

/* Makes room for one more item; a full builder adds its task first. */
static int reserve(struct builder *b) {
    if (b->n >= STAGE_CHUNK && !b->whole)
        CAI_TRY(build_flush(b));
    if (b->n < b->cap)
        return 0;
    b->cap = b->cap ? 2 * b->cap : STAGE_CHUNK;
    b->generate_items = cai_realloc(b->generate_items, b->cap, sizeof *b->generate_items);
    b->score_items = cai_realloc(b->score_items, b->cap, sizeof *b->score_items);
    b->reward_items = cai_realloc(b->reward_items, b->cap, sizeof *b->reward_items);
    return 0;
}

int build_generate_turns(struct builder *b, uint64_t item, uint32_t first_k, uint32_t n,
                         const struct turn *turns, size_t n_turns) {
    CAI_TRY(reserve(b));
    Cai__V1__GenerateItem *o = cai_arena_alloc(&b->arena, sizeof *o);
    cai__v1__generate_item__init(o);
    o->item = item;
    o->n = n;
    o->first_k = first_k;
    o->conversation = from_turns(&b->arena, turns, n_turns, NULL);
    b->generate_items[b->n++] = o;
    return 0;
}

int build_generate_rendered(struct builder *b, uint64_t item, uint32_t k,
                            const struct rendering *r) {
    CAI_TRY(reserve(b));
    Cai__V1__GenerateItem *o = cai_arena_alloc(&b->arena, sizeof *o);
    cai__v1__generate_item__init(o);
    o->item = item;
    o->n = 1;
    o->first_k = k;
    o->conversation = from_rendering(&b->arena, r);
    o->prefix = cai_arena_strdup(&b->arena, r->prefix ? r->prefix : "");
    b->generate_items[b->n++] = o;
    return 0;
}

static int add_options(struct builder *b, uint64_t item, uint32_t k, Cai__V1__Conversation *asked,
                       const char *prefix, const char *const *options, size_t n) {
    CAI_TRY(reserve(b));
    Cai__V1__ScoreItem *o = cai_arena_alloc(&b->arena, sizeof *o);
    cai__v1__score_item__init(o);
    o->item = item;
    o->k = k;
    o->conversation = asked;
    o->prefix = cai_arena_strdup(&b->arena, prefix);
    o->n_options = n;
    o->options = cai_arena_array(&b->arena, n, sizeof *o->options);
    for (size_t i = 0; i < n; i++)
        o->options[i] = cai_arena_strdup(&b->arena, options[i]);
    b->score_items[b->n++] = o;
    return 0;
}

static int add_score(struct builder *b, uint64_t item, uint32_t k, Cai__V1__Conversation *asked,
                     const char *prefix, const char *option_a, const char *option_b) {
    const char *const options[] = {option_a, option_b};
    return add_options(b, item, k, asked, prefix, options, CAI_COUNT(options));
}

int build_score_turns(struct builder *b, uint64_t item, uint32_t k, const struct turn *turns,
                      size_t n_turns, const char *beginning, const char *const *options,
                      size_t n_options) {
    CAI_CHECK(n_options > 0);
    return add_options(b, item, k, from_turns(&b->arena, turns, n_turns, NULL), beginning, options,
                       n_options);
}

int build_score_rendered(struct builder *b, uint64_t item, uint32_t k, const struct rendering *r) {
    return add_score(b, item, k, from_rendering(&b->arena, r), r->prefix ? r->prefix : "",
                     r->options[0], r->options[1]);
}

int build_score_after(struct builder *b, const Cai__V1__GenerateItem *q, const char *turn,
                      const char *option_a, const char *option_b) {
    return add_score(b, q->item, q->first_k, q->conversation, turn, option_a, option_b);
}

int build_reward_reply(struct builder *b, uint64_t item, uint32_t k, const struct turn *turns,
                       size_t n_turns, const char *reply) {
    CAI_TRY(reserve(b));
    Cai__V1__RewardItem *o = cai_arena_alloc(&b->arena, sizeof *o);
    cai__v1__reward_item__init(o);
    o->item = item;
    o->k = k;
    o->conversation = from_turns(&b->arena, turns, n_turns, reply);
    b->reward_items[b->n++] = o;
    return 0;
}

int build_flush(struct builder *b) {
    if (b->n == 0)
        return 0;
    b->generate.items = b->generate_items;
    b->score.items = b->score_items;
    b->reward.items = b->reward_items;
    b->generate.n_items = b->score.n_items = b->reward.n_items = b->n;
    CAI_TRY(stage_task_add(b->c, b->phase, b->chunk, false, &b->task));
    b->chunk++;
    b->n = 0;
    return 0;
}

void build_free(struct builder *b) {
    free(b->generate_items);
    free(b->score_items);
    free(b->reward_items);
    cai_arena_free(&b->arena);
    *b = (struct builder){0};
}

/* Resumable states that a task of this stage keeps. */
static uint32_t kept_states(const struct stage_context *c) {
    const struct job_spec *j = c->job;
    int64_t own = strcmp(c->stage, "sft") == 0      ? j->keep.sft.checkpoints
                  : strcmp(c->stage, "prefer") == 0 ? j->keep.prefer.checkpoints
                  : strcmp(c->stage, "ppo") == 0    ? j->keep.ppo.checkpoints
                                                    : 0;
    return (uint32_t)(own ? own : j->keep.checkpoints);
}

/* What training runs name besides where they begin and what they read. */
struct beside {
    const struct model_ref *reference, *pm, *target;
    size_t n_pm;
    Cai__V1__Dataset *mix;
};

static int add_train(const struct stage_context *c, const char *phase, const char *kind,
                     const struct model_ref *init, Cai__V1__Dataset *dataset,
                     const struct beside *x, const json_t *options) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    Cai__V1__Task task;
    Cai__V1__Train train;
    cai__v1__task__init(&task);
    cai__v1__train__init(&train);
    train.kind = cai_arena_strdup(&a, kind);
    train.init = model_message(&a, init);
    train.reference = x->reference ? model_message(&a, x->reference) : NULL;
    train.target = x->target ? model_message(&a, x->target) : NULL;
    train.n_pm = x->n_pm;
    train.pm = cai_arena_array(&a, x->n_pm ? x->n_pm : 1, sizeof *train.pm);
    for (size_t i = 0; i < x->n_pm; i++)
        train.pm[i] = model_message(&a, &x->pm[i]);
    train.dataset = dataset;
    train.mix = x->mix;
    CAI_AUTO(mem) char *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS);
    CAI_CHECK(text);
    train.options = text;
    train.output = cai_arena_printf(&a, "%s/models/round-%u-%s-%s", c->work_dir, c->round,
                                    c->stage, kind);
    train.checkpoints = cai_arena_printf(&a, "%s/checkpoints/round-%u-%s-%s", c->work_dir,
                                         c->round, c->stage, kind);
    train.keep = kept_states(c);
    task.work_case = CAI__V1__TASK__WORK_TRAIN;
    task.train = &train;
    return stage_task_add(c, phase, 0, true, &task);
}

int build_train(const struct stage_context *c, const char *phase, const char *kind,
                const struct model_ref *init, const struct model_ref *reference,
                const struct model_ref *pm, size_t n_pm, Cai__V1__Dataset *dataset,
                const json_t *options) {
    return build_train_mixed(c, phase, kind, init, reference, pm, n_pm, dataset, NULL, options);
}

int build_train_mixed(const struct stage_context *c, const char *phase, const char *kind,
                      const struct model_ref *init, const struct model_ref *reference,
                      const struct model_ref *pm, size_t n_pm, Cai__V1__Dataset *dataset,
                      Cai__V1__Dataset *mix, const json_t *options) {
    struct beside x = {.reference = reference, .pm = pm, .n_pm = n_pm, .mix = mix};
    return add_train(c, phase, kind, init, dataset, &x, options);
}

int build_train_against(const struct stage_context *c, const char *phase, const char *kind,
                        const struct model_ref *init, const struct model_ref *target,
                        const struct model_ref *classifier, Cai__V1__Dataset *dataset,
                        const json_t *options) {
    struct beside x = {.reference = init, .pm = classifier, .n_pm = 1, .target = target};
    return add_train(c, phase, kind, init, dataset, &x, options);
}

/* ---- results ------------------------------------------------------------------------- */
static int odd(const Cai__V1__Task *t, const char *what) {
    return cai_fail(CAI_EPROTO, "the result of %s/%s chunk %u of round %u %s", t->stage, t->phase,
                    t->chunk, t->round, what);
}

int result_order_generated(const Cai__V1__Task *task, const Cai__V1__Result *result,
                           struct cai_arena *a, const Cai__V1__Generated ***ret, size_t *ret_n) {
    if (task->work_case != CAI__V1__TASK__WORK_GENERATE)
        return odd(task, "belongs to no generation");
    size_t want = 0, n = 0;
    for (size_t i = 0; i < task->generate->n_items; i++)
        want += task->generate->items[i]->n;
    if (result->n_generated != want)
        return odd(task, "has another number of texts than were asked for");
    const Cai__V1__Generated **o = cai_arena_array(a, want + 1, sizeof *o);
    for (size_t i = 0; i < task->generate->n_items; i++) {
        const Cai__V1__GenerateItem *q = task->generate->items[i];
        for (uint32_t k = q->first_k; k < q->first_k + q->n; k++) {
            const Cai__V1__Generated *g = NULL;
            for (size_t j = 0; j < want && !g; j++)
                if (result->generated[j]->item == q->item && result->generated[j]->k == k)
                    g = result->generated[j];
            if (!g)
                return odd(task, "leaves out an item");
            size_t len = strlen(g->text);
            if (cai_utf8_valid(g->text, len) != len)
                return odd(task, "has text that is not UTF-8");
            o[n++] = g;
        }
    }
    *ret = o;
    *ret_n = n;
    return 0;
}

enum extract_finish result_finish(const Cai__V1__Generated *g) {
    return g->finish == CAI__V1__FINISH__FINISH_TOO_LONG ? EXTRACT_NOT_RUN
           : g->finish == CAI__V1__FINISH__FINISH_LENGTH ? EXTRACT_CUT
                                                         : EXTRACT_ENDED;
}

int result_order_scored(const Cai__V1__Task *task, const Cai__V1__Result *result,
                        struct cai_arena *a, const Cai__V1__Scored ***ret, size_t *ret_n) {
    if (task->work_case != CAI__V1__TASK__WORK_SCORE)
        return odd(task, "belongs to no scoring");
    size_t n = task->score->n_items;
    if (result->n_scored != n)
        return odd(task, "has another number of scores than were asked for");
    const Cai__V1__Scored **o = cai_arena_array(a, n + 1, sizeof *o);
    for (size_t i = 0; i < n; i++) {
        const Cai__V1__ScoreItem *q = task->score->items[i];
        for (size_t j = 0; j < n && !o[i]; j++)
            if (result->scored[j]->item == q->item && result->scored[j]->k == q->k)
                o[i] = result->scored[j];
        if (!o[i])
            return odd(task, "leaves out an item");
        if (o[i]->too_long)
            continue;
        if (o[i]->n_logprobs != q->n_options)
            return odd(task, "scores another number of options");
        for (size_t j = 0; j < o[i]->n_logprobs; j++)
            if (!isfinite(o[i]->logprobs[j]) || o[i]->logprobs[j] > 1e-6)
                return odd(task, "has a log-probability that is not one");
    }
    *ret = o;
    *ret_n = n;
    return 0;
}

int result_order_rewarded(const Cai__V1__Task *task, const Cai__V1__Result *result,
                          struct cai_arena *a, const Cai__V1__Rewarded ***ret, size_t *ret_n) {
    if (task->work_case != CAI__V1__TASK__WORK_REWARD)
        return odd(task, "belongs to no reward task");
    size_t n = task->reward->n_items;
    if (result->n_rewarded != n)
        return odd(task, "has another number of scores than were asked for");
    const Cai__V1__Rewarded **o = cai_arena_array(a, n + 1, sizeof *o);
    for (size_t i = 0; i < n; i++) {
        const Cai__V1__RewardItem *q = task->reward->items[i];
        for (size_t j = 0; j < n && !o[i]; j++)
            if (result->rewarded[j]->item == q->item && result->rewarded[j]->k == q->k)
                o[i] = result->rewarded[j];
        if (!o[i])
            return odd(task, "leaves out an item");
        if (o[i]->too_long)
            continue;
        if (o[i]->n_scores != task->reward->n_models)
            return odd(task, "has another number of models");
        for (size_t j = 0; j < o[i]->n_scores; j++)
            if (!isfinite(o[i]->scores[j]))
                return odd(task, "has a score that is not a number");
    }
    *ret = o;
    *ret_n = n;
    return 0;
}

int result_trained(const struct stage_context *c, const Cai__V1__Task *task,
                   const Cai__V1__Result *result, const char *kind, size_t outputs) {
    const Cai__V1__Trained *t = result->trained;
    if (!t || t->n_outputs != outputs)
        return odd(task, "names another number of models than were trained");
    const Cai__V1__Dataset *mix = task->train->mix;
    json_t *about = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s*}", "dataset",
                              task->train->dataset->hash, "init", task->train->init->hash,
                              "constitution", c->constitution->revision, "kind", task->train->kind,
                              "seed", (json_int_t)c->job->seed, "stopped",
                              t->stopped ? t->stopped : "", "mix", mix ? mix->hash : NULL);
    CAI_CHECK(about);
    CAI_AUTO(mem) char *provenance = json_dumps(about, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(about);
    for (size_t i = 0; i < outputs; i++) {
        if (strlen(t->outputs[i]->hash) != 64 || !t->outputs[i]->path[0])
            return odd(task, "names a model without a folder or hash");
        struct store_model m = {.job = c->job_id, .round = c->round, .stage = c->stage,
                                .kind = kind, .k = (uint32_t)i, .step = t->steps,
                                .path = t->outputs[i]->path, .hash = t->outputs[i]->hash,
                                .provenance = provenance};
        CAI_TRY(store_model_add(c->store, &m));
    }
    for (size_t i = 0; i < t->n_metrics; i++) {
        if (!isfinite(t->metrics[i]->value))
            return odd(task, "has a figure that is not a number");
        CAI_TRY(store_metric_add(c->store, c->job_id, c->round, c->stage, t->metrics[i]->step,
                                 t->metrics[i]->name, t->metrics[i]->value));
    }
    return 0;
}
