/* bpe.h: the BPE model of tokenizer.json. Internal to the room. */
#ifndef CAI_HF_BPE_H
#define CAI_HF_BPE_H

#include "hf/hf.h"
#include "hf/vocab.h"
#include <jansson.h>

/* Where ids go. `ends`, when wanted, gets for each id pushed through this sink the
 * offset in the encoded text where it ends. */
struct hf_sink {
    struct hf_ids *ids;
    bool want_ends;
    size_t *ends;
    size_t n, cap;
};
void hf_sink_push(struct hf_sink *sink, int32_t id, size_t end);
size_t hf_offset(ptrdiff_t at, size_t end); /* at + end, but not less than 0 */

struct hf_bpe;
struct hf_bpe_work; /* scratch of one thread, reused from piece to piece */

/* `bytes`: pieces are raw bytes, each standing for its character of the byte alphabet. */
int hf_bpe_load(const char *path, const json_t *model, bool bytes, struct hf_bpe **ret);
void hf_bpe_free(struct hf_bpe *m);
const struct hf_vocab *hf_bpe_vocab(const struct hf_bpe *m);
struct hf_bpe_work *hf_bpe_work_new(const struct hf_bpe *m);
void hf_bpe_work_free(const struct hf_bpe *m, struct hf_bpe_work *w);
/* One piece of the pre-tokenizer. `at` is its offset in the text, less the characters
 * that pre-tokenizers put before it (so it may be -1). */
void hf_bpe_encode(const struct hf_bpe *m, struct hf_bpe_work *w, const char *piece, size_t len,
                   ptrdiff_t at, struct hf_sink *sink);

#endif
