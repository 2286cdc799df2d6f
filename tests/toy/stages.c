/* stages.c: a table of toy stages in place of daemon/stage's, for tests of the coordinator
 * alone: texts without models, so that a whole job takes a second and runs under the
 * sanitizers. Two rounds of "write" (single tasks in two phases) and "train" (a gang),
 * then "last" (a gang with checkpoints). What matters here is that each depends on the
 * ones before through the store alone. A job of the name "gated" waits for a person to accept
 * it; one of the name "read", for people's verdicts on four pairs, which "last" trains on. */
#include "base/error.h"
#include "base/file.h"
#include "stage/review.h"
#include "stage/stage.h"
#include <string.h>

enum { CHUNKS = 6, ITEMS = 4, PAIRS = 4 };

static bool always(const struct job_spec *job) {
    (void)job;
    return true;
}

static int add_generate(const struct stage_context *c, const char *phase, uint32_t chunk) {
    Cai__V1__Message message = CAI__V1__MESSAGE__INIT;
    message.role = (char *)"user";
    CAI_AUTO(mem) char *text = cai_format("%s %u %u", phase, c->round, chunk);
    message.text = text;
    Cai__V1__Message *messages[1] = {&message};
    Cai__V1__Conversation conversation = CAI__V1__CONVERSATION__INIT;
    conversation.n_messages = 1;
    conversation.messages = messages;
    Cai__V1__GenerateItem items[ITEMS], *at[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        cai__v1__generate_item__init(&items[i]);
        items[i].item = chunk * ITEMS + i;
        items[i].n = 1;
        items[i].conversation = &conversation;
        at[i] = &items[i];
    }
    Cai__V1__Generate generate = CAI__V1__GENERATE__INIT;
    generate.n_items = ITEMS;
    generate.items = at;
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    task.work_case = CAI__V1__TASK__WORK_GENERATE;
    task.generate = &generate;
    return stage_task_add(c, phase, chunk, false, &task);
}

static int write_plan(const struct stage_context *c) {
    for (uint32_t i = 0; i < CHUNKS; i++)
        CAI_TRY(add_generate(c, "first", i));
    return 0;
}

static int write_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Result *result) {
    for (size_t i = 0; i < result->n_generated; i++) {
        const Cai__V1__Generated *g = result->generated[i];
        struct store_example e = {.job = c->job_id, .round = c->round, .stage = c->stage,
                                  .item = g->item, .k = g->k, .kind = task->phase,
                                  .text = g->text};
        CAI_TRY(store_example_add(c->store, &e));
    }
    /* A second step follows each first one, in the transaction that absorbs it. */
    return strcmp(task->phase, "first") == 0 ? add_generate(c, "second", task->chunk) : 0;
}

static int go_on(const struct stage_context *c, struct stage_verdict *ret) {
    (void)c;
    ret->next = STAGE_DONE;
    return 0;
}

static int append_text(void *context, const struct store_example *e) {
    cai_buf_printf(context, "%u %llu %s %s\n", e->round, (unsigned long long)e->item, e->kind,
                   e->text);
    return 0;
}

static bool is_read(const struct stage_context *c) { return strcmp(c->job->name, "read") == 0; }

/* The second pair wants a first verdict before any help. */
static int add_queue(const struct stage_context *c) {
    static const char content[] =
        "{\"principle\": \"kind\", \"question\": \"Which reply is kinder?\", \"messages\":"
        " [{\"role\": \"user\", \"text\": \"hello\"}], \"replies\": [{\"mark\": \"A\", \"text\": \"go\"},"
        " {\"mark\": \"B\", \"text\": \"come in\"}], \"critiques\": [{\"id\": 1, \"text\": \"It is"
        " curt.\", \"span\": [0, 2], \"reply\": \"A\"}], \"kept\": {\"flipped\": false}}";
    CAI_TRY(review_open_queue(c, "comparison", "review-1", PAIRS));
    for (uint32_t i = 0; i < PAIRS; i++) {
        struct store_review_item item = {.job = c->job_id, .round = c->round, .item = i,
                                         .kind = "comparison", .position = i, .drawn = "random",
                                         .unaided = i == 1, .content = content};
        CAI_TRY(store_review_item_add(c->store, &item, NULL));
    }
    return 0;
}

static int append_verdicts(const struct stage_context *c, struct cai_buf *rows) {
    CAI_AUTO(book) struct book b = {0};
    CAI_TRY(book_load(c->store, c->job_id, -1, NULL, &b));
    for (size_t i = 0; i < b.n; i++)
        cai_buf_printf(rows, "%llu verdict %g\n", (unsigned long long)b.at[i].row.item,
                       b.at[i].verdict);
    return 0;
}

static int train_plan(const struct stage_context *c) {
    CAI_AUTO(buf) struct cai_buf rows = {0};
    bool last = strcmp(c->stage, "last") == 0;
    CAI_TRY(store_examples_each(c->store, c->job_id, 0, "write", NULL, append_text, &rows));
    if (is_read(c) && last)
        CAI_TRY(append_verdicts(c, &rows));
    if (is_read(c) && !last && c->round == 1)
        CAI_TRY(add_queue(c));
    Cai__V1__Dataset dataset = CAI__V1__DATASET__INIT;
    char hash[65];
    CAI_AUTO(mem) char *path = NULL;
    CAI_TRY(store_blob_put(c->store, rows.data, rows.len, hash, &path));
    dataset.path = path;
    dataset.hash = hash;
    Cai__V1__Train train = CAI__V1__TRAIN__INIT;
    train.kind = (char *)"sft";
    train.dataset = &dataset;
    CAI_AUTO(mem) char *output = cai_format("%s/%s-%u", c->work_dir, c->stage, c->round);
    CAI_AUTO(mem) char *checkpoints = cai_format("%s/%s-%u.ckpt", c->work_dir, c->stage, c->round);
    train.output = output;
    train.checkpoints = checkpoints;
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    task.work_case = CAI__V1__TASK__WORK_TRAIN;
    task.train = &train;
    return stage_task_add(c, "run", 0, true, &task);
}

static int train_absorb(const struct stage_context *c, const Cai__V1__Task *task,
                        const Cai__V1__Result *result) {
    if (!result->trained || result->trained->n_outputs != 1)
        return cai_fail(CAI_EPROTO, "%s: no output", task->stage);
    CAI_AUTO(mem) char *about = cai_format("{\"dataset\": \"%s\"}", task->train->dataset->hash);
    struct store_model m = {.job = c->job_id, .round = c->round, .stage = c->stage,
                            .provenance = about,
                            .kind = "policy", .path = result->trained->outputs[0]->path,
                            .hash = result->trained->outputs[0]->hash};
    return store_model_add(c->store, &m);
}

/* The gates that the job's name asks for. */
static int train_done(const struct stage_context *c, struct stage_verdict *ret) {
    ret->next = STAGE_DONE;
    if (is_read(c) && c->round == 1) {
        CAI_AUTO(book) struct book b = {0};
        bool closed;
        CAI_TRY(book_load(c->store, c->job_id, c->round, "comparison", &b));
        return review_wait(c, "comparison", &b, ret, &closed);
    }
    if (strcmp(c->job->name, "gated") == 0 && c->round == 1 && !strstr(c->accepted, "look")) {
        ret->next = STAGE_WAIT;
        snprintf(ret->gate, sizeof ret->gate, "look");
        snprintf(ret->reason, sizeof ret->reason, "a person must look");
    }
    return 0;
}

static const struct stage write_stage = {"write", "write", false, always, write_plan, write_absorb,
                                         go_on};
static const struct stage train_stage = {"train", "train", false, always, train_plan, train_absorb,
                                         train_done};
static const struct stage last_stage = {"last", "last", true, always, train_plan, train_absorb,
                                        go_on};
const struct stage *const stage_table[] = {&write_stage, &train_stage, &last_stage, NULL};

const struct stage *stage_find(const char *name) {
    for (size_t i = 0; stage_table[i]; i++)
        if (strcmp(stage_table[i]->name, name) == 0)
            return stage_table[i];
    return NULL;
}

const struct stage *stage_after(const struct job_spec *job, uint32_t round, const char *name,
                                uint32_t *ret_round) {
    *ret_round = round ? round : 1;
    if (!name)
        return &write_stage;
    if (strcmp(name, "write") == 0)
        return &train_stage;
    if (strcmp(name, "last") == 0)
        return NULL;
    *ret_round = round + 1;
    return round < job->rounds ? &write_stage : &last_stage;
}
