/* generate.c: continues prompts. Lines are read to the end and run together; results keep
 * their order. */
#include "base/check.h"
#include "base/file.h"
#include "probe.h"

#include <string.h>

struct batch {
    struct hf_ids *prompts;
    size_t n, cap, longest;
    bool ends_turn; /* a prompt came as messages: the format's end marker ends a reply too */
};
static struct batch waiting;

static int collect(struct probe *p, const json_t *line)
{
    struct batch *b = &waiting;
    if (b->n == b->cap) {
        b->cap = b->cap ? 2 * b->cap : 64;
        b->prompts = cai_realloc(b->prompts, b->cap, sizeof(*b->prompts));
    }
    struct hf_ids *ids = &b->prompts[b->n++];
    *ids = (struct hf_ids){0};
    CAI_TRY(get_prompt(p, line, ids));
    b->ends_turn |= !json_object_get(line, "ids");
    if (ids->n == 0)
        return cai_fail(CAI_EINPUT, "the prompt is empty");
    if ((int64_t)ids->n + p->a->sampling.max_tokens > p->m->config.max_positions)
        return cai_fail(CAI_ELIMIT, "%zu tokens and %d new ones; the model takes %lld", ids->n,
                        p->a->sampling.max_tokens, (long long)p->m->config.max_positions);
    for (size_t i = 0; i < ids->n; i++)
        if (ids->data[i] >= p->m->config.vocab_size)
            return cai_fail(CAI_EINPUT, "token id %ld is outside the vocabulary of %lld",
                            (long)ids->data[i], (long long)p->m->config.vocab_size);
    if (ids->n > b->longest)
        b->longest = ids->n;
    return 0;
}

static const char *stop_name(enum finish f)
{
    static const char *const names[] = {"end", "stop", "length", "too_long"};
    return names[f];
}

/* Random checkpoints have no tokenizer: then a reply has ids and an empty text. */
static int find_tokenizer(struct probe *p)
{
    CAI_AUTO(mem) char *path = cai_path_join(p->a->model, "tokenizer.json");
    return p->a->n_stop || cai_file_exists(path) ? probe_tokenizer(p) : 0;
}

static int generate_waiting(struct probe *p)
{
    struct batch *b = &waiting;
    CAI_AUTO(mem) struct gen_request *requests = cai_alloc((b->n + 1) * sizeof(*requests));
    CAI_AUTO(mem) struct gen_result *results = cai_alloc((b->n + 1) * sizeof(*results));
    for (size_t i = 0; i < b->n; i++)
        requests[i] = (struct gen_request){
            .ids = b->prompts[i].data, .n_ids = b->prompts[i].n,
            .key = cai_key_make((uint64_t)p->a->seed, 0, "caiprobe/generate", i, 0),
            .stop = p->a->stop, .n_stop = p->a->n_stop};
    struct engine_options o = {
        .slots = (int)((int64_t)b->n < p->a->slots ? (int64_t)b->n : p->a->slots),
        .capacity = (int64_t)b->longest + p->a->sampling.max_tokens,
        .end_id = b->ends_turn ? hf_chat_end_id(p->chat) : -1,
        .bfloat16 = p->bfloat16};
    struct engine *e;
    if (b->n == 0)
        return 0;
    CAI_TRY(find_tokenizer(p));
    CAI_TRY(engine_new(p->m, p->t, &o, &e));
    int rc = engine_generate(e, requests, b->n, &p->a->sampling, NULL, NULL, results);
    engine_free(e);
    for (size_t i = 0; rc == 0 && i < b->n; i++) {
        print_json(json_pack("{s:o, s:s, s:s}", "ids", ids_json(results[i].ids, results[i].n),
                             "text", results[i].text, "stop", stop_name(results[i].finish)));
        gen_result_free(&results[i]);
    }
    return rc;
}

int probe_generate(struct probe *p)
{
    int rc = each_line(p, collect);
    if (rc == 0)
        rc = generate_waiting(p);
    for (size_t i = 0; i < waiting.n; i++)
        hf_ids_free(&waiting.prompts[i]);
    free(waiting.prompts);
    return rc;
}
