/* sft.h: what a round's supervised training was given. */
#ifndef CAI_STAGE_SFT_H
#define CAI_STAGE_SFT_H

#include "stage/data.h"

struct sft_rows {
    struct sft_row {
        uint64_t item;
        const char *text;
        bool changed; /* a revision; false: a reply that was kept */
    } *at;
    size_t n;
};
/* The rows that stem from a round's critiques, in (item, step) order, without the helpful
 * replies mixed in. Texts lie in the arena. */
int sft_rows(const struct stage_context *c, uint32_t round, struct cai_arena *a,
             struct sft_rows *ret);
/* The helpful replies mixed with `rows` rows of critiques. */
int sft_helpful_rows(const struct stage_context *c, size_t rows, struct cai_arena *a,
                     struct sft_rows *ret);

#endif
