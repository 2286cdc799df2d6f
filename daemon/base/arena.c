/* arena.c: blocks in a list, freed together. */
#include "base/arena.h"
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

struct cai_arena_block {
    struct cai_arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

enum { BLOCK = 16 << 10 };

void *cai_arena_alloc(struct cai_arena *a, size_t size) {
    CAI_CHECK(size < SIZE_MAX / 2);
    size = (size + 15) & ~(size_t)15;
    struct cai_arena_block *b = a->head;
    if (!b || b->size - b->used < size) {
        size_t room = size > BLOCK ? size : BLOCK;
        b = cai_alloc(sizeof *b + room);
        b->size = room;
        b->next = a->head;
        a->head = b;
    }
    void *p = b->data + b->used;
    b->used += size;
    return p;
}

void *cai_arena_array(struct cai_arena *a, size_t n, size_t size) {
    CAI_CHECK(size == 0 || n <= SIZE_MAX / 2 / size);
    return cai_arena_alloc(a, n * size);
}

char *cai_arena_strndup(struct cai_arena *a, const char *s, size_t n) {
    char *p = cai_arena_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *cai_arena_strdup(struct cai_arena *a, const char *s) {
    return cai_arena_strndup(a, s, strlen(s));
}

char *cai_arena_printf(struct cai_arena *a, const char *format, ...) {
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    CAI_CHECK(n >= 0);
    char *p = cai_arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

void cai_arena_free(struct cai_arena *a) {
    for (struct cai_arena_block *b = a->head; b;) {
        struct cai_arena_block *next = b->next;
        free(b);
        b = next;
    }
    a->head = NULL;
}
