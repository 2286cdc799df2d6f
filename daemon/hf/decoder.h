/* decoder.h: ids' tokens back to text. Internal to the room. */
#ifndef CAI_HF_DECODER_H
#define CAI_HF_DECODER_H

#include "hf/vocab.h"
#include "base/buf.h"
#include <jansson.h>

struct hf_decoder;
int hf_decoder_load(const char *path, const json_t *o, struct hf_decoder **ret);
void hf_decoder_free(struct hf_decoder *d);
/* Appends the bytes that the tokens stand for together; not yet made valid UTF-8. */
void hf_decoder_apply(const struct hf_decoder *d, const struct hf_string *tokens, size_t n,
                      struct cai_buf *ret);
/* Appends the bytes that one token stands for wherever it stands. */
void hf_decoder_piece(const struct hf_decoder *d, const struct hf_string *token,
                      struct cai_buf *ret);

#endif
