/* check.h: assertions that stay on in release builds, and cleanup attributes.
 * CAI_CHECK is for programming errors only; what a user or a file can cause is an
 * error code (error.h). */
#ifndef CAI_BASE_CHECK_H
#define CAI_BASE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

_Noreturn void cai_check_failed(const char *condition, const char *file, int line);

#define CAI_CHECK(cond) ((cond) ? (void)0 : cai_check_failed(#cond, __FILE__, __LINE__))

/* CAI_AUTO(buf) struct cai_buf b = {0};  runs cai_buf_auto(&b) when b leaves scope. */
#define CAI_AUTO(kind) __attribute__((cleanup(cai_##kind##_auto)))

static inline void cai_mem_auto(void *p) { free(*(void **)p); }
static inline void cai_stream_auto(FILE **f) {
    if (*f)
        fclose(*f);
}

/* Propagates a failure: int rc = …; if (rc < 0) return rc; */
#define CAI_TRY(expr)                                                                              \
    do {                                                                                           \
        int cai_rc_ = (expr);                                                                      \
        if (cai_rc_ < 0)                                                                           \
            return cai_rc_;                                                                        \
    } while (0)

#define CAI_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Allocation of small, bounded things: running out of memory there is not
 * recoverable in any useful way, so it aborts with a message. Sizes that come from
 * outside are checked against a limit first. */
void *cai_alloc(size_t size);                /* zeroed */
void *cai_realloc(void *p, size_t n, size_t size); /* n × size, overflow checked */
char *cai_strdup(const char *s);
char *cai_strndup(const char *s, size_t n);
char *cai_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
