/* options.c: options, text: how probable given texts are, through the engine that labels and
 * evaluates (learn/engine.h). Not for: which option is right (caictl eval). */
#include "base/check.h"
#include "probe.h"

#include <string.h>

/* What is asked of one prompt; ids are the struct's. */
struct question {
    struct hf_ids prompt, *options;
    size_t n;
};

static void question_free(struct question *q)
{
    for (size_t i = 0; i < q->n; i++)
        hf_ids_free(&q->options[i]);
    free(q->options);
    hf_ids_free(&q->prompt);
}

/* A text as an option is only ever text. */
static int encode_option(struct probe *p, const json_t *text, struct hf_ids *ret)
{
    CAI_TRY(probe_tokenizer(p));
    return hf_tokenizer_encode(p->t, json_string_value(text), json_string_length(text), false, ret);
}

static int read_options(struct probe *p, const json_t *list, struct question *q)
{
    for (; q->n < json_array_size(list); q->n++) {
        const json_t *o = json_array_get(list, q->n);
        CAI_TRY(json_is_string(o) ? encode_option(p, o, &q->options[q->n])
                                  : get_ids(o, &q->options[q->n]));
    }
    return 0;
}

static void push_all(struct hf_ids *to, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hf_ids_push(to, ids[i]);
}

/* Whole replies, encoded as a trainer does: with what the format puts before and after. */
static int read_replies(struct probe *p, const json_t *line, const json_t *list,
                        struct question *q)
{
    CAI_AUTO(mem) struct hf_message *messages = NULL;
    size_t n;
    CAI_TRY(get_messages(line, &messages, &n));
    CAI_TRY(probe_chat(p));
    messages = cai_realloc(messages, n + 1, sizeof(*messages));
    CAI_AUTO(mem) size_t *starts = cai_alloc((n + 1) * sizeof(*starts));
    CAI_AUTO(mem) size_t *ends = cai_alloc((n + 1) * sizeof(*ends));
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct hf_ids whole = {0};
        const char *text = json_string_value(json_array_get(list, i));
        if (!text)
            return cai_fail(CAI_EINPUT, "\"replies\" must be a list of texts");
        messages[n] = (struct hf_message){.role = "assistant", .text = text};
        int rc = hf_chat_encode(p->chat, messages, n + 1, false, NULL, &whole, starts, ends);
        if (rc == 0 && i == 0)
            push_all(&q->prompt, whole.data, starts[n]);
        bool same = rc == 0 && starts[n] == q->prompt.n &&
                    memcmp(whole.data, q->prompt.data, starts[n] * sizeof(*whole.data)) == 0;
        if (rc == 0 && !same)
            rc = cai_fail(CAI_EINPUT, "the chat format writes something else before reply %zu than "
                                      "before the first", i);
        if (rc == 0)
            push_all(&q->options[q->n++], whole.data + starts[n], ends[n] - starts[n]);
        hf_ids_free(&whole);
        CAI_TRY(rc);
    }
    return 0;
}

static int read_question(struct probe *p, const json_t *line, struct question *q)
{
    const json_t *options = json_object_get(line, "options");
    const json_t *replies = json_object_get(line, "replies"), *list = replies ? replies : options;
    if (json_array_size(list) == 0 || (options && replies))
        return cai_fail(CAI_EINPUT, "\"options\" must be a list of texts or lists of ids, or "
                                    "\"replies\" one of texts");
    q->options = cai_alloc(json_array_size(list) * sizeof(*q->options));
    if (replies)
        return read_replies(p, line, list, q);
    CAI_TRY(get_prompt(p, line, &q->prompt));
    return read_options(p, list, q);
}

/* ret_logprobs[n]; *ret_fits false: the model has no room. */
static int score(struct probe *p, const struct question *q, double *ret_logprobs, bool *ret_fits)
{
    size_t longest = 0;
    struct engine *e = NULL;
    for (size_t i = 0; i < q->n; i++)
        longest = q->options[i].n > longest ? q->options[i].n : longest;
    struct engine_options o = {.slots = 4, .capacity = (int64_t)(q->prompt.n + longest + 1),
                               .end_id = -1, .bfloat16 = p->bfloat16};
    struct score_request request = {q->prompt.data, q->prompt.n, q->options, q->n};
    *ret_fits = o.capacity <= p->m->config.max_positions + 1;
    if (!*ret_fits)
        return 0;
    CAI_TRY(engine_new(p->m, p->t, &o, &e));
    int rc = engine_score(e, &request, 1, &ret_logprobs);
    engine_free(e);
    return rc;
}

int probe_options(struct probe *p, const json_t *line)
{
    struct question q = {0};
    bool fits = false;
    int rc = read_question(p, line, &q);
    CAI_AUTO(mem) double *logprobs = cai_alloc((q.n + 1) * sizeof(*logprobs));
    if (rc == 0)
        rc = score(p, &q, logprobs, &fits);
    if (rc == 0) {
        json_t *out = json_array(), *tokens = json_array();
        for (size_t i = 0; i < q.n && fits; i++) {
            json_array_append_new(out, json_real(logprobs[i]));
            json_array_append_new(tokens, json_integer((json_int_t)q.options[i].n));
        }
        print_json(json_pack("{s:o, s:o}", "logprobs", out, "tokens", tokens));
    }
    question_free(&q);
    return rc;
}

/* ---- texts --------------------------------------------------------------------------------- */
/* Bytes of the first token's text: nobody predicts it. A special one (BOS) has none. */
static int first_bytes(struct probe *p, const struct hf_ids *ids, size_t *ret)
{
    CAI_AUTO(buf) struct cai_buf text = {0};
    *ret = 0;
    if (ids->n == 0)
        return 0;
    CAI_TRY(hf_tokenizer_decode(p->t, ids->data, 1, true, &text));
    *ret = text.len;
    return 0;
}

/* Each token but the first, once: in windows of the model's positions, whose first half, but for
 * the first window's, is only read. */
static int score_text(struct probe *p, const struct hf_ids *ids, double *ret)
{
    size_t room = (size_t)p->m->config.max_positions, at = 1;
    *ret = 0;
    while (at < ids->n) {
        size_t before = at == 1 ? 1 : room / 2, take = room - before;
        take = take < ids->n - at ? take : ids->n - at;
        struct hf_ids option = {.data = ids->data + at, .n = take};
        struct question q = {{.data = ids->data + at - before, .n = before}, &option, 1};
        double logprob = 0;
        bool fits;
        CAI_TRY(score(p, &q, &logprob, &fits));
        CAI_CHECK(fits);
        *ret += logprob;
        at += take;
    }
    return 0;
}

int probe_text(struct probe *p, const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    struct hf_ids ids = {0};
    double logprob = 0;
    size_t unseen = 0;
    if (!json_is_string(text))
        return cai_fail(CAI_EINPUT, "\"text\" must be a text");
    CAI_TRY(probe_tokenizer(p));
    int rc = hf_tokenizer_encode(p->t, json_string_value(text), json_string_length(text), true, &ids);
    if (rc == 0)
        rc = first_bytes(p, &ids, &unseen);
    if (rc == 0)
        rc = score_text(p, &ids, &logprob);
    if (rc == 0)
        print_json(json_pack("{s:f, s:I, s:I}", "logprob", logprob, "tokens",
                             (json_int_t)(ids.n ? ids.n - 1 : 0), "bytes",
                             (json_int_t)(json_string_length(text) - unseen)));
    hf_ids_free(&ids);
    return rc;
}
