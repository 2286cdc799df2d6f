/* cluster.h: how many different things a set of texts is about: greedy clusters of word pairs.
 * In the order given, a text joins the first cluster whose first text shares enough of its pairs
 * of neighbouring words (Jaccard similarity of the sets ≥ CLUSTER_NEAR), else it begins one. A
 * function of the texts and their order alone. Not for: meaning, paraphrases. */
#ifndef CAI_STAGE_CLUSTER_H
#define CAI_STAGE_CLUSTER_H

#include <stddef.h>

#define CLUSTER_NEAR 0.5

struct clusters {
    size_t n;       /* clusters */
    size_t *of;     /* [texts] the cluster of each, from 0, in the order in which they began */
    size_t *first;  /* [n] the text that began it */
    size_t *size;   /* [n] */
};
void cluster_texts(const char *const *text, size_t n, struct clusters *ret);
void clusters_free(struct clusters *c);
static inline void cai_clusters_auto(struct clusters *c) { clusters_free(c); }

#endif
