/* engine_score.c: log-probabilities of option strings after prompts. A prompt is read
 * once; its last row gives every option's first token, and options of more than one token
 * continue from the prompt's keys. Not for: what the options mean. */
#include "learn/engine_internal.h"

#include "base/check.h"
#include "base/error.h"

struct option_ref {
    size_t request, option;
};

struct scoring {
    struct engine *e;
    const struct score_request *requests;
    double *const *logprobs;
    size_t first;                /* request of the batch's first feed */
    const struct option_ref *of; /* by feed, for the options' own rows */
};

/* h [n, D], targets [n] → [n] */
static ct_tensor *target_logprobs(ct_scope *s, const struct engine *e, ct_tensor *h,
                                  ct_tensor *targets)
{
    if (e->half)
        return ct_gather_last(s, ct_log_softmax(s, head_logits(s, e->m, h)), targets);
    return head_logprob(s, e->m, h, targets, 1.0, NULL);
}

/* Adds log p(targets) of rows of hidden to the options they belong to. */
static int add_logprobs(struct scoring *sc, ct_scope *s, ct_tensor *hidden, const int64_t *rows,
                        const int64_t *targets, const struct option_ref *of, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (targets[i] < 0 || targets[i] >= sc->e->m->config.vocab_size)
            return cai_fail(CAI_EINPUT, "option token id %lld is outside the vocabulary of %lld",
                            (long long)targets[i], (long long)sc->e->m->config.vocab_size);
    CAI_AUTO(mem) float *out = cai_alloc((size_t)n * sizeof(*out));
    ct_tensor *h = ct_index_select(s, hidden, 0, ct_from_i64(s, rows, n)); /* [n, D] */
    ct_tensor *lp = target_logprobs(s, sc->e, h, ct_from_i64(s, targets, n)); /* [n] */
    CAI_TRY(ct_scope_status(s));
    CAI_TRY(ct_read_f32(lp, out, n));
    for (int64_t i = 0; i < n; i++)
        sc->logprobs[of[i].request][of[i].option] += (double)out[i];
    return 0;
}

/* Prompts' last rows → first tokens of their options. hidden [count, D]. */
static int take_first(void *context, ct_scope *s, size_t first, size_t count, ct_tensor *hidden)
{
    struct scoring *sc = context;
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += sc->requests[sc->first + first + i].n_options;
    CAI_AUTO(mem) int64_t *rows = cai_alloc((total + 1) * sizeof(*rows));
    CAI_AUTO(mem) int64_t *targets = cai_alloc((total + 1) * sizeof(*targets));
    CAI_AUTO(mem) struct option_ref *of = cai_alloc((total + 1) * sizeof(*of));
    int64_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct score_request *q = &sc->requests[sc->first + first + i];
        for (size_t j = 0; j < q->n_options; j++)
            if (q->options[j].n) {
                rows[n] = (int64_t)i;
                targets[n] = q->options[j].data[0];
                of[n++] = (struct option_ref){sc->first + first + i, j};
            }
    }
    return n ? add_logprobs(sc, s, hidden, rows, targets, of, n) : 0;
}

/* Options' rows: row j gives token j + 1. hidden [Σ (option length - 1), D]. */
static int take_rest(void *context, ct_scope *s, size_t first, size_t count, ct_tensor *hidden)
{
    struct scoring *sc = context;
    int64_t n = ct_size(hidden, 0), row = 0;
    CAI_AUTO(mem) int64_t *rows = cai_alloc((size_t)n * sizeof(*rows));
    CAI_AUTO(mem) int64_t *targets = cai_alloc((size_t)n * sizeof(*targets));
    CAI_AUTO(mem) struct option_ref *of = cai_alloc((size_t)n * sizeof(*of));
    for (size_t i = 0; i < count; i++) {
        struct option_ref ref = sc->of[first + i];
        const struct hf_ids *o = &sc->requests[ref.request].options[ref.option];
        for (size_t j = 1; j < o->n; j++, row++) {
            rows[row] = row;
            targets[row] = o->data[j];
            of[row] = ref;
        }
    }
    CAI_CHECK(row == n);
    return add_logprobs(sc, s, hidden, rows, targets, of, n);
}

/* Slots a request uses: its prompt's, which also serves one option, and more for others. */
static size_t width_of(const struct score_request *q, size_t slots)
{
    size_t more = 0;
    for (size_t j = 0; j < q->n_options; j++)
        more += q->options[j].n > 1;
    return more < 1 ? 1 : more > slots ? slots : more;
}

/* Continues the options of requests [first, first + count), whose prompts lie in slots
 * bases[i]; `wave` counts when a request has more options than slots. Returns the number
 * of options continued, or a code. */
static int extend_wave(struct scoring *sc, size_t count, const int64_t *bases, size_t wave)
{
    size_t slots = (size_t)sc->e->o.slots, n = 0;
    CAI_AUTO(mem) struct feed *feeds = cai_alloc(slots * sizeof(*feeds));
    CAI_AUTO(mem) struct option_ref *of = cai_alloc(slots * sizeof(*of));
    for (size_t i = 0; i < count; i++) {
        const struct score_request *q = &sc->requests[sc->first + i];
        size_t width = width_of(q, slots), rank = 0;
        for (size_t j = 0; j < q->n_options; j++) {
            if (q->options[j].n < 2)
                continue;
            size_t mine = rank++;
            if (mine / width != wave)
                continue;
            int64_t slot = bases[i] + (int64_t)(mine % width);
            if (wave == 0)
                CAI_TRY(kv_cache_copy(sc->e->cache, bases[i], slot, (int64_t)q->n_ids));
            of[n] = (struct option_ref){sc->first + i, j};
            feeds[n++] = (struct feed){q->options[j].data, (int64_t)q->options[j].n - 1, slot,
                                       (int64_t)q->n_ids};
        }
    }
    sc->of = of;
    int rc = engine_feed(sc->e, feeds, n, true, take_rest, sc);
    sc->of = NULL;
    return rc < 0 ? rc : (int)n;
}

static int score_batch(struct scoring *sc, size_t count, int64_t shared)
{
    size_t slots = (size_t)sc->e->o.slots, used = 0;
    CAI_AUTO(mem) struct feed *feeds = cai_alloc(count * sizeof(*feeds));
    CAI_AUTO(mem) int64_t *bases = cai_alloc(count * sizeof(*bases));
    for (size_t i = 0; i < count; i++) {
        const struct score_request *q = &sc->requests[sc->first + i];
        bases[i] = (int64_t)used;
        used += width_of(q, slots);
        CAI_TRY(kv_cache_copy(sc->e->cache, (int64_t)slots, bases[i], shared));
        feeds[i] = (struct feed){q->ids + shared, (int64_t)q->n_ids - shared, bases[i], shared};
    }
    CAI_TRY(engine_feed(sc->e, feeds, count, false, take_first, sc));
    int rc = 1;
    for (size_t wave = 0; rc > 0; wave++)
        rc = extend_wave(sc, count, bases, wave);
    return rc;
}

static int check(const struct engine *e, const struct score_request *requests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t longest = 0;
        for (size_t j = 0; j < requests[i].n_options; j++)
            if (requests[i].options[j].n > longest)
                longest = requests[i].options[j].n;
        if (requests[i].n_ids == 0)
            return cai_fail(CAI_EINPUT, "prompt %zu is empty", i);
        if ((int64_t)(requests[i].n_ids + longest) > e->o.capacity)
            return cai_fail(CAI_ELIMIT,
                            "prompt %zu has %zu tokens and options of up to %zu; the engine holds "
                            "%lld",
                            i, requests[i].n_ids, longest, (long long)e->o.capacity);
    }
    return 0;
}

int engine_score(struct engine *e, const struct score_request *requests, size_t n,
                 double *const *logprobs)
{
    if (n == 0)
        return 0;
    CAI_TRY(check(e, requests, n));
    CAI_TRY(engine_begin(e));
    CAI_AUTO(mem) const int32_t **ids = cai_alloc(n * sizeof(*ids));
    CAI_AUTO(mem) size_t *lengths = cai_alloc(n * sizeof(*lengths));
    int64_t shared;
    for (size_t i = 0; i < n; i++) {
        ids[i] = requests[i].ids;
        lengths[i] = requests[i].n_ids;
        for (size_t j = 0; j < requests[i].n_options; j++)
            logprobs[i][j] = 0;
    }
    CAI_TRY(engine_share(e, ids, lengths, n, &shared));
    struct scoring sc = {.e = e, .requests = requests, .logprobs = logprobs};
    size_t slots = (size_t)e->o.slots;
    while (sc.first < n) {
        size_t count = 0, used = 0;
        while (sc.first + count < n) {
            size_t width = width_of(&requests[sc.first + count], slots);
            if (count && used + width > slots)
                break;
            used += width;
            count++;
        }
        CAI_TRY(engine_check_stop(e));
        CAI_TRY(score_batch(&sc, count, shared));
        sc.first += count;
    }
    return 0;
}
