/* heap.c: see heap.h. Of glibc (malloc/malloc.c, arena.c): a block is pages of its own from
 * M_MMAP_THRESHOLD on; freeing one of 64 KiB or more hands back the top of its thread's heap when
 * that is larger than M_TRIM_THRESHOLD. Setting one of these ends the adaption of both. */
#include "learn/heap.h"

#include "base/check.h"
#include <malloc.h>
#include <stdlib.h>

enum { BLOCK = 32 << 20, KEPT = 2 * BLOCK, ALL = 1 << 30, FREED = 1 << 17 };

static void set(int trim) {
    mallopt(M_MMAP_THRESHOLD, BLOCK);
    mallopt(M_TRIM_THRESHOLD, trim);
}

void heap_keep(bool on) {
    set(on ? ALL : KEPT);
}

void heap_give_back(void) {
    set(0);
    void *volatile block = cai_alloc(FREED); /* volatile, or the pair is optimised away */
    free(block);
    malloc_trim(0);
    set(KEPT);
}
