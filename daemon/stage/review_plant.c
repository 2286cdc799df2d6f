/* review_plant.c: see review_plant.h. */
#include "stage/review_plant.h"
#include "base/error.h"
#include "base/rng.h"
#include <string.h>

enum { LEAST = 5, MOST = 4096 };
static const char space[] = " \t\r\n";

static size_t split(const char *text, const char **ret, size_t *ret_len) {
    size_t n = 0;
    for (const char *p = text + strspn(text, space); *p && n < MOST; p += strspn(p, space)) {
        size_t len = strcspn(p, space);
        if (ret) {
            ret[n] = p;
            ret_len[n] = len;
        }
        n++;
        p += len;
    }
    return n;
}

bool plant_possible(const char *text) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    size_t n = split(text, NULL, NULL), different = 0;
    const char **word = cai_arena_array(&a, n + 1, sizeof *word);
    size_t *len = cai_arena_array(&a, n + 1, sizeof *len);
    split(text, word, len);
    for (size_t i = 0; i < n && different < LEAST; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = len[k] == len[i] && memcmp(word[k], word[i], len[i]) == 0;
        different += !seen;
    }
    return different >= LEAST;
}

const char *plant(const struct stage_context *c, const char *what, uint64_t item, const char *text,
                  struct cai_arena *a) {
    size_t n = split(text, NULL, NULL);
    const char **word = cai_arena_array(a, n + 1, sizeof *word);
    size_t *len = cai_arena_array(a, n + 1, sizeof *len);
    uint32_t *order = cai_arena_array(a, n + 1, sizeof *order);
    CAI_AUTO(buf) struct cai_buf out = {0};
    split(text, word, len);
    for (uint32_t k = 0;; k++) { /* an order that changes nothing is no flaw */
        cai_rng_permutation(cai_key_make(c->job->seed, c->round, what, item, k), n, order);
        cai_buf_clear(&out);
        for (size_t i = 0; i < n; i++) {
            cai_buf_puts(&out, i ? " " : "");
            cai_buf_append(&out, word[order[i]], len[order[i]]);
        }
        size_t moved = 0;
        for (size_t i = 0; i < n; i++)
            moved += order[i] != i;
        if (n < 2 || 2 * moved >= n)
            return cai_arena_strndup(a, out.data ? out.data : "", out.len);
    }
}
