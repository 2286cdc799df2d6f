/* normalizer.h: the normalizer of tokenizer.json. Internal to the room. */
#ifndef CAI_HF_NORMALIZER_H
#define CAI_HF_NORMALIZER_H

#include "base/buf.h"
#include <jansson.h>

struct hf_norm;
int hf_norm_load(const char *path, const json_t *o, struct hf_norm **ret);
void hf_norm_free(struct hf_norm *n);
bool hf_norm_is_identity(const struct hf_norm *n);
/* Appends the normal form of `text` (valid UTF-8) to `ret`. */
int hf_norm_apply(const struct hf_norm *n, const char *text, size_t len, struct cai_buf *ret);

#endif
