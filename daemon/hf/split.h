/* split.h: hand-written matchers for the patterns that most checkpoints split text by.
 * Internal to the room. */
#ifndef CAI_HF_SPLIT_H
#define CAI_HF_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hf_splitter;

/* The matcher of exactly this pattern, or NULL: then Oniguruma does it. */
const struct hf_splitter *hf_splitter_find(const char *pattern, size_t len);
/* All of them, for tests: pattern i of as many as there are, or NULL. */
const char *hf_splitter_pattern(size_t i);

/* Goes through the matches of `text` (valid UTF-8) in order, as Oniguruma would. */
struct hf_split {
    const struct hf_splitter *splitter;
    const uint16_t *classes;
    const char *text, *end, *at;
};
struct hf_split hf_split_begin(const struct hf_splitter *s, const char *text, size_t len);
/* The next match, never empty; false at the end. */
bool hf_split_next(struct hf_split *s, size_t *ret_begin, size_t *ret_end);

#endif
