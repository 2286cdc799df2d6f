/* vocab.h: strings to ids and back. Internal to the room. */
#ifndef CAI_HF_VOCAB_H
#define CAI_HF_VOCAB_H

#include "base/arena.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HF_MAX_ID (1 << 24)

struct hf_string {
    const char *s;
    uint32_t len;
};

struct hf_vocab {
    struct cai_arena arena;
    struct hf_vocab_slot *slots;
    size_t mask, n;
    struct hf_string *by_id; /* .s NULL where an id has no token */
    int32_t num_ids;         /* highest id + 1 */
    int32_t cap_ids;
};

/* False when the string is there already, or the id belongs to another string. */
bool hf_vocab_add(struct hf_vocab *v, const char *s, size_t len, int32_t id);
int32_t hf_vocab_find(const struct hf_vocab *v, const char *s, size_t len); /* or -1 */
void hf_vocab_free(struct hf_vocab *v);
/* Keyed with a secret of this process, so that a hostile file cannot choose collisions. */
uint64_t hf_hash(const void *data, size_t len);

#endif
