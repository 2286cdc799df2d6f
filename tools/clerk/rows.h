/* rows.h: documents of the corpus as what a language model is trained on. */
#ifndef CAI_CLERK_ROWS_H
#define CAI_CLERK_ROWS_H

#include "clerk/corpus.h"
#include "hf/hf.h"
#include "learn/lm.h"

struct rows {
    struct lm_row *at;
    size_t n;
};

/* One document as a row, the caller's; only what the base is to say has weight. */
int rows_encode(const struct hf_chat *chat, const struct hf_tokenizer *t,
                const struct document *doc, struct lm_row *ret);
void row_free(struct lm_row *r);

/* Documents first … first + n − 1 of a part (practice: corpus_document); free with rows_free() also after a failure. */
int rows_make(const struct hf_chat *chat, const struct hf_tokenizer *t, uint64_t seed,
              enum corpus_part part, const double *practice, uint64_t first, size_t n,
              struct rows *ret);
void rows_free(struct rows *r);

#endif
