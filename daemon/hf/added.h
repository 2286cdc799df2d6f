/* added.h: the added tokens of tokenizer.json. Internal to the room. */
#ifndef CAI_HF_ADDED_H
#define CAI_HF_ADDED_H

#include "hf/normalizer.h"
#include "hf/vocab.h"
#include <jansson.h>

struct hf_added_token {
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
};

struct hf_added;
int hf_added_load(const char *path, const json_t *list, const struct hf_norm *norm,
                  const struct hf_vocab *vocab, struct hf_added **ret);
void hf_added_free(struct hf_added *a);
/* Ids of added tokens by their content, and back; apart from the model's vocabulary. */
const struct hf_vocab *hf_added_vocab(const struct hf_added *a);
bool hf_added_is_special(const struct hf_added *a, int32_t id);

/* Where special tokens are not looked for: what a person or a model wrote. Sorted. */
struct hf_range {
    size_t begin, end;
};

/* Goes through `text`: gaps (token NULL) and tokens in turn. `normalized` chooses which
 * of the two kinds of added tokens is looked for. */
struct hf_added_scan {
    const struct hf_added *added;
    const char *text;
    size_t len;
    bool normalized;
    const struct hf_range *plain;
    size_t num_plain;
    size_t from, search, next_plain;
    bool pending;
    const struct hf_added_token *token;
    size_t begin, end;
};
bool hf_added_next(struct hf_added_scan *s, const struct hf_added_token **ret, size_t *ret_begin,
                   size_t *ret_end);

#endif
