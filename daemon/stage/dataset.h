/* dataset.h: freezes what a training task will read: JSONL, one row per call in the order
 * of the calls, which callers make by (round, item, k). Keys are sorted, so equal content
 * has an equal hash. The row forms are documented where they are read
 * (daemon/learn/dataset.h). */
#ifndef CAI_STAGE_DATASET_H
#define CAI_STAGE_DATASET_H

#include "stage/stage.h"

struct dataset {
    struct cai_buf text;
    uint64_t rows;
};
/* Adds a row and drops the reference to it. */
void dataset_row(struct dataset *d, json_t *row);
/* Writes the blob; ret's strings are in the arena. CAI_ESTATE when there is no row: then
 * `why_empty` is the message. */
int dataset_freeze(const struct stage_context *c, struct dataset *d, const char *why_empty,
                   struct cai_arena *a, Cai__V1__Dataset *ret);
void dataset_free(struct dataset *d);
static inline void cai_dataset_auto(struct dataset *d) { dataset_free(d); }

#endif
