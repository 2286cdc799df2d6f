/* similar.h: which texts are nearly the same, so that one of them is not trained on while the
 * other is asked about.
 *
 * A text is the set of its runs of three words (shingles; lower case, punctuation dropped). Two
 * texts are near when their sets' Jaccard similarity is at least the threshold. Candidates come
 * from MinHash signatures in bands (Broder 1997, "On the resemblance and containment of
 * documents"; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", §3.3–3.4): 16 bands of
 * 4, which finds a pair of similarity 0.8 with probability 0.9998; every candidate is then
 * checked on the sets themselves. Nothing depends on order, time or memory: the same texts give
 * the same groups. Texts with the same key (the conversation's first words) are one group too.
 * Not for: languages' fine points, paraphrases. */
#ifndef CAI_INPUT_SIMILAR_H
#define CAI_INPUT_SIMILAR_H

#include "input/turns.h"
#include <stdint.h>

#define SIMILAR_THRESHOLD 0.8

struct similar;
struct similar *similar_new(double threshold);
void similar_free(struct similar *s);
/* Texts are numbered from 0 as they come. `key` may be NULL. */
void similar_add(struct similar *s, const char *text, const char *key);
/* A conversation: its turns are the text, its first user turn is the key. */
void similar_add_turns(struct similar *s, const struct input_turn *turns, size_t n);
/* After the last text. */
void similar_group(struct similar *s);
size_t similar_count(const struct similar *s);
/* The lowest number of the text's group: its own when it is like no other. */
size_t similar_of(const struct similar *s, size_t i);
/* |x ∩ y| / |x ∪ y| of the sets; 1 for the same text. */
double similar_jaccard(const struct similar *s, size_t x, size_t y);

#endif
