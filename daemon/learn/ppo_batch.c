/* ppo_batch.c: see ppo_batch.h. */
#include "learn/ppo_batch.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/loss.h"
#include "learn/policy.h"
#include "learn/ppo_reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- layout ----------------------------------------------------------------------- */

static double *doubles(size_t n) {
    return cai_alloc((n + 1) * sizeof(double));
}

static void lay_rows(struct ppo_batch *b) {
    size_t at = 0;
    b->bin_rows = cai_realloc(NULL, b->p.n_bins + 1, sizeof *b->bin_rows);
    b->row_of = cai_realloc(NULL, b->rollouts->n + 1, sizeof *b->row_of);
    for (size_t bin = 0; bin < b->p.n_bins; bin++) {
        b->bin_rows[bin] = at;
        for (size_t i = b->p.starts[bin]; i < b->p.starts[bin + 1]; i++) {
            const struct rollout *r = &b->rollouts->r[b->p.units[i]];
            b->row_of[b->p.units[i]] = at;
            at += (size_t)(r->n - r->n_prompt);
        }
    }
    b->bin_rows[b->p.n_bins] = at;
    b->n_rows = at;
}

int ppo_batch_new(const struct rollouts *r, const struct ppo_options *o, int world,
                  struct ppo_batch *ret) {
    size_t minibatches = (size_t)o->minibatches;
    *ret = (struct ppo_batch){.rollouts = r};
    int64_t *lengths = cai_realloc(NULL, r->n + 1, sizeof *lengths);
    for (size_t i = 0; i < r->n; i++)
        lengths[i] = r->r[i].n;
    size_t ranks = (size_t)world, per = (4 + ranks - 1) / ranks * ranks;
    int rc = packing_make(lengths, r->n, trainer_tokens(&o->optimizer), minibatches * per, &ret->p);
    free(lengths);
    CAI_TRY(rc);
    ret->per_minibatch = ret->p.n_bins / minibatches;
    lay_rows(ret);
    double **rows[] = {&ret->sampled, &ret->old, &ret->entropy, &ret->reference,
                       &ret->value, &ret->reward, &ret->advantage, &ret->returns};
    for (size_t i = 0; i < CAI_COUNT(rows); i++)
        *rows[i] = doubles(ret->n_rows);
    ret->score = doubles(r->n);
    ret->kl = doubles(r->n);
    ret->group = cai_alloc((r->n + 1) * sizeof *ret->group);
    ret->used = cai_alloc(r->n + 1);
    ret->policy_micro = cai_alloc((ret->p.n_bins + 1) * sizeof *ret->policy_micro);
    ret->value_micro = cai_alloc((ret->p.n_bins + 1) * sizeof *ret->value_micro);
    for (size_t i = 0; i < r->n; i++)
        ret->group[i] = r->r[i].number / (uint64_t)o->group;
    for (size_t i = 0; i < r->n; i++)
        memcpy(ret->sampled + ret->row_of[i], r->r[i].sampled,
               (size_t)(r->r[i].n - r->r[i].n_prompt) * sizeof(double));
    return 0;
}

void ppo_batch_free(struct ppo_batch *b) {
    for (size_t i = 0; i < b->p.n_bins; i++) {
        if (b->policy_micro != NULL)
            micro_free(b->policy_micro[i]);
        if (b->value_micro != NULL)
            micro_free(b->value_micro[i]);
    }
    void *owned[] = {b->policy_micro, b->value_micro, b->bin_rows, b->row_of, b->sampled, b->old,
                     b->entropy, b->reference, b->value, b->reward, b->advantage, b->white, b->returns,
                     b->raw, b->score, b->kl, b->group, b->used};
    for (size_t i = 0; i < CAI_COUNT(owned); i++)
        free(owned[i]);
    packing_free(&b->p);
    *b = (struct ppo_batch){0};
}

/* ---- micro-batches -------------------------------------------------------------------- */

enum reads { READ_TOKENS, READ_VALUES, READ_LAST };

/* What a model reads of each sequence: the reply's tokens; the rows before them; the end. */
static int bin_micro(const struct ppo_batch *b, size_t bin, const struct model *m,
                     enum reads what, struct micro **ret) {
    size_t n = b->p.starts[bin + 1] - b->p.starts[bin];
    struct span *spans = cai_realloc(NULL, n + 1, sizeof *spans);
    for (size_t i = 0; i < n; i++) {
        const struct rollout *r = &b->rollouts->r[b->p.units[b->p.starts[bin] + i]];
        spans[i] = (struct span){r->ids, r->n, r->n_prompt, r->n};
        if (what == READ_VALUES) {
            spans[i].from--;
            spans[i].to--;
        } else if (what == READ_LAST) {
            spans[i].from = r->n - 1;
        }
    }
    int rc = micro_new(m, spans, n, ret);
    free(spans);
    return rc;
}

int ppo_batch_micro(struct ppo_batch *b, const struct ppo_models *m, size_t bin, bool value,
                    struct micro **ret) {
    struct micro **kept = value ? &b->value_micro[bin] : &b->policy_micro[bin];
    if (*kept == NULL)
        CAI_TRY(bin_micro(b, bin, trainer_model(value ? m->value : m->policy),
                          value ? READ_VALUES : READ_TOKENS, kept));
    *ret = *kept;
    return 0;
}

/* ---- evaluation ------------------------------------------------------------------------- */

static size_t bin_size(const struct ppo_batch *b, size_t bin, size_t n_pm) {
    return 4 * (b->bin_rows[bin + 1] - b->bin_rows[bin]) +
           n_pm * (b->p.starts[bin + 1] - b->p.starts[bin]);
}

/* out: old, entropy, reference, value of the bin's rows, then each member's scores. */
static int evaluate_bin(struct ppo_batch *b, const struct ppo_models *m,
                        const struct ppo_options *o, size_t bin, double *out) {
    size_t n = b->bin_rows[bin + 1] - b->bin_rows[bin];
    size_t seqs = b->p.starts[bin + 1] - b->p.starts[bin];
    struct micro *micro;
    if (n == 0)
        return 0;
    CAI_TRY(ppo_batch_micro(b, m, bin, false, &micro));
    CAI_TRY(trainer_evaluate(m->policy, micro, out, out + n));
    CAI_TRY(model_outputs(m->reference, micro, o->temperature, out + 2 * n, NULL));
    if (m->value != NULL) {
        CAI_TRY(ppo_batch_micro(b, m, bin, true, &micro));
        CAI_TRY(trainer_evaluate(m->value, micro, out + 3 * n, NULL));
    }
    for (size_t i = 0; i < m->n_pm; i++) {
        CAI_TRY(bin_micro(b, bin, m->pm[i].m, READ_LAST, &micro));
        int rc = model_outputs(m->pm[i].m, micro, 1, out + 4 * n + i * seqs, NULL);
        micro_free(micro);
        CAI_TRY(rc);
    }
    return 0;
}

static void place_bin(struct ppo_batch *b, const struct ppo_models *m, size_t bin,
                      const double *from) {
    size_t at = b->bin_rows[bin], n = b->bin_rows[bin + 1] - at;
    double *rows[] = {b->old, b->entropy, b->reference, b->value};
    for (int i = 0; i < 4; i++, from += n)
        memcpy(rows[i] + at, from, n * sizeof *from);
    for (size_t k = 0; k < m->n_pm; k++)
        for (size_t i = b->p.starts[bin]; i < b->p.starts[bin + 1]; i++)
            b->raw[b->p.units[i] * m->n_pm + k] = *from++;
}

double ppo_value_of(const struct ppo_models *m, double raw) {
    return (raw - m->value_mean) / m->value_std;
}

static int check_finite(const double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return cai_fail(CAI_ENUMERIC, "a model gave a number that is not finite (%g) for a "
                            "rollout, before any update of this step", x[i]);
    return 0;
}

/* All ranks' numbers, one rank after another; starts in numbers. */
static int exchange(const struct learn_task *t, const double *own, size_t n, size_t total,
                    double **ret, size_t *starts) {
    size_t world = (size_t)learn_world(t), len = n * sizeof *own;
    void *all = NULL;
    starts[0] = 0;
    if (world == 1) {
        *ret = cai_realloc(NULL, n + 1, sizeof *own);
        memcpy(*ret, own, len);
    } else {
        CAI_TRY(comm_all_gather_bytes(t->comm, own, len, &all, &len, starts));
        *ret = all;
    }
    for (size_t r = 0; r < world; r++)
        starts[r] /= sizeof *own;
    if (len != total * sizeof *own)
        return cai_fail(CAI_EPROTO, "the ranks computed %zu numbers of %zu", len / sizeof *own,
                        total);
    return 0;
}

int ppo_batch_evaluate(struct ppo_batch *b, const struct ppo_models *m,
                       const struct learn_task *t, const struct ppo_options *o) {
    size_t rank = (size_t)learn_rank(t), world = (size_t)learn_world(t), total = 0, n = 0;
    for (size_t bin = 0; bin < b->p.n_bins; bin++)
        total += bin_size(b, bin, m->n_pm);
    b->raw = doubles(b->rollouts->n * m->n_pm);
    CAI_AUTO(mem) double *own = doubles(total);
    CAI_AUTO(mem) double *all = NULL;
    CAI_AUTO(mem) size_t *starts = cai_realloc(NULL, world + 1, sizeof *starts);
    for (size_t bin = rank; bin < b->p.n_bins; bin += world) {
        CAI_TRY(evaluate_bin(b, m, o, bin, own + n));
        n += bin_size(b, bin, m->n_pm);
    }
    CAI_TRY(check_finite(own, n));
    CAI_TRY(exchange(t, own, n, total, &all, starts));
    for (size_t r = 0; r < world; r++) {
        const double *from = all + starts[r];
        for (size_t bin = r; bin < b->p.n_bins; bin += world) {
            place_bin(b, m, bin, from);
            from += bin_size(b, bin, m->n_pm);
        }
    }
    return 0;
}

/* ---- advantages -------------------------------------------------------------------------- */

int ppo_batch_advantages(struct ppo_batch *b, struct ppo_models *m, const struct ppo_options *o,
                         int64_t step, double kl_coef) {
    if (m->n_pm > 0) /* else red.h has scored them */
        CAI_TRY(ppo_reward_fit(m, o, b, step));
    for (size_t i = 0; i < b->rollouts->n; i++) {
        const struct rollout *r = &b->rollouts->r[i];
        if (m->n_pm > 0)
            b->score[i] = ppo_reward_of(b, m, o, i);
        b->kl[i] = 0;
        for (size_t j = b->row_of[i]; j < b->row_of[i] + (size_t)(r->n - r->n_prompt); j++)
            b->kl[i] += b->old[j] - b->reference[j];
    }
    for (size_t i = 0; i < b->n_rows; i++)
        b->value[i] = m->value != NULL ? ppo_value_of(m, b->value[i]) : 0;
    policy_algorithm(o->algorithm)->advantages(b, o, kl_coef);
    return 0;
}
