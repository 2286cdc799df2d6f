/* reckon.c: a base that has partly learnt the clerk's arithmetic: a short continued training of
 * another base on lessons of sums.h. The demonstration's base is not touched. */
#include "clerk/reckon.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "clerk/rows.h"
#include "clerk/sums.h"
#include <stdio.h>

/* The trap comes after the rest: lessons for who can reckon already. */
enum { STEPS = 1400, TRAP_STEPS = 300, BATCH = 32 };

static int64_t steps_of(const struct reckon_settings *s) {
    return s->steps ? s->steps : s->trap ? TRAP_STEPS : STEPS;
}

static int make_rows(const char *base, const struct reckon_settings *s, struct rows *ret) {
    struct hf_tokenizer *t = NULL;
    struct hf_chat *chat = NULL;
    size_t n = (size_t)steps_of(s) * BATCH;
    *ret = (struct rows){.at = cai_alloc(n * sizeof *ret->at)};
    int rc = hf_tokenizer_load(base, &t);
    if (rc == 0)
        rc = hf_chat_load(base, t, &chat);
    for (; rc == 0 && ret->n < n; ret->n += rc == 0) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        sum_lesson(s->seed, ret->n, s->trap, &arena, &doc);
        rc = rows_encode(chat, t, &doc, &ret->at[ret->n]);
    }
    hf_chat_free(chat);
    hf_tokenizer_free(t);
    return rc;
}

static bool show(void *context, int64_t step, int64_t steps, double loss, int64_t tokens) {
    int64_t *shown = context;
    (void)tokens;
    if (step == steps || cai_now_ms() - *shown > 5000) {
        *shown = cai_now_ms();
        fprintf(stderr, "sums: step %lld of %lld, loss %.3f\n", (long long)step, (long long)steps,
                loss);
    }
    return false;
}

int clerk_reckon(const struct reckon_settings *s) {
    struct rows rows = {0};
    struct model *m = NULL;
    struct lm_options o = {
        .optimizer = {.lr = 3e-3, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8,
                      .clip_norm = 1, .warmup = 0.05, .schedule = TRAIN_COSINE, .batch = BATCH},
        .epochs = 1, .steps = steps_of(s), .seed = s->seed};
    int64_t shown = 0;
    CAI_TRY(ct_init((int)(s->threads ? s->threads : 1)));
    int rc = make_rows(s->base, s, &rows);
    if (rc == 0)
        rc = model_load(s->base, &m);
    if (rc == 0)
        rc = train_language_model(m, rows.at, rows.n, &o, show, &shown, NULL);
    if (rc == 0)
        rc = model_save(m, s->out);
    rows_free(&rows);
    model_free(m);
    return rc;
}
