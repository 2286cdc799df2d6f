/* peak.h: the most memory that this process held while a task ran. Not for: what it may take
 * (memory.h). */
#ifndef CAI_WORKER_PEAK_H
#define CAI_WORKER_PEAK_H

#include <stdint.h>

/* Forgets the peaks before. Where the system does not allow that, peaks are the process's. */
void peak_begin(void);
/* Resident bytes at most since; 0 = not known. */
uint64_t peak_end(void);

#endif
