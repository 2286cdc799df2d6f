/* cluster.c: see cluster.h. */
#include "stage/cluster.h"

#include "base/arena.h"
#include "base/check.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A text as a set: hashes of its pairs of neighbouring words, rising, each once. */
struct set {
    uint64_t *at;
    size_t n;
};

static int by_value(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

/* Lower case, letters and digits alone: FNV-1a. A mark is no word. */
static uint64_t word_hash(const char *s, size_t n, bool *ret_empty) {
    uint64_t h = 0xcbf29ce484222325u;
    *ret_empty = true;
    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)s[i];
        if (!isalnum(x) && x < 0x80)
            continue;
        h = (h ^ (uint64_t)tolower(x)) * 0x100000001b3u;
        *ret_empty = false;
    }
    return h;
}

static struct set set_of(struct cai_arena *a, const char *text) {
    size_t most = strlen(text) + 1, n = 0, distinct = 0;
    uint64_t before = 1;
    struct set s = {cai_arena_array(a, most, sizeof *s.at), 0};
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, " \t\r\n");
        bool empty;
        uint64_t h = word_hash(p, len, &empty);
        p += len;
        p += strspn(p, " \t\r\n");
        if (empty)
            continue;
        s.at[n++] = (before * 0x9e3779b97f4a7c15u) ^ h;
        before = h;
    }
    qsort(s.at, n, sizeof *s.at, by_value);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || s.at[i] != s.at[i - 1])
            s.at[distinct++] = s.at[i];
    s.n = distinct;
    return s;
}

static double similarity(const struct set *x, const struct set *y) {
    size_t i = 0, j = 0, both = 0;
    while (i < x->n && j < y->n) {
        both += x->at[i] == y->at[j];
        bool low = x->at[i] <= y->at[j], high = x->at[i] >= y->at[j];
        i += low;
        j += high;
    }
    size_t all = x->n + y->n - both;
    return all ? (double)both / (double)all : 1;
}

void cluster_texts(const char *const *text, size_t n, struct clusters *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct set *sets = cai_arena_array(&a, n + 1, sizeof *sets);
    *ret = (struct clusters){0, cai_alloc((n + 1) * sizeof(size_t)),
                             cai_alloc((n + 1) * sizeof(size_t)),
                             cai_alloc((n + 1) * sizeof(size_t))};
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        sets[i] = set_of(&a, text[i]);
        while (k < ret->n && similarity(&sets[ret->first[k]], &sets[i]) < CLUSTER_NEAR)
            k++;
        if (k == ret->n)
            ret->first[ret->n++] = i;
        ret->of[i] = k;
        ret->size[k]++;
    }
}

void clusters_free(struct clusters *c) {
    free(c->of);
    free(c->first);
    free(c->size);
    *c = (struct clusters){0};
}
