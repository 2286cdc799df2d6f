/* buf.h: growing bytes with a cap, always NUL-terminated past `len`.
 * {0} is a legal empty buffer with the default cap (256 MiB). Exceeding the cap
 * sets `error` and drops the write; check it once at the end with cai_buf_status(). */
#ifndef CAI_BASE_BUF_H
#define CAI_BASE_BUF_H

#include "base/check.h"
#include <stdbool.h>
#include <stddef.h>

struct cai_buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max; /* 0 = default */
    int error;
};

void cai_buf_append(struct cai_buf *b, const void *data, size_t len);
void cai_buf_puts(struct cai_buf *b, const char *s);
void cai_buf_putc(struct cai_buf *b, char c);
void cai_buf_printf(struct cai_buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int cai_buf_status(const struct cai_buf *b);   /* 0 or CAI_ELIMIT, message set */
char *cai_buf_detach(struct cai_buf *b);       /* the caller's; never NULL; b becomes {0} */
void cai_buf_clear(struct cai_buf *b);         /* len = 0, keeps the memory */
void cai_buf_free(struct cai_buf *b);
static inline void cai_buf_auto(struct cai_buf *b) { cai_buf_free(b); }

#endif
