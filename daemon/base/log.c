/* log.c: lines on stderr, one write each. */
#include "base/log.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *program_name = "caid";
static enum cai_log_level level_max = CAI_LOG_INFO;
static int under_journal;

void cai_log_open(const char *program, enum cai_log_level max_level) {
    program_name = program;
    level_max = max_level;
    under_journal = getenv("JOURNAL_STREAM") != NULL;
}

void cai_log(enum cai_log_level level, const char *format, ...) {
    if (level > level_max)
        return;
    char text[2048];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (under_journal) {
        fprintf(stderr, "<%d>%s\n", level, text);
        return;
    }
    char when[32];
    cai_wall_iso(cai_wall_ms(), when);
    const char *word = level <= CAI_LOG_ERROR ? "error: " : level == CAI_LOG_WARN ? "warning: " : "";
    fprintf(stderr, "%s %s: %s%s\n", when, program_name, word, text);
}
