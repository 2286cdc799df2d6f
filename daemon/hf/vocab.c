/* vocab.c: a hash table of strings to ids with the way back. Not for merges (bpe.c). */
#include "hf/vocab.h"
#include <pthread.h>
#include <sodium.h>
#include <string.h>

struct hf_vocab_slot {
    const char *s; /* NULL: empty */
    uint32_t len;
    int32_t id;
};

static unsigned char hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void make_hash_key(void) {
    CAI_CHECK(sodium_init() >= 0);
    randombytes_buf(hash_key, sizeof hash_key);
}

uint64_t hf_hash(const void *data, size_t len) {
    pthread_once(&hash_once, make_hash_key);
    uint64_t h;
    _Static_assert(sizeof h == crypto_shorthash_BYTES, "one word");
    crypto_shorthash((unsigned char *)&h, data, len, hash_key);
    return h;
}

static struct hf_vocab_slot *probe(const struct hf_vocab *v, const char *s, size_t len) {
    for (size_t i = hf_hash(s, len) & v->mask;; i = (i + 1) & v->mask) {
        struct hf_vocab_slot *slot = &v->slots[i];
        if (!slot->s || (slot->len == len && memcmp(slot->s, s, len) == 0))
            return slot;
    }
}

static void grow(struct hf_vocab *v) {
    struct hf_vocab_slot *old = v->slots;
    size_t n = old ? v->mask + 1 : 0, cap = n ? n * 2 : 64;
    v->slots = cai_alloc(cap * sizeof *v->slots);
    v->mask = cap - 1;
    for (size_t i = 0; i < n; i++)
        if (old[i].s)
            *probe(v, old[i].s, old[i].len) = old[i];
    free(old);
}

static void reserve_id(struct hf_vocab *v, int32_t id) {
    if (id >= v->cap_ids) {
        int32_t cap = v->cap_ids ? v->cap_ids : 256;
        while (cap <= id)
            cap *= 2;
        v->by_id = cai_realloc(v->by_id, (size_t)cap, sizeof *v->by_id);
        memset(v->by_id + v->cap_ids, 0, (size_t)(cap - v->cap_ids) * sizeof *v->by_id);
        v->cap_ids = cap;
    }
    if (id >= v->num_ids)
        v->num_ids = id + 1;
}

bool hf_vocab_add(struct hf_vocab *v, const char *s, size_t len, int32_t id) {
    CAI_CHECK(id >= 0 && id < HF_MAX_ID && len <= UINT32_MAX);
    if (!v->slots || v->n * 2 >= v->mask)
        grow(v);
    struct hf_vocab_slot *slot = probe(v, s, len);
    if (slot->s || (id < v->num_ids && v->by_id[id].s))
        return false;
    reserve_id(v, id);
    const char *copy = cai_arena_strndup(&v->arena, s, len);
    *slot = (struct hf_vocab_slot){copy, (uint32_t)len, id};
    v->by_id[id] = (struct hf_string){copy, (uint32_t)len};
    v->n++;
    return true;
}

int32_t hf_vocab_find(const struct hf_vocab *v, const char *s, size_t len) {
    if (!v->slots)
        return -1;
    const struct hf_vocab_slot *slot = probe(v, s, len);
    return slot->s ? slot->id : -1;
}

void hf_vocab_free(struct hf_vocab *v) {
    cai_arena_free(&v->arena);
    free(v->slots);
    free(v->by_id);
    *v = (struct hf_vocab){0};
}
