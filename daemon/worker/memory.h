/* memory.h: how much memory this process may count on. Not for: how much a task takes. */
#ifndef CAI_WORKER_MEMORY_H
#define CAI_WORKER_MEMORY_H

#include <stdint.h>

/* The machine's memory, or the least that a control group above this process leaves it; 0
 * where neither is known. `root` is "" but in tests: a folder with proc/ and sys/ in it. */
uint64_t memory_of_machine(const char *root);

/* What a worker's tasks may take: what a person `said` (0: nothing) of what there is, and that
 * is the device's own memory where it has any (0: none), else the machine's. */
uint64_t memory_for_tasks(uint64_t said, uint64_t machine, uint64_t device);

/* "1.5G", "800M", "65536": decimal units, as a plan is said in. CAI_EINPUT for anything else. */
int memory_parse(const char *text, uint64_t *ret);

#endif
