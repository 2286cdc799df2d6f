/* engine_generate.c: continuous batching. A slot is
 *     free → (prompt read or copied, first token drawn) → busy → free again
 * and free slots are filled before every step with the next requests, in request order.
 * Which rows run together is thus a function of the requests and of what the model says,
 * never of time. A slot keeps its prompt's keys until it is given to another prompt
 * (generated tokens lie behind them), so a later request with an equal prompt copies them.
 * Not for: choosing a token (engine_sample.c). */
#include "learn/engine_internal.h"

#include "base/check.h"
#include "base/error.h"
#include <string.h>

enum { NONE = -1 };

struct slot {
    bool busy, has_shared;
    int64_t prompt;  /* whose keys lie here, or NONE */
    size_t request;
    int64_t length;  /* positions filled */
    struct hf_ids out;
    float *logprobs;
    struct cai_buf raw; /* bytes so far, when there are stop strings */
};

struct prompt {
    const int32_t *ids;
    size_t n, pending; /* requests that still need it */
    float *logits;     /* [V] after its last token, while pending > 0 */
};

struct run {
    struct engine *e;
    const struct gen_request *requests;
    size_t n, next, done;
    const struct sampling *sampling;
    struct gen_result *results;
    int64_t *prompt_of; /* by request; NONE when too long */
    struct prompt *prompts;
    size_t n_prompts;
    int64_t shared;
    struct slot *slots;
    /* of the present filling */
    size_t *admitted; /* slots */
    size_t n_admitted;
    struct feed *feeds;
    int64_t *feed_prompts;
    size_t n_feeds;
    int64_t (*copies)[2]; /* from, to */
    size_t n_copies;
    struct draw *draws; /* [slots] */
};

static int limit_of(const struct run *r, size_t i)
{
    int own = r->requests[i].max_tokens;
    return own > 0 && own < r->sampling->max_tokens ? own : r->sampling->max_tokens;
}

/* ---- prompts ------------------------------------------------------------------------- */
static uint64_t hash_ids(const int32_t *ids, size_t n)
{
    uint64_t h = 14695981039346656037u ^ n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint32_t)ids[i]) * 1099511628211u;
    return h ^ h >> 29;
}

/* Equal prompts get one number, counted in request order. */
static void number_prompts(struct run *r)
{
    size_t cap = 16;
    while (cap < 2 * r->n)
        cap *= 2;
    CAI_AUTO(mem) int64_t *table = cai_alloc(cap * sizeof(*table)); /* prompt + 1 */
    for (size_t i = 0; i < r->n; i++) {
        const struct gen_request *q = &r->requests[i];
        r->prompt_of[i] = NONE;
        if (q->n_ids == 0 || (int64_t)q->n_ids + limit_of(r, i) > r->e->o.capacity)
            continue;
        size_t at = hash_ids(q->ids, q->n_ids) & (cap - 1);
        while (table[at]) {
            const struct prompt *p = &r->prompts[table[at] - 1];
            if (p->n == q->n_ids && !memcmp(p->ids, q->ids, p->n * sizeof(*p->ids)))
                break;
            at = (at + 1) & (cap - 1);
        }
        if (!table[at]) {
            r->prompts[r->n_prompts] = (struct prompt){.ids = q->ids, .n = q->n_ids};
            table[at] = (int64_t)++r->n_prompts;
        }
        r->prompt_of[i] = table[at] - 1;
        r->prompts[table[at] - 1].pending++;
    }
}

static int share_head(struct run *r)
{
    CAI_AUTO(mem) const int32_t **ids = cai_alloc((r->n_prompts + 1) * sizeof(*ids));
    CAI_AUTO(mem) size_t *lengths = cai_alloc((r->n_prompts + 1) * sizeof(*lengths));
    for (size_t i = 0; i < r->n_prompts; i++) {
        ids[i] = r->prompts[i].ids;
        lengths[i] = r->prompts[i].n;
    }
    return engine_share(r->e, ids, lengths, r->n_prompts, &r->shared);
}

/* ---- one token ------------------------------------------------------------------------- */
static bool is_end(const struct engine *e, int32_t id)
{
    const struct hf_config *c = &e->m->config;
    bool end = id == e->o.end_id || (int64_t)id == c->eos_token_id;
    for (int i = 0; i < c->num_eos; i++)
        end |= (int64_t)id == c->eos_ids[i];
    return end;
}

/* Offset of the earliest stop string in text from `from` on, or -1. */
static int64_t find_stop(const struct gen_request *q, const char *text, size_t from)
{
    const char *first = NULL;
    for (size_t i = 0; i < q->n_stop; i++) {
        const char *hit = q->stop[i][0] ? strstr(text + from, q->stop[i]) : NULL;
        if (hit && (!first || hit < first))
            first = hit;
    }
    return first ? first - text : -1;
}

/* Appends the bytes of an id. Vocabularies are often padded with rows that no token has;
 * a model may draw one, and it stands for nothing. */
static bool add_piece(const struct hf_tokenizer *t, int32_t id, struct cai_buf *raw)
{
    if (hf_tokenizer_piece(t, id, raw) == 0)
        return true;
    cai_error_clear();
    return false;
}

static int decode(const struct hf_tokenizer *t, const int32_t *ids, size_t n, struct cai_buf *ret)
{
    CAI_AUTO(mem) int32_t *known = cai_alloc((n + 1) * sizeof(*known));
    CAI_AUTO(buf) struct cai_buf raw = {0};
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (add_piece(t, ids[i], &raw))
            known[k++] = ids[i];
    return hf_tokenizer_decode(t, known, k, true, ret);
}

/* Adds the token's bytes and looks for a stop string that it completes. */
static int completes_stop(struct run *r, struct slot *s, int32_t id, bool *ret)
{
    const struct gen_request *q = &r->requests[s->request];
    size_t longest = 0, old = s->raw.len;
    *ret = false;
    if (q->n_stop == 0 || hf_tokenizer_is_special(r->e->t, id))
        return 0;
    for (size_t i = 0; i < q->n_stop; i++)
        longest = strlen(q->stop[i]) > longest ? strlen(q->stop[i]) : longest;
    add_piece(r->e->t, id, &s->raw);
    CAI_TRY(cai_buf_status(&s->raw));
    if (s->raw.data)
        *ret = find_stop(q, s->raw.data, old > longest ? old - longest : 0) >= 0;
    return 0;
}

static int finish_slot(struct run *r, struct slot *s, enum finish why)
{
    struct gen_result *out = &r->results[s->request];
    const struct gen_request *q = &r->requests[s->request];
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (r->e->t) {
        size_t n = s->out.n - (why == FINISH_END);
        CAI_TRY(decode(r->e->t, s->out.data, n, &text));
        int64_t cut = why == FINISH_STOP && text.data ? find_stop(q, text.data, 0) : -1;
        if (cut >= 0)
            text.data[text.len = (size_t)cut] = '\0';
        CAI_TRY(cai_buf_status(&text));
    }
    out->text = cai_buf_detach(&text);
    out->finish = why;
    out->n = s->out.n;
    out->ids = s->out.data;
    out->logprobs = s->logprobs;
    s->out = (struct hf_ids){0};
    s->logprobs = NULL;
    s->busy = false;
    r->done++;
    return 0;
}

static int take_token(struct run *r, struct slot *s, const struct draw *d)
{
    bool stop;
    s->logprobs[s->out.n] = d->logprob;
    hf_ids_push(&s->out, d->id);
    if (is_end(r->e, d->id))
        return finish_slot(r, s, FINISH_END);
    if (r->e->drawn)
        r->e->drawn(r->e->drawn_context, d->id);
    CAI_TRY(completes_stop(r, s, d->id, &stop));
    if (stop)
        return finish_slot(r, s, FINISH_STOP);
    if (s->out.n == (size_t)limit_of(r, s->request))
        return finish_slot(r, s, FINISH_LENGTH);
    return 0;
}

/* One token for each of n slots, slots[i] from draws[i].logits. */
static int take_tokens(struct run *r, const size_t *slots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct slot *s = &r->slots[slots[i]];
        r->draws[i].key = r->requests[s->request].key;
        r->draws[i].position = s->out.n;
    }
    CAI_TRY(sampler_draw_all(r->e->samplers, r->e->parts, r->sampling, r->draws, n));
    for (size_t i = 0; i < n; i++)
        CAI_TRY(take_token(r, &r->slots[slots[i]], &r->draws[i]));
    return 0;
}

/* Logits of hidden's rows on the host, valid while s is open: [rows, V]. */
static int host_logits(const struct engine *e, ct_scope *s, ct_tensor *hidden, const float **ret)
{
    ct_tensor *logits = ct_host(s, head_logits(s, e->m, hidden));
    CAI_TRY(ct_scope_status(s));
    *ret = ct_host_data(logits);
    return *ret ? 0 : cai_fail(CAI_ESTATE, "logits are not in host memory");
}

/* One step's logits [b, V], valid while s is open. */
static int step_logits(const struct engine *e, ct_scope *s, const int32_t *ids,
                       const int64_t *slots, const int64_t *positions, int64_t b,
                       const float **ret)
{
    if (e->decoder)
        return decoder_step(e->decoder, ids, slots, positions, b, ret);
    return host_logits(e, s, transformer_decode(s, e->m, e->cache, ids, slots, positions, b), ret);
}

/* ---- filling slots ------------------------------------------------------------------------ */
/* A free slot that holds the prompt, else the first free one; NONE when all are busy. */
static int64_t choose_slot(const struct run *r, int64_t prompt)
{
    int64_t first = NONE;
    for (int64_t i = r->e->o.slots; i-- > 0;)
        if (!r->slots[i].busy) {
            if (r->slots[i].prompt == prompt)
                return i;
            first = i;
        }
    return first;
}

static int64_t holder_of(const struct run *r, int64_t prompt)
{
    for (int64_t i = 0; i < r->e->o.slots; i++)
        if (r->slots[i].prompt == prompt)
            return i;
    return NONE;
}

static void admit(struct run *r, size_t request, int64_t at)
{
    struct slot *s = &r->slots[at];
    int64_t prompt = r->prompt_of[request], from = holder_of(r, prompt);
    struct prompt *p = &r->prompts[prompt];
    if (from == NONE) {
        r->feed_prompts[r->n_feeds] = prompt;
        r->feeds[r->n_feeds++] = (struct feed){p->ids + r->shared, (int64_t)p->n - r->shared, at,
                                               r->shared};
    } else if (s->prompt != prompt) {
        r->copies[r->n_copies][0] = from;
        r->copies[r->n_copies++][1] = at;
    }
    s->busy = true;
    s->prompt = prompt;
    s->request = request;
    s->length = (int64_t)p->n;
    s->raw.len = 0;
    s->logprobs = cai_alloc((size_t)limit_of(r, request) * sizeof(float));
    r->admitted[r->n_admitted++] = (size_t)at;
}

static int keep_logits(void *context, ct_scope *s, size_t first, size_t count, ct_tensor *hidden)
{
    struct run *r = context;
    const float *logits;
    size_t v = (size_t)r->e->m->config.vocab_size;
    CAI_TRY(host_logits(r->e, s, hidden, &logits));
    for (size_t i = 0; i < count; i++) {
        struct prompt *p = &r->prompts[r->feed_prompts[first + i]];
        if (!p->logits)
            p->logits = cai_realloc(NULL, v, sizeof(float));
        memcpy(p->logits, logits + i * v, v * sizeof(float));
    }
    return 0;
}

static int read_prompts(struct run *r)
{
    for (size_t i = 0; i < r->n_feeds; i++) {
        struct slot *s = &r->slots[r->feeds[i].slot];
        if (!s->has_shared) /* once in, nothing overwrites it */
            CAI_TRY(kv_cache_copy(r->e->cache, r->e->o.slots, r->feeds[i].slot, r->shared));
        s->has_shared = true;
    }
    CAI_TRY(engine_feed(r->e, r->feeds, r->n_feeds, false, keep_logits, r));
    for (size_t i = 0; i < r->n_copies; i++) {
        struct slot *to = &r->slots[r->copies[i][1]];
        CAI_TRY(kv_cache_copy(r->e->cache, r->copies[i][0], r->copies[i][1], to->length));
        to->has_shared = true;
    }
    return 0;
}

/* Gives free slots to the next requests and draws their first tokens. */
static int fill_once(struct run *r)
{
    r->n_admitted = r->n_feeds = r->n_copies = 0;
    for (; r->next < r->n; r->next++) {
        int64_t prompt = r->prompt_of[r->next];
        if (prompt == NONE)
            continue;
        int64_t at = choose_slot(r, prompt);
        if (at == NONE)
            break;
        admit(r, r->next, at);
    }
    CAI_TRY(read_prompts(r));
    for (size_t i = 0; i < r->n_admitted; i++)
        r->draws[i].logits = r->prompts[r->slots[r->admitted[i]].prompt].logits;
    CAI_TRY(take_tokens(r, r->admitted, r->n_admitted));
    for (size_t i = 0; i < r->n_admitted; i++) {
        struct prompt *p = &r->prompts[r->slots[r->admitted[i]].prompt];
        if (--p->pending == 0) {
            free(p->logits);
            p->logits = NULL;
        }
    }
    return 0;
}

static int step(struct run *r)
{
    size_t slots = (size_t)r->e->o.slots, b = 0;
    CAI_AUTO(mem) int32_t *ids = cai_alloc(slots * sizeof(*ids));
    CAI_AUTO(mem) size_t *busy = cai_alloc(slots * sizeof(*busy));
    CAI_AUTO(mem) int64_t *at = cai_alloc(slots * sizeof(*at));
    CAI_AUTO(mem) int64_t *positions = cai_alloc(slots * sizeof(*positions));
    for (size_t i = 0; i < slots; i++)
        if (r->slots[i].busy) {
            ids[b] = r->slots[i].out.data[r->slots[i].out.n - 1];
            busy[b] = i;
            at[b] = (int64_t)i;
            positions[b++] = r->slots[i].length++;
        }
    if (b == 0)
        return 0;
    ct_scope *s = ct_scope_open();
    const float *logits = NULL;
    int rc = step_logits(r->e, s, ids, at, positions, (int64_t)b, &logits);
    for (size_t i = 0; rc == 0 && i < b; i++)
        r->draws[i].logits = logits + (int64_t)i * r->e->m->config.vocab_size;
    if (rc == 0)
        rc = take_tokens(r, busy, b);
    ct_scope_close(s);
    return rc;
}

/* ---- a call ---------------------------------------------------------------------------------- */
static void run_open(struct run *r)
{
    size_t slots = (size_t)r->e->o.slots;
    r->prompt_of = cai_alloc((r->n + 1) * sizeof(*r->prompt_of));
    r->prompts = cai_alloc((r->n + 1) * sizeof(*r->prompts));
    r->slots = cai_alloc(slots * sizeof(*r->slots));
    r->admitted = cai_alloc(slots * sizeof(*r->admitted));
    r->feeds = cai_alloc(slots * sizeof(*r->feeds));
    r->feed_prompts = cai_alloc(slots * sizeof(*r->feed_prompts));
    r->copies = cai_alloc(slots * sizeof(*r->copies));
    r->draws = cai_alloc(slots * sizeof(*r->draws));
    for (size_t i = 0; i < slots; i++)
        r->slots[i].prompt = NONE;
    memset(r->results, 0, r->n * sizeof(*r->results));
}

static void run_close(struct run *r)
{
    for (int i = 0; i < r->e->o.slots; i++) {
        hf_ids_free(&r->slots[i].out);
        free(r->slots[i].logprobs);
        cai_buf_free(&r->slots[i].raw);
    }
    for (size_t i = 0; i < r->n_prompts; i++)
        free(r->prompts[i].logits);
    free(r->prompt_of);
    free(r->prompts);
    free(r->slots);
    free(r->admitted);
    free(r->feeds);
    free(r->feed_prompts);
    free(r->copies);
    free(r->draws);
}

static int run_all(struct run *r, engine_progress progress, void *context)
{
    number_prompts(r);
    for (size_t i = 0; i < r->n; i++)
        if (r->prompt_of[i] == NONE) {
            r->results[i].finish = FINISH_TOO_LONG;
            r->results[i].text = cai_strdup("");
            r->done++;
        }
    if (r->n_prompts)
        CAI_TRY(share_head(r));
    while (r->done < r->n) {
        size_t before;
        CAI_TRY(engine_check_stop(r->e));
        do { /* a reply of one token frees its slot at once */
            before = r->next;
            CAI_TRY(fill_once(r));
        } while (r->next > before && r->next < r->n);
        CAI_TRY(step(r));
        if (progress)
            progress(context, r->done, r->n);
    }
    return 0;
}

int engine_generate(struct engine *e, const struct gen_request *requests, size_t n,
                    const struct sampling *sampling, engine_progress progress, void *context,
                    struct gen_result *results)
{
    if (sampling->max_tokens < 1)
        return cai_fail(CAI_EINPUT, "max_tokens is %d, expected at least 1",
                        sampling->max_tokens);
    if (!(sampling->temperature >= 0) || !(sampling->top_p > 0) || !(sampling->min_p >= 0) ||
        sampling->top_k < 0)
        return cai_fail(CAI_EINPUT, "sampling: temperature, top_k and min_p must not be negative, "
                        "top_p must be above 0");
    for (size_t i = 0; i < n && !e->t; i++)
        if (requests[i].n_stop)
            return cai_fail(CAI_EINPUT, "stop strings need a tokenizer");
    struct run r = {.e = e, .requests = requests, .n = n, .sampling = sampling,
                    .results = results};
    run_open(&r);
    int rc = engine_begin(e);
    if (rc == 0)
        rc = run_all(&r, progress, context);
    run_close(&r);
    for (size_t i = 0; rc < 0 && i < n; i++)
        gen_result_free(&results[i]);
    return rc;
}

void gen_result_free(struct gen_result *r)
{
    free(r->ids);
    free(r->logprobs);
    free(r->text);
    memset(r, 0, sizeof(*r));
}
