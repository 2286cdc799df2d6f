/* merges.h: pairs of ids to (rank, merged id). Internal to the room. */
#ifndef CAI_HF_MERGES_H
#define CAI_HF_MERGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HF_NO_RANK UINT32_MAX

struct hf_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* HF_NO_RANK: empty slot */
    int32_t id;
};

struct hf_merges {
    struct hf_merge *slots;
    size_t mask;
    uint64_t salt;
};

struct hf_symbol {
    int32_t id;
    uint32_t len;       /* bytes of text; 0 once merged into the one before */
    int32_t prev, next; /* -1 at the ends; used by the heap only */
};

/* Scratch that grows and is kept. */
struct hf_merge_work {
    struct hf_symbol *symbols;
    size_t n, cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
};

void hf_merges_init(struct hf_merges *m, size_t n);
/* A pair that is there already keeps nothing of the old: the last one counts. */
void hf_merges_put(struct hf_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id);
void hf_merges_free(struct hf_merges *m);
void hf_merge_work_free(struct hf_merge_work *w);
void hf_merge_push(struct hf_merge_work *w, int32_t id, uint32_t len);
/* Merges the symbols in order of (rank, leftmost) until no pair is left; symbols[0 … n)
 * are then the result. */
void hf_merge_all(const struct hf_merges *m, struct hf_merge_work *w);

#endif
