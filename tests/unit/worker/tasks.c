/* Whole tasks on real folders: generate, score, reward, and what they refuse. */
#include "../learn/folder.h"

#include "base/error.h"
#include "worker/table.h"

static char base_hash[65], pm_hash[65];

static int open_models(void **state)
{
    int rc = open_world(state);
    write_model("pm", true, 2);
    CAI_AUTO(mem) char *base = at_root("base");
    CAI_AUTO(mem) char *pm = at_root("pm");
    must(hf_model_hash(base, base_hash));
    must(hf_model_hash(pm, pm_hash));
    return rc;
}

static int close_models(void **state)
{
    worker_forget_models();
    return close_world(state);
}

static char *text_of(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* A conversation of alternating user and assistant texts, on the caller's stack. */
struct talk {
    Cai__V1__Message messages[4], *list[4];
    Cai__V1__Conversation c;
};

static void talk_init(struct talk *t, const char *const *texts, size_t n)
{
    cai__v1__conversation__init(&t->c);
    for (size_t i = 0; i < n; i++) {
        cai__v1__message__init(&t->messages[i]);
        t->messages[i].role = text_of(i % 2 ? "assistant" : "user");
        t->messages[i].text = text_of(texts[i]);
        t->list[i] = &t->messages[i];
    }
    t->c.messages = t->list;
    t->c.n_messages = n;
}

static const char *dtype = ""; /* of the tasks that are made */
static uint32_t replies = 2;    /* to each prompt */
static const char *opening;     /* of each; NULL = none */

static int run_task(Cai__V1__Task *task, const struct task_host *host, Cai__V1__Result **ret)
{
    struct task_run run = {.task = task, .host = host};
    task->job = 4;
    task->id = 9;
    task->seed = 11;
    task->round = 1;
    task->stage = text_of("revise");
    task->phase = text_of("test");
    task->dtype = text_of(dtype);
    return worker_run_task(&run, ret);
}

static int generate(const char *model, const char *hash, struct talk *talks, size_t n,
                    const struct task_host *host, Cai__V1__Result **ret)
{
    CAI_AUTO(mem) char *path = at_root(model);
    Cai__V1__Model m = CAI__V1__MODEL__INIT;
    Cai__V1__Sampling s = CAI__V1__SAMPLING__INIT;
    Cai__V1__Generate g = CAI__V1__GENERATE__INIT;
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    Cai__V1__GenerateItem items[4], *list[4];
    char *stop[] = {text_of("e")};
    for (size_t i = 0; i < n; i++) {
        cai__v1__generate_item__init(&items[i]);
        items[i].item = 100 + i;
        items[i].n = replies;
        items[i].first_k = 3;
        if (opening)
            items[i].prefix = text_of(opening);
        items[i].conversation = &talks[i].c;
        list[i] = &items[i];
    }
    m.path = path;
    m.hash = text_of(hash);
    s.temperature = 1;
    s.max_tokens = 16;
    s.stop = stop;
    s.n_stop = 1;
    g.model = &m;
    g.sampling = &s;
    g.items = list;
    g.n_items = n;
    task.work_case = CAI__V1__TASK__WORK_GENERATE;
    task.generate = &g;
    return run_task(&task, host, ret);
}

static void generation_fills_every_item(void **state)
{
    (void)state;
    char huge[4096];
    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    const char *short_text[] = {"say a"}, *long_text[] = {huge};
    struct talk talks[2];
    Cai__V1__Result *a, *b;
    talk_init(&talks[0], short_text, 1);
    talk_init(&talks[1], long_text, 1);
    must(generate("base", base_hash, talks, 2, NULL, &a));
    assert_int_equal(a->job, 4);
    assert_int_equal(a->id, 9);
    assert_int_equal(a->n_generated, 4);
    for (size_t i = 0; i < 4; i++) {
        const Cai__V1__Generated *g = a->generated[i];
        assert_int_equal(g->item, 100 + i / 2);
        assert_int_equal(g->k, 3 + i % 2);
        assert_null(strchr(g->text, 'e')); /* the stop string is cut off */
        assert_true(g->prompt_tokens > 0);
        if (i < 2)
            assert_true(g->tokens >= 1 && g->tokens <= 16 && g->logprob < 0);
        else
            assert_int_equal(g->finish, CAI__V1__FINISH__FINISH_TOO_LONG);
    }
    assert_true(a->generated[2]->prompt_tokens > 4000);
    worker_forget_models(); /* nothing but the weights may matter */
    must(generate("base", base_hash, talks, 2, NULL, &b));
    a->seconds = b->seconds = 0;
    a->memory = b->memory = a->held->rest = b->held->rest = 0;
    size_t size = cai__v1__result__get_packed_size(a);
    assert_int_equal(size, cai__v1__result__get_packed_size(b));
    CAI_AUTO(mem) uint8_t *x = cai_alloc(size);
    CAI_AUTO(mem) uint8_t *y = cai_alloc(size);
    cai__v1__result__pack(a, x);
    cai__v1__result__pack(b, y);
    assert_memory_equal(x, y, size);
    cai__v1__result__free_unpacked(a, NULL);
    cai__v1__result__free_unpacked(b, NULL);
}

/* How many of many short replies begin with a blank. */
static size_t blanks(const char *begun)
{
    const char *text[] = {"say a"};
    struct talk talk;
    Cai__V1__Result *r;
    talk_init(&talk, text, 1);
    replies = 4000;
    opening = begun;
    must(generate("base", base_hash, &talk, 1, NULL, &r));
    replies = 2;
    opening = NULL;
    assert_int_equal(r->n_generated, 4000);
    size_t n = 0;
    for (size_t i = 0; i < r->n_generated; i++)
        n += r->generated[i]->text[0] == ' ';
    cai__v1__result__free_unpacked(r, NULL);
    return n;
}

/* The plain form writes "Assistant: " before a text: the blank is the form's, and would stand there
 * twice when the reply is written into a conversation. After an opening it is the text's own. */
static void a_reply_is_kept_without_its_forms_blank(void **state)
{
    (void)state;
    assert_true(blanks("ab") >= 3);
    assert_true(blanks(NULL) < 3); /* the text itself may begin with one */
}

/* What a dry run plans by: the cache, and the tokens that were read at once. */
static void a_task_says_what_it_held(void **state)
{
    (void)state;
    const char *texts[] = {"say a"}, *longer[] = {"say a and then b and then a again"};
    struct talk talks[2];
    Cai__V1__Result *r;
    talk_init(&talks[0], texts, 1);
    talk_init(&talks[1], longer, 1);
    must(generate("base", base_hash, talks, 2, NULL, &r));
    uint32_t x = r->generated[0]->prompt_tokens, y = r->generated[2]->prompt_tokens;
    const Cai__V1__Held *h = r->held;
    assert_true(h->rest > 0 && r->memory >= h->rest);
    assert_int_equal(h->slots, 4); /* two prompts, two replies each */
    assert_int_equal(h->positions, (y > x ? y : x) + 16);
    assert_true(h->cache > 0 && h->cache % (h->slots + 1) == 0);
    assert_true(h->rows >= 2 && h->rows <= 2 * (x + y));
    assert_true(h->micro == 0 && h->data == 0);
    cai__v1__result__free_unpacked(r, NULL);
}

static void packed(const Cai__V1__Result *r, struct cai_buf *ret)
{
    size_t size = cai__v1__result__get_packed_size(r);
    CAI_AUTO(mem) uint8_t *bytes = cai_alloc(size);
    cai__v1__result__pack(r, bytes);
    cai_buf_append(ret, bytes, size);
}

/* Replies in bfloat16 are others, and the same each time; an unknown type is refused. */
static void a_task_says_what_it_is_computed_in(void **state)
{
    (void)state;
    const char *texts[] = {"say a"};
    const char *const types[] = {"", "float32", "bfloat16", "bfloat16"};
    struct talk talk;
    struct cai_buf got[4] = {0};
    talk_init(&talk, texts, 1);
    for (size_t i = 0; i < 4; i++) {
        Cai__V1__Result *r;
        dtype = types[i];
        must(generate("base", base_hash, &talk, 1, NULL, &r));
        r->seconds = 0;
        r->memory = r->held->rest = 0;
        packed(r, &got[i]);
        cai__v1__result__free_unpacked(r, NULL);
    }
    assert_int_equal(got[0].len, got[1].len);
    assert_memory_equal(got[0].data, got[1].data, got[0].len);
    assert_int_equal(got[2].len, got[3].len);
    assert_memory_equal(got[2].data, got[3].data, got[2].len);
    assert_true(got[0].len != got[2].len || memcmp(got[0].data, got[2].data, got[0].len) != 0);
    Cai__V1__Result *r;
    dtype = "float8";
    assert_int_equal(generate("base", base_hash, &talk, 1, NULL, &r), CAI_EPROTO);
    assert_non_null(strstr(cai_error_text(), "float8"));
    dtype = "";
    for (size_t i = 0; i < 4; i++)
        cai_buf_free(&got[i]);
}

static void a_changed_folder_is_refused(void **state)
{
    (void)state;
    const char *texts[] = {"say a"};
    struct talk talk;
    Cai__V1__Result *r;
    worker_forget_models();
    talk_init(&talk, texts, 1);
    assert_int_equal(generate("base", pm_hash, &talk, 1, NULL, &r), CAI_ESTATE);
    assert_non_null(strstr(cai_error_text(), "has changed"));
    assert_int_equal(generate("pm", pm_hash, &talk, 1, NULL, &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "scalar-head"));
}

static bool always(void *context)
{
    (void)context;
    return true;
}

static void a_revoked_lease_ends_the_task(void **state)
{
    (void)state;
    const char *texts[] = {"say a"};
    struct talk talk;
    struct task_host host = {.stopping = always};
    Cai__V1__Result *r;
    talk_init(&talk, texts, 1);
    assert_int_equal(generate("base", base_hash, &talk, 1, &host, &r), CAI_ESTATE);
}

static void options_get_their_logprobs(void **state)
{
    (void)state;
    const char *texts[] = {"say a"};
    char *options[] = {text_of(" yes"), text_of(" no"), text_of(" ")};
    struct talk talk;
    CAI_AUTO(mem) char *path = at_root("base");
    Cai__V1__Model m = CAI__V1__MODEL__INIT;
    Cai__V1__Score s = CAI__V1__SCORE__INIT;
    Cai__V1__ScoreItem item = CAI__V1__SCORE_ITEM__INIT, *list[] = {&item};
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    Cai__V1__Result *r;
    talk_init(&talk, texts, 1);
    m.path = path;
    m.hash = base_hash;
    item.item = 7;
    item.conversation = &talk.c;
    item.prefix = text_of("I say");
    item.options = options;
    item.n_options = 3;
    s.model = &m;
    s.items = list;
    s.n_items = 1;
    task.work_case = CAI__V1__TASK__WORK_SCORE;
    task.score = &s;
    must(run_task(&task, NULL, &r));
    assert_int_equal(r->n_scored, 1);
    assert_int_equal(r->scored[0]->item, 7);
    assert_int_equal(r->scored[0]->n_logprobs, 3);
    assert_int_equal(r->scored[0]->tokens[0], 4);
    /* the beginning of a string is at least as probable as the string */
    assert_true(r->scored[0]->logprobs[2] < 0);
    assert_true(r->scored[0]->logprobs[0] < r->scored[0]->logprobs[2]);
    assert_true(r->scored[0]->logprobs[1] < r->scored[0]->logprobs[2]);
    cai__v1__result__free_unpacked(r, NULL);
}

static int reward(struct talk *talks, size_t n, const char *first, const char *hash,
                  Cai__V1__Result **ret)
{
    CAI_AUTO(mem) char *path = at_root("pm");
    CAI_AUTO(mem) char *other = at_root(first);
    Cai__V1__Model m[2], *models[] = {&m[0], &m[1]};
    Cai__V1__Reward w = CAI__V1__REWARD__INIT;
    Cai__V1__RewardItem items[4], *list[4];
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    for (size_t i = 0; i < n; i++) {
        cai__v1__reward_item__init(&items[i]);
        items[i].item = i;
        items[i].conversation = &talks[i].c;
        list[i] = &items[i];
    }
    cai__v1__model__init(&m[0]);
    cai__v1__model__init(&m[1]);
    m[0].path = other;
    m[0].hash = text_of(hash);
    m[1].path = path;
    m[1].hash = pm_hash;
    w.models = models;
    w.n_models = 2;
    w.items = list;
    w.n_items = n;
    task.work_case = CAI__V1__TASK__WORK_REWARD;
    task.reward = &w;
    return run_task(&task, NULL, ret);
}

static void every_member_scores_every_reply(void **state)
{
    (void)state;
    const char *yes[] = {"say a", "yes"}, *no[] = {"say a", "no"}, *open[] = {"say a"};
    struct talk talks[3];
    Cai__V1__Result *r;
    talk_init(&talks[0], yes, 2);
    talk_init(&talks[1], no, 2);
    talk_init(&talks[2], yes, 2);
    must(reward(talks, 3, "pm", pm_hash, &r));
    assert_int_equal(r->n_rewarded, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(r->rewarded[i]->n_scores, 2);
        assert_true(r->rewarded[i]->scores[0] == r->rewarded[i]->scores[1]);
    }
    assert_true(r->rewarded[0]->scores[0] != r->rewarded[1]->scores[0]);
    assert_true(fabs(r->rewarded[0]->scores[0] - r->rewarded[2]->scores[0]) < 1e-5);
    cai__v1__result__free_unpacked(r, NULL);
    assert_int_equal(reward(talks, 3, "base", base_hash, &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "scalar head"));
    talk_init(&talks[1], open, 1);
    assert_int_equal(reward(talks, 2, "pm", pm_hash, &r), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "assistant"));
}

static void an_unknown_kind_is_refused(void **state)
{
    (void)state;
    Cai__V1__Task task = CAI__V1__TASK__INIT;
    Cai__V1__Result *r;
    assert_int_equal(run_task(&task, NULL, &r), CAI_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generation_fills_every_item),
        cmocka_unit_test(a_reply_is_kept_without_its_forms_blank),
        cmocka_unit_test(a_task_says_what_it_is_computed_in),
        cmocka_unit_test(a_task_says_what_it_held),
        cmocka_unit_test(a_changed_folder_is_refused),
        cmocka_unit_test(a_revoked_lease_ends_the_task),
        cmocka_unit_test(options_get_their_logprobs),
        cmocka_unit_test(every_member_scores_every_reply),
        cmocka_unit_test(an_unknown_kind_is_refused),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
