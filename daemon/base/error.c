/* error.c: the calling thread's error message. */
#include "base/error.h"
#include "base/check.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[2048];
static _Thread_local int last_code;

int cai_fail(int code, const char *format, ...) {
    CAI_CHECK(code < 0);
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof message, format, ap);
    va_end(ap);
    last_code = code;
    return code;
}

int cai_fail_in(const char *format, ...) {
    char context[512], old[sizeof message];
    va_list ap;
    va_start(ap, format);
    vsnprintf(context, sizeof context, format, ap);
    va_end(ap);
    memcpy(old, message, sizeof old);
    size_t used = (size_t)snprintf(message, sizeof message, "%s: ", context);
    snprintf(message + used, sizeof message - used, "%.*s", (int)(sizeof message - used - 1), old);
    return last_code;
}

static int code_of_errno(int e) {
    switch (e) {
    case ENOSPC:
    case EDQUOT:
        return CAI_ENOSPC;
    case ENOENT:
        return CAI_ENOTFOUND;
    case ENOMEM:
        return CAI_ENOMEM;
    case EACCES:
    case EPERM:
        return CAI_EAUTH;
    default:
        return CAI_EIO;
    }
}

int cai_fail_errno(const char *format, ...) {
    int saved = errno;
    char what[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    return cai_fail(code_of_errno(saved), "%s: %s", what, strerror(saved));
}

const char *cai_error_text(void) { return message; }
int cai_error_code(void) { return last_code; }

void cai_error_clear(void) {
    message[0] = '\0';
    last_code = 0;
}

const char *cai_code_name(int code) {
    static const char *const names[] = {"ok",       "input", "no memory",    "input/output",
                                        "disk full", "not found", "limit",   "protocol",
                                        "timeout",  "state", "not allowed", "numeric",
                                        "internal"};
    int i = -code;
    return i >= 0 && i < (int)CAI_COUNT(names) ? names[i] : "unknown";
}
