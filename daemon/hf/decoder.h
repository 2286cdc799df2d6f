/* decoder.h: ids' tokens back to text. Internal to the room. */
#ifndef CAI_HF_DECODER_H
#define CAI_HF_DECODER_H

#include "hf/vocab.h"
#include "base/buf.h"
#include <jansson.h>

struct hf_decoder;
int hf_decoder_load(const char *path, const json_t *o, struct hf_decoder **ret);
void hf_decoder_free(struct hf_decoder *d);
/* Appends the bytes that the tokens stand for together; not yet made valid UTF-8. Negative when
 * a pattern gave up. */
int hf_decoder_apply(const struct hf_decoder *d, const struct hf_string *tokens, size_t n,
                     struct cai_buf *ret);

/* The same in the order in which tokens come: what each push appends is certain; the last one
 * has `end`. */
struct hf_decoder_run;
struct hf_decoder_run *hf_decoder_run_new(const struct hf_decoder *d);
void hf_decoder_run_free(struct hf_decoder_run *r);
int hf_decoder_push(struct hf_decoder_run *r, const struct hf_string *tokens, size_t n, bool end,
                    struct cai_buf *ret);
/* False for chains that look at the end of the whole text: then all tokens go in one push. */
bool hf_decoder_streams(const struct hf_decoder *d);

/* Appends the bytes that one token stands for wherever it stands. */
void hf_decoder_piece(const struct hf_decoder *d, const struct hf_string *token,
                      struct cai_buf *ret);

#endif
