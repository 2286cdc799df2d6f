/* ppo_mix.c: PPO-ptx (Ouyang et al. 2022, "InstructGPT", eq. 2 and appendix C.4): beside the
 * replies, each update of the policy raises the likelihood of given texts, so that
 * reinforcement learning does not unlearn them; γ = 27.8 there. Which rows an update has
 * follows from its number alone: passes over all rows, each in an order of its own. Not for:
 * the loss of replies (ppo_step.c). */
#include "learn/ppo.h"

#include "base/rng.h"

#include <stdlib.h>

struct mix_loss {
    const double *weight; /* [n] of the bin's learned tokens: their rows', as in fine-tuning */
    double scale;         /* 1 / sum of all weights of the update, all ranks */
    double coef, sum;
};

/* out[n]: log-probabilities of learned tokens. */
static int token_loss(void *context, const double *out, double *grad, int64_t n) {
    struct mix_loss *l = context;
    for (int64_t i = 0; i < n; i++) {
        l->sum -= l->scale * l->weight[i] * out[i];
        grad[i] = -l->coef * l->scale * l->weight[i];
    }
    return 0;
}

static void take_rows(const struct ppo *p, int64_t update, size_t n,
                      const struct dataset_row **ret) {
    uint64_t all = p->mix.n, from = (uint64_t)update * n, pass = UINT64_MAX;
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, all, sizeof *order);
    for (size_t i = 0; i < n; i++) {
        if ((from + i) / all != pass) {
            pass = (from + i) / all;
            cai_rng_permutation(cai_key_make(p->task->seed, p->task->round, "ptx/order", 0,
                                             (uint32_t)pass), all, order);
        }
        ret[i] = &p->mix.rows[order[(from + i) % all]];
    }
}

static int one_bin(struct ppo *p, const struct dataset_row *const *rows, const struct packing *k,
                   size_t bin, struct mix_loss *l) {
    size_t n = k->starts[bin + 1] - k->starts[bin];
    CAI_AUTO(mem) struct span *spans = cai_realloc(NULL, n + 1, sizeof *spans);
    CAI_AUTO(mem) double *weight = NULL;
    struct micro *micro;
    size_t tokens = 0;
    for (size_t i = 0; i < n; i++) {
        const struct dataset_row *r = rows[k->units[k->starts[bin] + i]];
        const struct dataset_seq *s = &r->seq[0];
        spans[i] = (struct span){s->ids, s->n, s->from, s->n};
        weight = cai_realloc(weight, tokens + (size_t)s->n, sizeof *weight);
        for (int64_t j = s->from; j < s->n; j++)
            weight[tokens++] = r->weight;
    }
    l->weight = weight;
    CAI_TRY(micro_new(p->policy, spans, n, &micro));
    int rc = trainer_backward_at(p->models.policy, micro, 1, token_loss, l);
    micro_free(micro);
    return rc;
}

int ppo_mix(struct ppo *p, int64_t update, double *loss) {
    size_t n = (size_t)p->o.ptx_batch, world = (size_t)learn_world(p->task);
    struct packing k = {0};
    struct mix_loss l = {.coef = p->o.ptx_coef};
    double weights = 0;
    CAI_AUTO(mem) const struct dataset_row **rows = cai_realloc(NULL, n, sizeof *rows);
    CAI_AUTO(mem) int64_t *lengths = cai_realloc(NULL, n, sizeof *lengths);
    take_rows(p, update, n, rows);
    for (size_t i = 0; i < n; i++) {
        lengths[i] = rows[i]->seq[0].n;
        weights += rows[i]->weight * (double)(rows[i]->seq[0].n - rows[i]->seq[0].from);
    }
    l.scale = 1 / weights; /* the reader leaves rows without a learned token out */
    int rc = packing_make(lengths, n, trainer_tokens(&p->o.optimizer), world, &k);
    for (size_t b = (size_t)learn_rank(p->task); b < k.n_bins && rc == 0; b += world)
        if (k.starts[b] < k.starts[b + 1])
            rc = one_bin(p, rows, &k, b, &l);
    packing_free(&k);
    *loss += l.sum;
    return rc;
}
