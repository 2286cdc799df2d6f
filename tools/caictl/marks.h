/* marks.h: what models made of an evaluation set, and the figures of it. Pure but for the two
 * functions that make JSON. Not for: asking (eval.c), reading sets (input/evalset.h). Whoever has
 * log-probabilities of a set's options from elsewhere (a task's Scored, say) fills struct mark and
 * has the same figures. */
#ifndef CAI_CAICTL_MARKS_H
#define CAI_CAICTL_MARKS_H

#include "input/evalset.h"

/* One model's answer to one item. */
struct mark {
    double *logprobs; /* by option; of a text: one; NULL: there was no room */
    double *tokens;   /* so many each */
    double bytes;     /* of a text, those that were predicted */
    size_t chosen, chosen_each; /* the likeliest option: as a whole, and per token */
};
void mark_set(struct mark *m, const double *logprobs, const double *tokens, size_t n);
void mark_free(struct mark *m);

struct share { /* a share of n with its interval (Wilson 1927, 95 %) */
    double value, low, high;
    size_t n, hits;
};
struct share marks_share(size_t hits, size_t n);

/* The same items, first by one model and then by the other. */
struct marks_paired {
    size_t n, both, only_a, only_b;
    double difference, low, high; /* b − a, 95 %, half an item added to each cell (Agresti and Min 2005) */
    double p;                     /* of McNemar's exact test: either is as often the only right one */
};
struct marks_paired marks_compare(const bool *a, const bool *b, size_t n);

/* Bits per byte of all texts together, and the interval of a difference between two models by
 * resampling texts (percentile bootstrap, counted draws). nats, bytes: by text. */
double marks_bits(const double *nats, const double *bytes, size_t n);
void marks_bits_apart(const double *nats_a, const double *nats_b, const double *bytes, size_t n,
                      double *ret_low, double *ret_high);

/* The figures of one file: {"file", "choice": {…}?, "open": {…}?, "texts": {…}?, "too_long"};
 * b NULL: one model. And an item for --export. */
json_t *marks_json(const char *file, const struct evalset *s, const struct mark *a,
                   const struct mark *b);
json_t *mark_row(const char *file, const struct evalset_item *q, const struct mark *a,
                 const struct mark *b);

#endif
