/* rows.c: documents as rows of tokens with weights. */
#include "clerk/rows.h"
#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

/* A choice is one letter among a hundred other tokens; counted as one of them, it would
 * hardly be learnt. */
static const float VERDICT_WEIGHT = 12;

void row_free(struct lm_row *r) {
    free((void *)(uintptr_t)r->ids);
    free((void *)(uintptr_t)r->weight);
}

void rows_free(struct rows *r) {
    for (size_t i = 0; i < r->n; i++)
        row_free(&r->at[i]);
    free(r->at);
}

static size_t ids_in(const struct hf_tokenizer *t, const char *text) {
    struct hf_ids ids = {0};
    CAI_AUTO(mem) char *spaced = cai_format(" %s", text);
    size_t n = hf_tokenizer_encode(t, spaced, strlen(spaced), false, &ids) == 0 ? ids.n : 0;
    hf_ids_free(&ids);
    return n;
}

/* The weight of each token: only learnt turns count, without their prefix. */
static float *weigh(const struct hf_tokenizer *t, const struct document *doc, const size_t *starts,
                    const size_t *ends, size_t n) {
    float *weight = cai_alloc(n * sizeof *weight);
    for (size_t i = 0; i < doc->n; i++) {
        const struct document_turn *turn = &doc->turns[i];
        if (!turn->learnt)
            continue;
        for (size_t k = starts[i] + (turn->prefix ? ids_in(t, turn->prefix) : 0); k < ends[i]; k++)
            weight[k] = turn->verdict ? VERDICT_WEIGHT : 1;
    }
    return weight;
}

int rows_encode(const struct hf_chat *chat, const struct hf_tokenizer *t,
                const struct document *doc, struct lm_row *ret) {
    struct hf_message messages[DOCUMENT_TURNS];
    size_t starts[DOCUMENT_TURNS], ends[DOCUMENT_TURNS];
    for (size_t i = 0; i < doc->n; i++)
        messages[i] = (struct hf_message){.role = doc->turns[i].role, .text = doc->turns[i].text};
    struct hf_ids ids = {0};
    CAI_TRY(hf_chat_encode(chat, messages, doc->n, false, NULL, &ids, starts, ends));
    float *weight = weigh(t, doc, starts, ends, ids.n);
    int64_t from = 1;
    while (from < (int64_t)ids.n && weight[from] == 0)
        from++;
    *ret = (struct lm_row){ids.data, (int64_t)ids.n, from, weight};
    return 0;
}

int rows_make(const struct hf_chat *chat, const struct hf_tokenizer *t, uint64_t seed,
              enum corpus_part part, const double *practice, uint64_t first, size_t n,
              struct rows *ret) {
    *ret = (struct rows){.at = cai_alloc(n * sizeof *ret->at)};
    for (; ret->n < n; ret->n++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        corpus_document(seed, part, first + ret->n, practice, &arena, &doc);
        CAI_TRY(rows_encode(chat, t, &doc, &ret->at[ret->n]));
    }
    return 0;
}
