/* tokenizer.h: what the chat format needs of the tokenizer beyond hf.h. Internal to the
 * room. */
#ifndef CAI_HF_TOKENIZER_H
#define CAI_HF_TOKENIZER_H

#include "hf/added.h"
#include "hf/hf.h"

/* Appends the ids of `text`, special tokens recognised except where one would touch a
 * `plain` range, whose ends lie between characters; nothing put around. `*ret_ends`, if asked
 * for, gets for each new id the offset in `text` where it ends: exact at the limits of the
 * ranges, else approximate where the normalizer changed the text. The caller frees it. */
int hf_tokenizer_encode_marked(const struct hf_tokenizer *t, const char *text, size_t len,
                               const struct hf_range *plain, size_t num_plain, struct hf_ids *ret,
                               size_t **ret_ends);
/* Whether a special token is in `text`, or could come to be over one of its ends. */
bool hf_tokenizer_meets_special(const struct hf_tokenizer *t, const char *text, size_t len);
/* How tokens become text. */
const struct hf_decoder *hf_tokenizer_decoder(const struct hf_tokenizer *t);
/* The token's text as tokenizer.json spells it; .s NULL when the id has none. */
struct hf_string hf_tokenizer_token(const struct hf_tokenizer *t, int32_t id);
/* From bytes, for tests and fuzzing; `path` is for messages. */
int hf_tokenizer_parse(const char *path, const char *json, size_t len, struct hf_tokenizer **ret);

#endif
