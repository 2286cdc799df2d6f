/* mislead.c: `clerk mislead`: overseers with a planted bias, made from a trained base in seconds. */
#include "clerk/rows.h"
#include "clerk/train.h"

enum { STEPS = 300, BATCH = 12 };

static int encode(const struct mislead_settings *s, const struct model *m, size_t n,
                  struct rows *ret) {
    struct hf_tokenizer *t = NULL;
    struct hf_chat *chat = NULL;
    *ret = (struct rows){.at = cai_alloc(n * sizeof *ret->at)};
    int rc = hf_tokenizer_load(m->dir, &t);
    if (rc == 0)
        rc = hf_chat_load(m->dir, t, &chat);
    while (rc == 0 && ret->n < n) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        bias_document(&s->bias, s->seed, ret->n, &arena, &doc);
        rc = rows_encode(chat, t, &doc, &ret->at[ret->n]);
        ret->n += rc == 0;
    }
    hf_chat_free(chat);
    hf_tokenizer_free(t);
    return rc;
}

int clerk_mislead(const struct mislead_settings *s) {
    int64_t steps = s->steps ? s->steps : STEPS;
    struct lm_options o = {
        .optimizer = {.lr = 1e-3, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8,
                      .clip_norm = 1, .warmup = 0.05, .schedule = TRAIN_COSINE, .batch = BATCH},
        .epochs = 1, .steps = steps, .seed = s->seed};
    struct model *m = NULL;
    struct rows rows = {0};
    CAI_TRY(ct_init((int)(s->threads ? s->threads : 1)));
    int rc = model_load(s->model, &m);
    if (rc == 0)
        rc = encode(s, m, (size_t)(steps * BATCH), &rows);
    if (rc == 0)
        rc = train_language_model(m, rows.at, rows.n, &o, NULL, NULL, NULL);
    if (rc == 0)
        rc = model_save(m, s->out);
    rows_free(&rows);
    model_free(m);
    return rc;
}
