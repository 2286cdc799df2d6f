/* error.h: one code and one message per thread.
 *
 * Functions return 0 or a negative code from enum cai_code. The message is set
 * once, where the error is born, by cai_fail(); callers pass the code on and may
 * add context with cai_fail_in(). Libraries never log and never exit.
 * Programming errors do not come here: they assert through CAI_CHECK. */
#ifndef CAI_BASE_ERROR_H
#define CAI_BASE_ERROR_H

#include <stdarg.h>

enum cai_code {
    CAI_OK = 0,
    CAI_EINPUT = -1,    /* a file or request of the user's is wrong; nothing changed */
    CAI_ENOMEM = -2,    /* host or device memory ran out */
    CAI_EIO = -3,       /* reading or writing failed */
    CAI_ENOSPC = -4,    /* disk or quota full */
    CAI_ENOTFOUND = -5, /* no such job, file, model, key */
    CAI_ELIMIT = -6,    /* a limit of ours was exceeded */
    CAI_EPROTO = -7,    /* a peer speaks another protocol, or nonsense */
    CAI_ETIMEOUT = -8,  /* a deadline passed; the message names who was late */
    CAI_ESTATE = -9,    /* not possible in the present state */
    CAI_EAUTH = -10,    /* not allowed */
    CAI_ENUMERIC = -11, /* NaN, Inf, ratio != 1, or another silent number caught */
    CAI_EINTERNAL = -12 /* a foreign engine failed; the message carries its words */
};

/* Sets this thread's message and returns `code`, which must be negative. */
int cai_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " before the present message; returns its code. For callers that
 * know something the birthplace of the error did not (a path, an item number). */
int cai_fail_in(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From errno: ENOSPC and EDQUOT become CAI_ENOSPC, ENOENT CAI_ENOTFOUND, ENOMEM
 * CAI_ENOMEM, else CAI_EIO. The message is "what: strerror". */
int cai_fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

const char *cai_error_text(void); /* "" when there is none; valid until the next failure */
int cai_error_code(void);
void cai_error_clear(void);
const char *cai_code_name(int code); /* "input", "no memory", … for logs and JSON */

#endif
