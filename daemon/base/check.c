/* check.c: failing loudly, and small allocations that cannot fail quietly. */
#include "base/check.h"
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

_Noreturn void cai_check_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: programming error: %s does not hold\n", file, line, condition);
    abort();
}

static void *or_abort(void *p) {
    if (!p) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *cai_alloc(size_t size) { return or_abort(calloc(1, size ? size : 1)); }

void *cai_realloc(void *p, size_t n, size_t size) {
    CAI_CHECK(size == 0 || n <= SIZE_MAX / size);
    size_t bytes = n * size;
    return or_abort(realloc(p, bytes ? bytes : 1));
}

char *cai_strdup(const char *s) { return or_abort(strdup(s)); }
char *cai_strndup(const char *s, size_t n) { return or_abort(strndup(s, n)); }

char *cai_format(const char *format, ...) {
    char *out = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&out, format, ap);
    va_end(ap);
    return or_abort(n < 0 ? NULL : out);
}
