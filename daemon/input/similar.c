/* similar.c: shingles, MinHash, bands, and groups by union-find. */
#include "input/similar.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { BANDS = 16, ROWS = 4, WORDS = 3, REPRESENTATIVES = 64 };

struct text {
    uint32_t *shingles; /* sorted, distinct: the upper halves of the hashes; the arena's */
    uint32_t n;
    uint64_t key; /* 0 = none */
    uint64_t bands[BANDS]; /* of the signature */
};
struct similar {
    struct cai_arena arena;
    struct text *at;
    size_t n, cap;
    size_t *parent; /* after similar_group */
    double threshold;
};

struct similar *similar_new(double threshold) {
    struct similar *s = cai_alloc(sizeof *s);
    s->threshold = threshold;
    return s;
}

void similar_free(struct similar *s) {
    if (!s)
        return;
    cai_arena_free(&s->arena);
    free(s->at);
    free(s->parent);
    free(s);
}

size_t similar_count(const struct similar *s) { return s->n; }

/* ---- a text's set ----------------------------------------------------------------------- */

/* SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that mixes all bits. */
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The next word's hash: a run of ASCII letters and digits, or one other character (so that
 * scripts without spaces have words too). 0 at the end. */
static uint64_t next_word(const char **io) {
    const unsigned char *s = (const unsigned char *)*io;
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    while (*s && *s < 0x80 && !isalnum(*s))
        s++;
    if (!*s) {
        *io = (const char *)s;
        return 0;
    }
    if (*s >= 0x80) {
        do
            h = (h ^ *s++) * UINT64_C(0x100000001b3);
        while ((*s & 0xC0) == 0x80);
    } else {
        for (; *s < 0x80 && isalnum(*s); s++)
            h = (h ^ (unsigned char)tolower(*s)) * UINT64_C(0x100000001b3);
    }
    *io = (const char *)s;
    return h ? h : 1;
}

static int order(const void *x, const void *y) {
    const uint64_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

static uint64_t least_under(const uint64_t *shingles, size_t n, uint64_t seed) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = mix(shingles[i] ^ seed);
        least = v < least ? v : least;
    }
    return least;
}

static void sign(const uint64_t *shingles, size_t n, struct text *t) {
    for (size_t b = 0; b < BANDS; b++) {
        t->bands[b] = b;
        for (size_t r = 0; r < ROWS; r++)
            t->bands[b] = mix(t->bands[b] ^ least_under(shingles, n, mix(b * ROWS + r + 1)));
    }
}

/* Half of each hash is enough to compare two texts: of 1,000 shingles in each, two that are not
 * the same agree by chance once in 4,000 comparisons. */
static void keep_halves(struct similar *s, const uint64_t *sorted, size_t n, struct text *t) {
    t->shingles = cai_arena_array(&s->arena, n ? n : 1, sizeof *t->shingles);
    t->n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t half = (uint32_t)(sorted[i] >> 32);
        if (t->n == 0 || t->shingles[t->n - 1] != half)
            t->shingles[t->n++] = half;
    }
}

/* Every three words in a row; a text of fewer has one shingle. */
static void take_shingles(struct similar *s, const char *text, struct text *t) {
    size_t most = strlen(text) + 1;
    uint64_t *all = cai_realloc(NULL, most, sizeof *all), window[WORDS] = {0};
    size_t words = 0, n = 0;
    for (uint64_t w; (w = next_word(&text)); words++) {
        window[words % WORDS] = w;
        if (words + 1 >= WORDS)
            all[n++] = mix(mix(mix(window[(words + 1) % WORDS]) + window[(words + 2) % WORDS]) + w);
    }
    if (n == 0 && words > 0)
        all[n++] = mix(mix(window[0]) + window[1]);
    if (n)
        qsort(all, n, sizeof *all, order);
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || all[i] != all[i - 1])
            all[distinct++] = all[i];
    sign(all, distinct, t);
    keep_halves(s, all, distinct, t);
    free(all);
}

static uint64_t hash_words(const char *text) {
    uint64_t h = 0;
    for (uint64_t w; (w = next_word(&text));)
        h = mix(h + w);
    return h;
}

void similar_add(struct similar *s, const char *text, const char *key) {
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 256;
        s->at = cai_realloc(s->at, s->cap, sizeof *s->at);
    }
    struct text *t = &s->at[s->n++];
    take_shingles(s, text, t);
    t->key = key ? hash_words(key) : 0;
}

void similar_add_turns(struct similar *s, const struct input_turn *turns, size_t n) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    const char *first = NULL;
    for (size_t i = 0; i < n; i++) {
        bool user = strcmp(turns[i].role, "user") == 0;
        cai_buf_printf(&text, "%s\n", turns[i].text);
        first = !first && user ? turns[i].text : first;
    }
    similar_add(s, text.data ? text.data : "", first);
}

double similar_jaccard(const struct similar *s, size_t x, size_t y) {
    const struct text *a = &s->at[x], *b = &s->at[y];
    size_t i = 0, k = 0, both = 0;
    while (i < a->n && k < b->n) {
        both += a->shingles[i] == b->shingles[k];
        uint32_t u = a->shingles[i], v = b->shingles[k];
        i += u <= v;
        k += v <= u;
    }
    size_t either = (size_t)a->n + b->n - both;
    return either ? (double)both / (double)either : 1;
}

/* ---- groups ------------------------------------------------------------------------------ */

size_t similar_of(const struct similar *s, size_t i) {
    while (s->parent[i] != i)
        i = s->parent[i];
    return i;
}

/* The lower number stays, so that the order of joining does not matter. */
static void join(struct similar *s, size_t x, size_t y) {
    size_t a = similar_of(s, x), b = similar_of(s, y), low = a < b ? a : b;
    s->parent[a] = s->parent[b] = low;
    for (size_t *p = &s->parent[x]; *p != low; p = &s->parent[x]) {
        size_t next = *p;
        *p = low;
        x = next;
    }
    s->parent[y] = low;
}

struct entry {
    uint64_t hash;
    size_t i;
};

static int entry_order(const void *x, const void *y) {
    const struct entry *a = x, *b = y;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->i < b->i ? -1 : a->i > b->i;
}

/* Texts of one bucket are compared with those that stand for the groups found in it. */
static void join_bucket(struct similar *s, const struct entry *e, size_t n) {
    size_t stands[REPRESENTATIVES], found = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < found && similar_of(s, stands[k]) != similar_of(s, e[i].i) &&
               similar_jaccard(s, stands[k], e[i].i) < s->threshold)
            k++;
        if (k < found)
            join(s, stands[k], e[i].i);
        else if (found < REPRESENTATIVES)
            stands[found++] = e[i].i;
    }
}

static void join_by(struct similar *s, struct entry *e, bool same) {
    qsort(e, s->n, sizeof *e, entry_order);
    for (size_t from = 0, to; from < s->n; from = to) {
        for (to = from + 1; to < s->n && e[to].hash == e[from].hash; to++)
            if (same && e[from].hash)
                join(s, e[from].i, e[to].i);
        if (!same && to - from > 1)
            join_bucket(s, e + from, to - from);
    }
}

void similar_group(struct similar *s) {
    struct entry *e = cai_realloc(NULL, s->n + 1, sizeof *e);
    s->parent = cai_realloc(s->parent, s->n + 1, sizeof *s->parent);
    for (size_t i = 0; i < s->n; i++) {
        s->parent[i] = i;
        e[i] = (struct entry){s->at[i].key, i};
    }
    if (s->n)
        join_by(s, e, true);
    for (size_t band = 0; s->n && band < BANDS; band++) {
        for (size_t i = 0; i < s->n; i++)
            e[i] = (struct entry){s->at[i].bands[band], i};
        join_by(s, e, false);
    }
    free(e);
}
