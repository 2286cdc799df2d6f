/* buf.c: growing bytes. */
#include "base/buf.h"
#include "base/error.h"
#include <stdarg.h>
#include <string.h>

enum { DEFAULT_MAX = 256 << 20 };

static bool grow(struct cai_buf *b, size_t extra) {
    size_t max = b->max ? b->max : DEFAULT_MAX;
    if (b->error || extra > max || b->len > max - extra) {
        b->error = CAI_ELIMIT;
        return false;
    }
    size_t need = b->len + extra + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need)
            cap *= 2;
        b->data = cai_realloc(b->data, cap, 1);
        b->cap = cap;
    }
    return true;
}

void cai_buf_append(struct cai_buf *b, const void *data, size_t len) {
    if (!grow(b, len))
        return;
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void cai_buf_puts(struct cai_buf *b, const char *s) { cai_buf_append(b, s, strlen(s)); }
void cai_buf_putc(struct cai_buf *b, char c) { cai_buf_append(b, &c, 1); }

void cai_buf_printf(struct cai_buf *b, const char *format, ...) {
    char small[512];
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, format, ap);
    va_end(ap);
    CAI_CHECK(n >= 0);
    if ((size_t)n < sizeof small) {
        cai_buf_append(b, small, (size_t)n);
    } else if (grow(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

int cai_buf_status(const struct cai_buf *b) {
    if (!b->error)
        return 0;
    return cai_fail(b->error, "more than %zu bytes", b->max ? b->max : (size_t)DEFAULT_MAX);
}

char *cai_buf_detach(struct cai_buf *b) {
    char *s = b->data ? b->data : cai_strdup("");
    *b = (struct cai_buf){.max = b->max};
    return s;
}

void cai_buf_clear(struct cai_buf *b) {
    b->len = 0;
    b->error = 0;
    if (b->data)
        b->data[0] = '\0';
}

void cai_buf_free(struct cai_buf *b) {
    free(b->data);
    *b = (struct cai_buf){.max = b->max};
}
