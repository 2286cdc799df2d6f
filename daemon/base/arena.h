/* arena.h: many small allocations with one lifetime. Not for tensors. */
#ifndef CAI_BASE_ARENA_H
#define CAI_BASE_ARENA_H

#include "base/check.h"
#include <stddef.h>

struct cai_arena {
    struct cai_arena_block *head;
};

void *cai_arena_alloc(struct cai_arena *a, size_t size); /* zeroed, 16-aligned */
void *cai_arena_array(struct cai_arena *a, size_t n, size_t size);
char *cai_arena_strndup(struct cai_arena *a, const char *s, size_t n);
char *cai_arena_strdup(struct cai_arena *a, const char *s);
char *cai_arena_printf(struct cai_arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cai_arena_free(struct cai_arena *a);
static inline void cai_arena_auto(struct cai_arena *a) { cai_arena_free(a); }

#endif
