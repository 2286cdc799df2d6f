/* merges.c: the merge loop of BPE: always the pair of lowest rank, the leftmost of
 * equals. Short pieces scan, long ones keep a heap (n log n). Not for vocabularies. */
#include "hf/merges.h"
#include "hf/vocab.h"
#include <string.h>

#define SCAN_MAX 24 /* at this length the scan and the heap cost about the same */

static uint64_t mix(uint64_t x) { /* the finalizer of splitmix64 */
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

void hf_merges_init(struct hf_merges *m, size_t n) {
    size_t cap = 16;
    while (cap < n * 2)
        cap *= 2;
    m->slots = cai_alloc(cap * sizeof *m->slots);
    m->mask = cap - 1;
    m->salt = hf_hash("merges", 6);
    for (size_t i = 0; i < cap; i++)
        m->slots[i].rank = HF_NO_RANK;
}

static struct hf_merge *find(const struct hf_merges *m, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = mix(pair + m->salt) & m->mask;; i = (i + 1) & m->mask)
        if (m->slots[i].rank == HF_NO_RANK || m->slots[i].pair == pair)
            return &m->slots[i];
}

void hf_merges_put(struct hf_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id) {
    struct hf_merge *slot = find(m, left, right);
    *slot = (struct hf_merge){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, id};
}

void hf_merges_free(struct hf_merges *m) {
    free(m->slots);
    m->slots = NULL;
}

void hf_merge_work_free(struct hf_merge_work *w) {
    free(w->symbols);
    free(w->heap);
    *w = (struct hf_merge_work){0};
}

void hf_merge_push(struct hf_merge_work *w, int32_t id, uint32_t len) {
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 256;
        w->symbols = cai_realloc(w->symbols, w->cap, sizeof *w->symbols);
    }
    w->symbols[w->n++] = (struct hf_symbol){.id = id, .len = len};
}

static void scan(const struct hf_merges *m, struct hf_merge_work *w) {
    struct hf_symbol *s = w->symbols;
    const struct hf_merge *pair[SCAN_MAX]; /* pair[i]: of symbols i and i + 1 */
    for (size_t i = 0; i + 1 < w->n; i++)
        pair[i] = find(m, s[i].id, s[i + 1].id);
    for (;;) {
        size_t best = 0;
        uint32_t rank = HF_NO_RANK;
        for (size_t i = 0; i + 1 < w->n; i++)
            if (pair[i]->rank < rank) {
                rank = pair[i]->rank;
                best = i;
            }
        if (rank == HF_NO_RANK)
            return;
        s[best].id = pair[best]->id;
        s[best].len += s[best + 1].len;
        w->n--;
        memmove(&s[best + 1], &s[best + 2], (w->n - best - 1) * sizeof *s);
        if (best + 1 < w->n)
            memmove(&pair[best], &pair[best + 1], (w->n - 1 - best) * sizeof *pair);
        if (best + 1 < w->n)
            pair[best] = find(m, s[best].id, s[best + 1].id);
        if (best > 0)
            pair[best - 1] = find(m, s[best - 1].id, s[best].id);
    }
}

/* The heap holds rank << 32 | position, the least on top. */
static void heap_push(struct hf_merge_work *w, uint64_t key) {
    if (w->heap_n == w->heap_cap) {
        w->heap_cap = w->heap_cap ? w->heap_cap * 2 : 256;
        w->heap = cai_realloc(w->heap, w->heap_cap, sizeof *w->heap);
    }
    size_t i = w->heap_n++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t heap_pop(struct hf_merge_work *w) {
    uint64_t top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_n; i = child) {
        if (child + 1 < w->heap_n && w->heap[child + 1] < w->heap[child])
            child++;
        if (w->heap[child] >= last)
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

static void offer(const struct hf_merges *m, struct hf_merge_work *w, int32_t i) {
    if (i < 0 || w->symbols[i].next < 0)
        return;
    const struct hf_merge *pair = find(m, w->symbols[i].id, w->symbols[w->symbols[i].next].id);
    if (pair->rank != HF_NO_RANK)
        heap_push(w, (uint64_t)pair->rank << 32 | (uint32_t)i);
}

static void merge_by_heap(const struct hf_merges *m, struct hf_merge_work *w) {
    struct hf_symbol *s = w->symbols;
    for (size_t i = 0; i < w->n; i++) {
        s[i].prev = (int32_t)i - 1;
        s[i].next = i + 1 < w->n ? (int32_t)i + 1 : -1;
    }
    w->heap_n = 0;
    for (size_t i = 0; i + 1 < w->n; i++)
        offer(m, w, (int32_t)i);
    while (w->heap_n) {
        uint64_t top = heap_pop(w);
        int32_t i = (int32_t)(uint32_t)top;
        if (s[i].len == 0 || s[i].next < 0)
            continue; /* merged away since */
        int32_t r = s[i].next;
        const struct hf_merge *pair = find(m, s[i].id, s[r].id);
        if (pair->rank != top >> 32)
            continue; /* another pair stands here now */
        s[i].id = pair->id;
        s[i].len += s[r].len;
        s[r].len = 0;
        s[i].next = s[r].next;
        if (s[i].next >= 0)
            s[s[i].next].prev = i;
        offer(m, w, s[i].prev);
        offer(m, w, i);
    }
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        if (s[i].len)
            s[n++] = s[i];
    w->n = n;
}

void hf_merge_all(const struct hf_merges *m, struct hf_merge_work *w) {
    if (w->n <= SCAN_MAX)
        scan(m, w);
    else
        merge_by_heap(m, w);
}
