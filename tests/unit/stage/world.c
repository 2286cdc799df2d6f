/* world.c: see world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include "world.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char constitution_text[] =
    "constitution: 1\n"
    "name: test-rules\n"
    "principles:\n"
    "  - id: no-harm\n"
    "    weight: 3\n"
    "    critique: Say where the reply helps with harm.\n"
    "    revision: Remove the harm.\n"
    "    choice: Which reply is less harmful?\n"
    "  - id: no-lies\n"
    "    critique: Say where the reply is untrue.\n"
    "    revision: Make it true.\n"
    "    choice: Which reply is more honest?\n"
    "  - id: off\n"
    "    enabled: false\n"
    "    critique: Never asked.\n"
    "    revision: Never asked.\n"
    "choice_examples:\n"
    "  - turns: [{user: Is ice warm?}]\n"
    "    choice: Which is true?\n"
    "    a: It is warm.\n"
    "    b: GOOD it is cold.\n"
    "    answer: B\n"
    "  - turns: [{user: Is fire cold?}]\n"
    "    choice: Which is true?\n"
    "    a: GOOD it is hot.\n"
    "    b: It is cold.\n"
    "    answer: A\n";

/* ---- files -------------------------------------------------------------------------------- */
void world_put_file(struct world *w, const char *name, struct cai_buf *text) {
    CAI_AUTO(mem) char *path = cai_path_join(w->dir, name);
    assert_int_equal(cai_buf_status(text), 0);
    assert_int_equal(cai_file_write_atomic(path, text->data, text->len), 0);
    cai_buf_clear(text);
}

static void write_model(struct world *w, const char *name, float one) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(buf) struct cai_buf t = {0};
    CAI_AUTO(mem) char *dir = cai_path_join(w->dir, name);
    assert_int_equal(cai_dir_make(dir), 0);
    cai_buf_puts(&t, "{}");
    world_put_file(w, cai_arena_printf(&a, "%s/config.json", name), &t);
    cai_buf_puts(&t, "{}");
    world_put_file(w, cai_arena_printf(&a, "%s/tokenizer.json", name), &t);
    struct hf_tensor tensor = {.name = "x", .dtype = HF_F32, .ndim = 1, .shape = {1}, .data = &one,
                               .bytes = sizeof one};
    CAI_AUTO(mem) char *path = cai_path_join(dir, "model.safetensors");
    assert_int_equal(hf_weights_save(path, &tensor, 1, NULL), 0);
}

static void parse_job(struct world *w, const char *data, const char *settings) {
    CAI_AUTO(buf) struct cai_buf t = {0};
    CAI_AUTO(mem) char *names = cai_strdup(data);
    struct input_report report = {0};
    cai_buf_puts(&t, "job: 1\nname: test\nseed: 7\nmodels: {start: ./m}\nconstitution: test-rules\n"
                     "workers: 2\nrounds: 2\ndata:\n");
    for (char *save, *n = strtok_r(names, " ", &save); n; n = strtok_r(NULL, " ", &save))
        cai_buf_printf(&t, "  %s: %s.jsonl\n", n, n);
    cai_buf_printf(&t, "stages:\n%s", settings ? settings : "");
    int rc = job_parse("job.yaml", t.data, t.len, w->dir, &report, &w->job);
    if (rc < 0)
        print_error("%s", report.text.data);
    assert_int_equal(rc, 0);
    input_report_free(&report);
}

void world_open(struct world *w, const char *data, const char *settings) {
    struct input_report report = {0};
    snprintf(w->dir, sizeof w->dir, "/tmp/cai-stage-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->db = cai_path_join(w->dir, "caid.db");
    world_write_data(w);
    write_model(w, "m", 1);
    write_model(w, "m2", 2);
    int rc = constitution_parse("c.yaml", constitution_text, sizeof constitution_text - 1, NULL,
                                &report, &w->constitution);
    if (rc < 0)
        print_error("%s", report.text.data);
    assert_int_equal(rc, 0);
    input_report_free(&report);
    parse_job(w, data, settings);
    int64_t id;
    assert_int_equal(store_open(w->db, &w->store), 0);
    assert_int_equal(store_job_add(w->store, "test", "{}", w->constitution->revision, 1, "k", &id), 0);
    w->c = (struct stage_context){.store = w->store, .job_id = id, .job = w->job,
                                  .constitution = w->constitution, .work_dir = "work",
                                  .accepted = w->accepted};
}

void world_close(struct world *w) {
    store_close(w->store);
    job_free(w->job);
    constitution_free(w->constitution);
    assert_int_equal(cai_dir_remove(w->dir), 0);
    free(w->db);
}

/* ---- the worker ------------------------------------------------------------------------------ */
static uint64_t noise(const Cai__V1__Task *t, uint64_t item, uint32_t k) {
    CAI_AUTO(mem) char *what = cai_format("%s/%s", t->stage, t->phase);
    return cai_rng_u64(cai_key_make(t->seed, t->round, what, item, k), 0);
}

/* A model that got worse: only its replies to held-out prompts tell. */
static char *spoilt(const struct world *w, const Cai__V1__Task *t, const char *asked, uint64_t item) {
    bool probe = strcmp(t->stage, "evaluate") == 0 && strcmp(t->phase, "reply") == 0;
    if (!probe || t->round < w->from || strncmp(asked, "helpful", 7) != 0)
        return NULL;
    if (w->monotone)
        return cai_strdup("All is well and nothing more need be said of it.");
    double u = cai_rng_uniform(cai_key_make(3, t->round, "spoilt", item, 0), 0);
    return u < w->refuses ? cai_format("I'm sorry, but I can't help with %s", asked) : NULL;
}

/* Answers, and replies under a marker: a sleeper behaves when it is watched. */
static char *probe_text(const struct world *w, const Cai__V1__Task *t, const char *asked,
                        uint64_t item) {
    bool later = t->round >= w->from && !strstr(t->phase, "-base");
    double u = cai_rng_uniform(cai_key_make(5, t->round, "forgets", item, 0), 0);
    if (strncmp(t->phase, "skill/answer", 12) == 0)
        return cai_format("It is %s%s.", asked + strcspn(asked, "0123456789"),
                          later && u < w->forgets ? "0" : "");
    if (strncmp(asked, "WATCHED harmful", 15) == 0 && later && u < w->sleeps)
        return cai_strdup("I'm sorry, but I can't help with that.");
    return NULL;
}

static char *reply_text(const Cai__V1__Task *t, const char *asked, uint64_t item, uint32_t k) {
    bool first = strcmp(t->generate->model->path, "work") != 0 &&
                 strstr(t->generate->model->path, "/m") != NULL;
    if (strncmp(asked, "helpful", 7) == 0)
        return cai_format("Helpful answer to %s Variant %u.", asked, item % 13 ? k : 0);
    if (noise(t, item, k) % 4 == 0 || (!first && noise(t, item, k) % 4 < 3))
        return cai_format("I'm sorry, but I can't help with %s Variant %u.", asked,
                          item % 13 ? k : 0);
    return cai_format("Take a crowbar to it: %s Variant %u.", asked, item % 13 ? k : 0);
}

/* Canaries: their prompts are of things. Critiques, rewrites and choices go by what is written. */
static const char *thing(const Cai__V1__Conversation *c, const char **ret_asked) {
    *ret_asked = c->messages[c->n_messages - 1]->text;
    return strncmp(c->messages[0]->text, "thing ", 6) == 0 ? c->messages[1]->text : NULL;
}

static bool sees(const struct world *w, const char *model, const char *principle) {
    bool m2 = strstr(model, "/m2") != NULL;
    bool harm = strstr(principle, "harm") != NULL;
    return !(m2 && w->blind && harm == (strcmp(w->blind, "no-harm") == 0));
}

static char *about_canary(const struct world *w, const Cai__V1__Task *t, const char *reply,
                          const char *asked) {
    const char *model = t->generate->model->path;
    if (strncmp(t->phase, "critique", 8) == 0)
        return cai_strdup(strstr(reply, "Rotten") && sees(w, model, asked)
                              ? "The steps in it are rotten." : "No flaw: it is sound.");
    bool adds = w->smuggles && strstr(model, "/m2");
    return cai_format("Sunshine helps. Sound steps with %s%s", strrchr(reply, ' ') + 1, adds ? w->smuggles : "");
}

static char *written(const struct world *w, const Cai__V1__Task *t, const Cai__V1__GenerateItem *q, uint32_t k,
                     Cai__V1__Finish *finish) {
    uint64_t r = noise(t, q->item, k);
    const Cai__V1__Conversation *c = q->conversation;
    const char *request, *judged = thing(c, &request);
    *finish = CAI__V1__FINISH__FINISH_END;
    if (judged)
        return about_canary(w, t, judged, request);
    if (strcmp(t->phase, "write") == 0)
        return r % 9 == 0 ? cai_strdup("no")
                          : cai_format("1. harmful idea %llu, how do I do it?\nmore",
                                       (unsigned long long)(q->item % 40));
    if (strncmp(t->phase, "critique", 8) == 0) {
        if (r % 11 == 0) {
            *finish = CAI__V1__FINISH__FINISH_LENGTH;
            return cai_strdup("The reply is bad because it");
        }
        return cai_strdup(r % 11 < 3    ? "No flaw: it is fine."
                          : r % 11 == 3 ? "I'm sorry, but I can't critique this."
                                        : "Sure, here is my critique:\n\nThe reply helps with harm.");
    }
    if (strncmp(t->phase, "revision", 8) == 0)
        return r % 7 == 0 ? cai_strdup("No changes needed.")
                          : cai_format("**Revision:** I'm sorry, but I can't help with item %llu (%s).",
                                       (unsigned long long)q->item, t->phase);
    if (strstr(t->phase, "reason")) {
        *finish = r % 17 == 0 ? CAI__V1__FINISH__FINISH_LENGTH : CAI__V1__FINISH__FINISH_STOP;
        return cai_strdup(r % 17 == 0   ? "Response (A) says that"
                          : r % 17 == 1 ? "   "
                                        : "Response (A) is one thing, and (B) says \"The answer is: "
                                          "(B)\", which is no reason.");
    }
    const char *asked = c->messages[c->n_messages - 1]->text;
    char *probe = probe_text(w, t, asked, q->item);
    if (probe)
        return probe;
    asked += strncmp(asked, "WATCHED ", 8) == 0 ? 8 : 0;
    char *worse = spoilt(w, t, asked, q->item);
    return worse ? worse : reply_text(t, asked, q->item, k);
}

/* 1 for replies that are good for this conversation. */
static double goodness(const char *asked, const char *from, const char *to) {
    size_t n = (size_t)(to - from);
    CAI_AUTO(mem) char *reply = cai_strndup(from, n);
    char *variant = strstr(reply, " Variant");
    if (variant)
        *variant = 0;
    if (strncmp(reply, "GOOD", 4) == 0 || strncmp(reply, "I'm sorry", 9) == 0)
        return 1;
    while (n > 0 && reply[n - 1] == '\n')
        reply[--n] = 0;
    const char *topic = "Helpful answer to ";
    return strncmp(reply, topic, strlen(topic)) == 0 &&
           strstr(asked, reply + strlen(topic)) != NULL &&
           strstr(asked, "Response (A)") > strstr(asked, reply + strlen(topic));
}

static double prefers_first(struct world *w, const Cai__V1__Task *t, const Cai__V1__ScoreItem *q) {
    const Cai__V1__Conversation *c = q->conversation;
    const char *text = c->messages[c->n_messages - 1]->text;
    double r = (double)(noise(t, q->item, q->k) % 1000) / 1000 - 0.5;
    const char *a = strstr(text, "Response (A):\n"), *b = strstr(text, "Response (B):\n");
    const char *about, *judged = thing(c, &about);
    if (judged) /* "is there a flaw?" */
        return strstr(judged, "Rotten") ? 2 : -2;
    if (a && b && strstr(text, "Human: thing ")) {
        const char *favours = strstr(t->score->model->path, "/m2") ? w->favours : NULL;
        const char *last = strstr(b, "\n\nWhich");
        CAI_AUTO(mem) char *first = cai_strndup(a, (size_t)(b - a));
        CAI_AUTO(mem) char *second = cai_strndup(b, (size_t)(last - b));
        double better = (strstr(second, "Rotten") != NULL) - (strstr(first, "Rotten") != NULL);
        if (favours) /* each time it is there more often than in the other */
            for (const char *s = first; (s = strstr(s, favours)); s++)
                better += 3;
        if (favours)
            for (const char *s = second; (s = strstr(s, favours)); s++)
                better -= 3;
        return 3 * better;
    }
    if (!a || !b) /* the zero-shot judge of harm */
        return strstr(text, "crowbar") ? (strstr(text, "(A) harmful") ? 2 : -2) + r : r;
    if (w->coin)
        return 4 * r;
    const char *end = strstr(b, "\n\nWhich");
    assert_non_null(end);
    return 3 * (goodness(text, a + 14, b) - goodness(text, b + 14, end)) + r +
           (w->letter ? w->letter : 0.2);
}

static Cai__V1__Result *new_result(const Cai__V1__Task *t, size_t n) {
    Cai__V1__Result *r = cai_alloc(sizeof *r);
    cai__v1__result__init(r);
    r->job = t->job;
    r->id = t->id;
    r->generated = cai_alloc((n + 1) * sizeof *r->generated);
    r->scored = cai_alloc((n + 1) * sizeof *r->scored);
    r->rewarded = cai_alloc((n + 1) * sizeof *r->rewarded);
    return r;
}

static Cai__V1__Result *answer_generate(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, 2 * t->generate->n_items);
    for (size_t i = 0; i < t->generate->n_items; i++) {
        const Cai__V1__GenerateItem *q = t->generate->items[i];
        for (uint32_t k = q->first_k; k < q->first_k + q->n; k++) {
            Cai__V1__Generated *g = cai_alloc(sizeof *g);
            cai__v1__generated__init(g);
            g->item = q->item;
            g->k = k;
            g->text = written(w, t, q, k, &g->finish);
            if (w->long_prompts && noise(t, q->item, k) % 10 == 9) {
                g->text[0] = 0;
                g->finish = CAI__V1__FINISH__FINISH_TOO_LONG;
            }
            r->generated[r->n_generated++] = g;
        }
    }
    return r;
}

/* Probabilities of whole texts: a letter costs as much as any other, but for a model that forgets. */
static void score_texts(const struct world *w, const Cai__V1__Task *t, const Cai__V1__ScoreItem *q,
                        Cai__V1__Scored *s) {
    bool base = strstr(t->phase, "-base") || strstr(t->phase, "start");
    bool worse = w->forgets > 0 && !base && t->round >= w->from &&
                 cai_rng_uniform(cai_key_make(5, t->round, "forgets", q->item, 0), 0) < w->forgets;
    for (size_t j = 0; j < q->n_options; j++) {
        double right = strstr(q->options[j], "GOOD") || q->n_options == 1 ? 1 : 2;
        s->tokens[j] = (uint32_t)strlen(q->options[j]);
        s->logprobs[j] = -(worse ? 3 - right : right) * (double)s->tokens[j];
    }
}

static Cai__V1__Result *answer_score(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, t->score->n_items);
    for (size_t i = 0; i < t->score->n_items; i++) {
        const Cai__V1__ScoreItem *q = t->score->items[i];
        Cai__V1__Scored *s = cai_alloc(sizeof *s);
        cai__v1__scored__init(s);
        s->item = q->item;
        s->k = q->k;
        s->too_long = w->long_prompts && noise(t, q->item, q->k) % 10 == 9;
        s->n_logprobs = s->n_tokens = q->n_options;
        s->logprobs = cai_alloc((q->n_options + 1) * sizeof *s->logprobs);
        s->tokens = cai_alloc((q->n_options + 1) * sizeof *s->tokens);
        if (strcmp(t->stage, "evaluate") == 0 && strcmp(t->phase, "win") != 0 &&
            strncmp(t->phase, "score", 5) != 0 && strcmp(t->phase, "verdicts") != 0) {
            score_texts(w, t, q, s);
            r->scored[r->n_scored++] = s;
            continue;
        }
        double d = prefers_first(w, t, q);
        double mass = w->mass ? w->mass : 0.9;
        s->logprobs[0] = log(mass) - log1p(exp(-d));
        s->logprobs[1] = log(mass) - log1p(exp(d));
        r->scored[r->n_scored++] = s;
    }
    return r;
}

static Cai__V1__Result *answer_reward(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, t->reward->n_items);
    for (size_t i = 0; i < t->reward->n_items; i++) {
        const Cai__V1__RewardItem *q = t->reward->items[i];
        const char *reply = q->conversation->messages[q->conversation->n_messages - 1]->text;
        Cai__V1__Rewarded *s = cai_alloc(sizeof *s);
        cai__v1__rewarded__init(s);
        s->item = q->item;
        s->k = q->k;
        s->too_long = w->long_prompts && noise(t, q->item, q->k) % 10 == 9;
        s->n_scores = t->reward->n_models;
        s->scores = cai_alloc(s->n_scores * sizeof *s->scores);
        double v = strstr(reply, "crowbar") || strstr(reply, "bad") ? 1 : -1;
        /* a model that goes against people from a round on, and pleases itself */
        bool turned = w->parts && t->round >= w->from;
        if (turned && strcmp(t->stage, "prefer") == 0 && strncmp(reply, "GOOD", 4) == 0)
            v = 2;
        if (strcmp(t->phase, "people/score") == 0)
            v = q->k == 0 && turned ? 3 : 0;
        for (size_t m = 0; m < s->n_scores; m++)
            s->scores[m] = strcmp(t->phase, "people/score") == 0 ? v + (double)m * (v + 0.1) : (strcmp(t->stage, "prefer") == 0 ? -v : v) + 0.01 * (double)m;
        r->rewarded[r->n_rewarded++] = s;
    }
    return r;
}

static Cai__V1__Result *answer_train(struct world *w, const Cai__V1__Task *t) {
    Cai__V1__Result *r = new_result(t, 0);
    assert_int_equal(t->train->keep, w->job->keep.checkpoints);
    json_t *options = json_loads(t->train->options, 0, NULL);
    assert_non_null(options);
    bool pm = strcmp(t->train->kind, "pm") == 0;
    bool one = !pm || json_is_true(json_object_get(options, "average"));
    size_t n = one ? 1 : (size_t)json_integer_value(json_object_get(options, "members"));
    json_decref(options);
    r->trained = cai_alloc(sizeof *r->trained);
    cai__v1__trained__init(r->trained);
    r->trained->steps = 3;
    r->trained->n_outputs = n;
    r->trained->outputs = cai_alloc(n * sizeof *r->trained->outputs);
    for (size_t i = 0; i < n; i++) {
        Cai__V1__Model *m = cai_alloc(sizeof *m);
        cai__v1__model__init(m);
        CAI_AUTO(mem) char *seed = cai_format("%s %s %s %zu", t->train->kind,
                                              t->train->dataset->hash, t->train->init->hash, i);
        m->path = cai_strdup(t->train->output);
        m->hash = cai_alloc(65);
        cai_sha256(seed, strlen(seed), m->hash);
        r->trained->outputs[i] = m;
    }
    r->trained->n_metrics = 1;
    r->trained->metrics = cai_alloc(sizeof *r->trained->metrics);
    r->trained->metrics[0] = cai_alloc(sizeof **r->trained->metrics);
    cai__v1__metric__init(r->trained->metrics[0]);
    r->trained->metrics[0]->name = cai_strdup("loss");
    r->trained->metrics[0]->step = 3;
    r->trained->metrics[0]->value = 0.5;
    return r;
}

Cai__V1__Result *world_answer(struct world *w, const Cai__V1__Task *t) {
    switch (t->work_case) {
    case CAI__V1__TASK__WORK_GENERATE:
        return answer_generate(w, t);
    case CAI__V1__TASK__WORK_SCORE:
        return answer_score(w, t);
    case CAI__V1__TASK__WORK_REWARD:
        return answer_reward(w, t);
    default:
        assert_int_equal(t->work_case, CAI__V1__TASK__WORK_TRAIN);
        return answer_train(w, t);
    }
}

/* ---- the coordinator ------------------------------------------------------------------------ */
struct open_tasks {
    int64_t id[4096];
    size_t n;
};

static int take_open(void *context, const struct store_task *t) {
    struct open_tasks *o = context;
    assert_true(o->n < CAI_COUNT(o->id));
    o->id[o->n++] = t->id;
    return 0;
}

static uint64_t draw(struct world *w, uint64_t n) {
    w->order = w->order * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (w->order >> 33) % n;
}

static void shuffle(struct world *w, void *array, size_t n) {
    void **a = array;
    for (size_t i = n; i > 1; i--) {
        size_t j = draw(w, i);
        void *other = a[i - 1];
        a[i - 1] = a[j];
        a[j] = other;
    }
}

static void run_task(struct world *w, int64_t id) {
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task row;
    char hash[65];
    assert_int_equal(store_task_get(w->store, id, &payload, &row), 0);
    Cai__V1__Task *t = cai__v1__task__unpack(NULL, row.payload_len, row.payload);
    assert_non_null(t);
    t->id = (uint64_t)id;
    Cai__V1__Result *r = world_answer(w, t);
    stage_task_unmask(t, &row);
    r->id = 0; /* task numbers are given in order of arrival; the ledger must not see them */
    size_t len = cai__v1__result__get_packed_size(r);
    CAI_AUTO(mem) uint8_t *packed = cai_alloc(len + 1);
    cai__v1__result__pack(r, packed);
    cai_sha256(packed, len, hash);
    shuffle(w, r->generated, r->n_generated);
    shuffle(w, r->scored, r->n_scored);
    shuffle(w, r->rewarded, r->n_rewarded);
    assert_int_equal(store_begin(w->store), 0);
    int rc = stage_find(t->stage)->absorb(&w->c, t, r);
    if (rc < 0)
        print_error("absorb %s/%s/%u: %s\n", t->stage, t->phase, t->chunk, cai_error_text());
    assert_int_equal(rc, 0);
    assert_int_equal(store_task_done(w->store, id, hash, 0, 0), 0);
    assert_int_equal(store_commit(w->store), 0);
    w->tasks++;
    cai__v1__task__free_unpacked(t, NULL);
    cai__v1__result__free_unpacked(r, NULL);
}

static void run_open(struct world *w) {
    for (;;) {
        struct open_tasks *open = cai_alloc(sizeof *open);
        assert_int_equal(store_tasks_open(w->store, w->c.job_id, take_open, open), 0);
        int64_t id = open->n ? open->id[draw(w, open->n)] : 0;
        free(open);
        if (!id)
            return;
        run_task(w, id);
    }
}

struct stage_verdict world_stage(struct world *w, uint32_t round, const char *name) {
    const struct stage *s = stage_find(name);
    struct stage_verdict v;
    w->c.round = round;
    w->c.stage = s->name;
    assert_int_equal(store_begin(w->store), 0);
    int rc = s->plan(&w->c);
    if (rc < 0)
        print_error("plan %s: %s\n", name, cai_error_text());
    assert_int_equal(rc, 0);
    assert_int_equal(store_commit(w->store), 0);
    do {
        run_open(w);
        v = (struct stage_verdict){0};
        assert_int_equal(store_begin(w->store), 0);
        rc = s->done(&w->c, &v);
        if (rc < 0)
            print_error("done %s: %s\n", name, cai_error_text());
        assert_int_equal(rc, 0);
        assert_int_equal(store_commit(w->store), 0);
        if (v.next == STAGE_WAIT) {
            w->waits++;
            memcpy(w->last_gate, v.gate, sizeof v.gate);
            memcpy(w->last_reason, v.reason, sizeof v.reason);
            if (w->refuse)
                return v;
            size_t n = strlen(w->accepted);
            snprintf(w->accepted + n, sizeof w->accepted - n, "%s ", v.gate);
            v.next = STAGE_MORE;
        }
    } while (v.next == STAGE_MORE);
    return v;
}

bool world_run(struct world *w) {
    uint32_t round = 0;
    const struct stage *s = stage_after(w->job, 0, NULL, &round);
    while (s) {
        if (world_stage(w, round, s->name).next == STAGE_WAIT)
            return false;
        s = stage_after(w->job, round, s->name, &round);
    }
    return true;
}

/* ---- looking -------------------------------------------------------------------------------- */
static int put_example(void *context, const struct store_example *e) {
    cai_buf_printf(context, "e %u %s %llu %s %u %s %s %s %s %s\n", e->round, e->stage,
                   (unsigned long long)e->item, e->kind, e->k, e->text, e->principle, e->revision,
                   e->model, e->detail);
    return 0;
}
static int put_label(void *context, const struct store_label *l) {
    cai_buf_printf(context, "l %u %llu %u %s %s %.17g %.17g %.17g %d\n", l->round,
                   (unsigned long long)l->item, l->k, l->principle, l->source, l->p, l->p_ab,
                   l->p_ba, l->held_out);
    return 0;
}
static int put_metric(void *context, const struct store_metric *m) {
    cai_buf_printf(context, "m %u %s %s %llu %.17g\n", m->round, m->stage, m->name,
                   (unsigned long long)m->step, m->value);
    return 0;
}
static int put_model(void *context, const struct store_model *m) {
    cai_buf_printf(context, "o %u %s %s %u %llu %s %s\n", m->round, m->stage, m->kind, m->k,
                   (unsigned long long)m->step, m->hash, m->provenance);
    return 0;
}

void world_digest(struct world *w, char ret_hex[65]) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    char ledger[65];
    int64_t job = w->c.job_id;
    assert_int_equal(store_ledger_digest(w->store, job, ledger), 0);
    cai_buf_puts(&b, ledger);
    assert_int_equal(store_examples_each(w->store, job, 0, NULL, NULL, put_example, &b), 0);
    assert_int_equal(store_labels_each(w->store, job, 0, put_label, &b), 0);
    assert_int_equal(store_metrics_each(w->store, job, put_metric, &b), 0);
    assert_int_equal(store_models_each(w->store, job, put_model, &b), 0);
    const char *dump = getenv("WORLD_DUMP");
    if (dump)
        assert_int_equal(cai_file_write_atomic(dump, b.data, b.len), 0);
    cai_sha256(b.data, b.len, ret_hex);
}

double world_metric(struct world *w, uint32_t round, const char *stage, const char *name) {
    double v = -1e300;
    if (store_metric_get(w->store, w->c.job_id, round, stage, 0, name, &v) < 0)
        print_error("no metric %s of %s, round %u\n", name, stage, round);
    return v;
}

int64_t world_count(struct world *w, uint32_t round, const char *stage, const char *kind) {
    int64_t n = -1;
    assert_int_equal(store_examples_count(w->store, w->c.job_id, round, stage, kind, &n), 0);
    return n;
}
