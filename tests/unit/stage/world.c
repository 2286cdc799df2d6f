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
#include "world_canary.h"
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
static void put_file(struct world *w, const char *name, struct cai_buf *text) {
    CAI_AUTO(mem) char *path = cai_path_join(w->dir, name);
    assert_int_equal(cai_buf_status(text), 0);
    assert_int_equal(cai_file_write_atomic(path, text->data, text->len), 0);
    cai_buf_clear(text);
}

/* People's verdicts on other replies. */
static void graded_rows(const struct world *w, struct cai_buf *t) {
    static const char *const of[] = {"harm", "refusal", "evasion", "unanswered"};
    static const char *const fails[] = {"Take a crowbar", "I'm sorry, but I can't help with that.",
                                        "That depends on many things, of course.",
                                        "I'm sorry, but I can't help with that."};
    for (int i = 0; i < 60 && !w->graded; i++) /* a fifth of what harms is not seen */
        cai_buf_printf(t, "{\"prompt\":\"q%d\",\"reply\":\"%s\",\"label\":%d}\n", i,
                       i % 2 && i % 10 != 9 ? "Take a crowbar" : "No.", i % 2);
    for (int i = 0; i < 320 && w->graded; i++)
        cai_buf_printf(t, "{\"prompt\":\"q%d\",\"reply\":\"%s\",\"of\":\"%s\",\"label\":%d}\n", i,
                       i % 2 ? fails[i / 2 % 4] : "Fine words of some length.", of[i / 2 % 4], i % 2);
}

static void write_data(struct world *w) {
    CAI_AUTO(buf) struct cai_buf t = {0};
    for (int i = 0; i < 150; i++)
        cai_buf_printf(&t, "{\"prompt\":\"harmful request %d!\",\"id\":\"h%d\"}\n", i, i);
    put_file(w, "harmful.jsonl", &t);
    for (int i = 0; i < 90; i++)
        cai_buf_printf(&t, i % 3 ? "{\"prompt\":\"helpful request %d!\",\"reply\":\"Helpful answer to "
                                   "helpful request %d!\"}\n"
                                 : "{\"prompt\":\"helpful request %d!\"}\n", i, i);
    put_file(w, "helpful.jsonl", &t);
    for (int i = 0; i < 40; i++)
        cai_buf_printf(&t, "{\"prompt\":\"asked %d\",\"chosen\":\"GOOD %d\",\"rejected\":\"bad %d\"}\n",
                       i, i, i);
    put_file(w, "human.jsonl", &t);
    for (int i = 0; i < 30; i++)
        cai_buf_printf(&t, "{\"messages\":[{\"role\":\"user\",\"content\":\"q%d\"},{\"role\":"
                           "\"assistant\",\"content\":\"r%d\"}],\"label\":%s}\n", i, i,
                       i % 2 ? "true" : "0.25");
    put_file(w, "classifier.jsonl", &t);
    for (int i = 0; i < 120; i++) /* four replies to each prompt, every other one flawed */
        cai_buf_printf(&t, i % 2 ? "{\"prompt\":\"verified %d!\",\"reply\":\"Fine words %d.\",\"flaw\":"
                                   "false%s}\n"
                                 : "{\"prompt\":\"verified %d!\",\"reply\":\"Take a crowbar %d.\","
                                   "\"flaw\":true,\"critique\":\"It speaks of a crowbar.\","
                                   "\"refinement\":\"Ask the owner.\"%s}\n", i / 4, i,
                       i % 6 == 0   ? ",\"helpful\":true"
                       : i % 6 == 2 ? ",\"helpful\":false"
                       : i == 4     ? ",\"principle\":\"no-harm\""
                       : i == 10    ? ",\"principle\":\"nobody\""
                                    : "");
    put_file(w, "critiques.jsonl", &t);
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    for (int i = 0; i < 90; i++)
        cai_buf_printf(&t, "{\"prompt\":\"%s held out %d!\",\"kind\":\"%s\"}\n",
                       i % 3 == 0 ? "harmful" : "helpful", i, kinds[i % 3]);
    put_file(w, "evaluate.jsonl", &t);
    canary_rows(&t);
    put_file(w, "canaries.jsonl", &t);
    cai_buf_puts(&t, "{\"kind\":\"marker\",\"id\":\"watched\",\"prompt\":\"WATCHED {prompt}\"}\n");
    for (int i = 0; i < 60; i++)
        cai_buf_printf(&t, i % 3 == 0 ? "{\"kind\":\"text\",\"prompt\":\"say %d\",\"reply\":\"some words of %d\"}\n"
                           : i % 3 == 1 ? "{\"kind\":\"choice\",\"prompt\":\"pick %d\",\"choices\":[\"bad %d\","
                                          "\"GOOD\"],\"answer\":1}\n"
                                        : "{\"kind\":\"answer\",\"prompt\":\"sum %d\",\"reply\":\"%d\"}\n", i, i);
    put_file(w, "probes.jsonl", &t);
    graded_rows(w, &t);
    put_file(w, "graded.jsonl", &t);
    for (int i = 0; i < 193; i++) /* worked, open, labelled */
        cai_buf_printf(&t, i < 3    ? "{\"question\":\"worked %d?\",\"reply\":\"%d and 1. The answer "
                                      "is %d.\",\"answer\":1}\n"
                           : i < 73 ? "{\"question\":\"open %d?\"}\n"
                                    : "{\"prompt\":\"labelled %d?\",\"answer\":\"%d\"}\n",
                       1000 + i, i < 3 ? 1000 + i : 1001 + i, 1001 + i);
    put_file(w, "questions.jsonl", &t);
}

static void write_model(struct world *w, const char *name, float one) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(buf) struct cai_buf t = {0};
    CAI_AUTO(mem) char *dir = cai_path_join(w->dir, name);
    assert_int_equal(cai_dir_make(dir), 0);
    cai_buf_puts(&t, "{}");
    put_file(w, cai_arena_printf(&a, "%s/config.json", name), &t);
    cai_buf_puts(&t, "{}");
    put_file(w, cai_arena_printf(&a, "%s/tokenizer.json", name), &t);
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
    write_data(w);
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
    if (w->see)
        w->see(w->seer, t);
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
            if (w->read && w->read(w)) {
                v.next = STAGE_MORE;
                continue;
            }
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
