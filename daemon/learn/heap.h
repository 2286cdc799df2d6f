/* heap.h: how the C library's heap behaves for tensors. Not for: what is put there. */
#ifndef CAI_LEARN_HEAP_H
#define CAI_LEARN_HEAP_H

#include <stdbool.h>

/* A training step takes and gives back the same blocks as the one before. glibc would hand the top
 * of its heap back to the system in between, and fault every page in again: a tenth of the time. */
void heap_keep(bool on);
/* Everything that lies free in the heap goes back to the system; to be called by the thread whose
 * heap it is: glibc's malloc_trim leaves the top of every heap but the first thread's. */
void heap_give_back(void);

#endif
