/* pretokenizer.h: cuts text into the pieces that BPE sees. Internal to the room. */
#ifndef CAI_HF_PRETOKENIZER_H
#define CAI_HF_PRETOKENIZER_H

#include "hf/bpe.h"
#include "hf/regex.h"
#include <jansson.h>

struct hf_pre;

int hf_pre_load(const char *path, const json_t *o, struct hf_pre **ret);
void hf_pre_free(struct hf_pre *p);
bool hf_pre_is_bytes(const struct hf_pre *p); /* ends in ByteLevel: pieces are raw bytes */

struct hf_pre_run {
    const struct hf_pre *pre;
    const struct hf_bpe *bpe;
    struct hf_bpe_work *work;
    struct hf_matcher *matcher; /* NULL until a pattern needs it; the caller frees it */
    struct hf_sink *sink;
    bool at_start; /* offset 0 is the beginning of the whole text */
};
/* Pushes the ids of `text` (valid UTF-8), which begins at offset `at` of the whole. */
int hf_pre_encode(struct hf_pre_run *run, const char *text, size_t len, ptrdiff_t at);

#endif
