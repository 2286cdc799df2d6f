/* tokenizer.h: the clerk's tokenizer.json: byte-level BPE with GPT-2's splitting, in which
 * every word of the world is one token and every other text still has its bytes. */
#ifndef CAI_CLERK_TOKENIZER_H
#define CAI_CLERK_TOKENIZER_H

#include <stdint.h>

#define CLERK_END_TOKEN "<|end|>"
#define CLERK_PAD_TOKEN "<|pad|>"

/* Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into the folder;
 * *ret_size gets the vocabulary's size, the ids of the two special tokens their places. */
int clerk_tokenizer_write(const char *dir, int64_t *ret_size, int64_t *ret_end, int64_t *ret_pad);

#endif
