/* failpoint.h: named places before and after durable steps where a test can end, abort, hold or
 * fail the process. Compiled out unless built with -Dfailpoints=true: then nothing is left of
 * one but a 0. Not for anything but tests.
 *
 * $CAI_FAILPOINT = "NAME ACTION [N]": at the N-th pass (1) in a process, ACTION is done there:
 *   kill      SIGKILL          abort     abort()
 *   delay:MS  sleeps so long   error     returns CAI_EIO
 * $CAI_FAILPOINT_FILE names a file with such a line, which is removed by the one process that
 * does it: once in all, however many processes there are and however often they begin again.
 * $CAI_FAILPOINT_TRACE names a file to which every pass adds its name. */
#ifndef CAI_BASE_FAILPOINT_H
#define CAI_BASE_FAILPOINT_H

#ifdef CAI_FAILPOINTS
/* 0, or CAI_EIO where an error is asked for. The name stands in the table of failpoint.c. */
int cai_failpoint(const char *name);
extern const char *const cai_failpoints[]; /* NULL at the end */
#define CAI_FAILPOINT(name) cai_failpoint(name)
#else
#define CAI_FAILPOINT(name) 0
#endif

#endif
