/* packing.c: see packing.h. */
#include "learn/packing.h"

#include "base/check.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct by_length {
    int64_t length;
    size_t index;
};

static int longest_first(const void *a, const void *b) {
    const struct by_length *x = a, *y = b;
    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static size_t bin_count(const int64_t *lengths, size_t n, int64_t budget, size_t multiple) {
    int64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += lengths[i];
    size_t bins = (size_t)((total + budget - 1) / budget);
    if (bins == 0)
        bins = 1;
    return (bins + multiple - 1) / multiple * multiple;
}

int packing_make(const int64_t *lengths, size_t n, int64_t budget, size_t multiple,
                 struct packing *ret) {
    CAI_CHECK(budget > 0 && multiple > 0);
    size_t bins = bin_count(lengths, n, budget, multiple);
    struct by_length *order = cai_realloc(NULL, n + 1, sizeof *order);
    size_t *bin_of = cai_realloc(NULL, n + 1, sizeof *bin_of);
    int64_t *load = cai_realloc(NULL, bins, sizeof *load);
    memset(load, 0, bins * sizeof *load);
    for (size_t i = 0; i < n; i++)
        order[i] = (struct by_length){lengths[i], i};
    qsort(order, n, sizeof *order, longest_first);
    for (size_t i = 0; i < n; i++) {
        size_t best = 0;
        for (size_t b = 1; b < bins; b++)
            if (load[b] < load[best])
                best = b;
        bin_of[order[i].index] = best;
        load[best] += order[i].length;
    }
    ret->n_bins = bins;
    ret->starts = cai_realloc(NULL, bins + 1, sizeof *ret->starts);
    ret->units = cai_realloc(NULL, n + 1, sizeof *ret->units);
    size_t at = 0;
    for (size_t b = 0; b < bins; b++) {
        ret->starts[b] = at;
        for (size_t i = 0; i < n; i++)
            if (bin_of[i] == b)
                ret->units[at++] = i;
    }
    ret->starts[bins] = at;
    free(order);
    free(bin_of);
    free(load);
    return 0;
}

void packing_free(struct packing *p) {
    free(p->starts);
    free(p->units);
    memset(p, 0, sizeof *p);
}

/* Row and target of every position that matters, in the order of the sequences. */
static int64_t fill_rows(const struct span *seqs, size_t n, bool scalar, int64_t *rows,
                         int64_t *target) {
    int64_t at = 0, base = 0;
    for (size_t i = 0; i < n; i++) {
        for (int64_t j = seqs[i].from; j < seqs[i].to; j++, at++) {
            rows[at] = base + j - (scalar ? 0 : 1);
            target[at] = seqs[i].ids[j];
        }
        base += seqs[i].n;
    }
    return at;
}

static int micro_fill(struct micro *b, bool scalar, const struct span *seqs, size_t n,
                      int64_t total) {
    int64_t *rows = cai_realloc(NULL, (size_t)total, sizeof *rows);
    int64_t *target = cai_realloc(NULL, (size_t)total, sizeof *target);
    b->n_rows = fill_rows(seqs, n, scalar, rows, target);
    b->all_rows = b->n_rows == total;
    ct_scope *s = ct_scope_open();
    ct_tensor *r = ct_from_i64(s, rows, b->n_rows);
    ct_tensor *t = scalar ? NULL : ct_from_i64(s, target, b->n_rows);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(r, &b->rows);
    if (rc == 0 && !scalar)
        rc = ct_keep(t, &b->target);
    ct_scope_close(s);
    free(rows);
    free(target);
    return rc;
}

int micro_new(const struct model *m, const struct span *seqs, size_t n, struct micro **ret) {
    struct micro *b = cai_alloc(sizeof *b);
    *ret = NULL;
    if (n > 0) {
        const int32_t **ids = cai_realloc(NULL, n, sizeof *ids);
        int64_t *lengths = cai_realloc(NULL, n, sizeof *lengths);
        int64_t total = 0;
        bool scalar = m->head == MODEL_HEAD_SCALAR;
        for (size_t i = 0; i < n; i++) {
            CAI_CHECK(seqs[i].from >= (scalar ? 0 : 1) && seqs[i].to <= seqs[i].n);
            ids[i] = seqs[i].ids;
            lengths[i] = seqs[i].n;
            total += seqs[i].n;
        }
        int rc = pack_new(m, ids, lengths, (int64_t)n, &b->pack);
        free(ids);
        free(lengths);
        if (rc == 0)
            rc = micro_fill(b, scalar, seqs, n, total);
        if (rc < 0) {
            micro_free(b);
            return rc;
        }
    }
    *ret = b;
    return 0;
}

void micro_free(struct micro *b) {
    if (b == NULL)
        return;
    pack_free(b->pack);
    ct_free(b->rows);
    ct_free(b->target);
    free(b);
}
