/* sft.c: supervised fine-tuning: maximum likelihood of the last message's tokens, each
 * row's weight counted in the normaliser as well. */
#include "learn/train.h"

#include "base/check.h"
#include "base/error.h"
#include "learn/start.h"
#include "learn/supervise.h"

#include <stdlib.h>

static double token_loss(const void *context, const struct example *const *e, size_t n,
                         const double *out, double *grad, double *extra) {
    (void)context;
    (void)extra;
    double sum = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        for (int64_t j = e[i]->seq[0].from; j < e[i]->seq[0].to; j++, at++) {
            sum -= e[i]->weight * out[at];
            grad[at] = -e[i]->weight;
        }
    return sum;
}

static struct example *examples_of(const struct dataset *d) {
    struct example *e = cai_alloc((d->n + 1) * sizeof *e);
    for (size_t i = 0; i < d->n; i++) {
        const struct dataset_seq *s = &d->rows[i].seq[0];
        e[i].seq[0] = (struct span){s->ids, s->n, s->from, s->n};
        e[i].n = 1;
        e[i].weight = d->rows[i].weight;
        e[i].count = e[i].weight * (double)(s->n - s->from);
    }
    return e;
}

static int run(const struct learn_task *t, const struct sft_options *o, struct model *m,
               const struct dataset *d, Cai__V1__Trained **ret) {
    CAI_AUTO(mem) struct example *e = examples_of(d);
    struct supervise s = {.task = t, .m = m, .name = "sft", .members = 1,
                          .optimizer = &o->optimizer, .guard = &o->guard, .epochs = o->epochs,
                          .checkpoint_every = o->checkpoint_every, .examples = e, .n = d->n,
                          .loss = token_loss, .resume = t->resume != NULL && t->resume[0]};
    double loss = 0;
    CAI_TRY(supervise_run(&s, &loss));
    CAI_TRY(train_save(t, m, t->train->output));
    struct metrics f = {0};
    metrics_add(&f, loss, "loss");
    metrics_add(&f, (double)d->n, "rows");
    metrics_add(&f, (double)d->skipped, "skipped");
    *ret = trained_new((uint64_t)supervise_steps(&s), &f, "");
    return trained_add_output(t, *ret, t->train->output);
}

int learn_sft(const struct learn_task *t, Cai__V1__Trained **ret) {
    struct sft_options o;
    struct model *m = NULL;
    struct dataset d = {0};
    CAI_TRY(options_sft(t->train->options, &o));
    struct cai_key key = cai_key_make(t->seed, t->round, "sft/lora", 0, 0);
    int rc = start_policy(t->train->init->path, &o.lora, key, &m);
    if (rc == 0)
        m->half_products = o.half;
    if (rc == 0)
        rc = train_load_rows(t, t->train->init->path, m, DATASET_SFT, &d);
    if (rc == 0)
        rc = run(t, &o, m, &d, ret);
    dataset_free(&d);
    model_free(m);
    return rc;
}
