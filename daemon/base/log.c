/* log.c: lines on stderr, one write each. */
#include "base/log.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *program_name = "caid";
static enum cai_log_level level_max = CAI_LOG_INFO;
static bool under_journal;

static cai_log_sink *journal;

const struct cai_event_kind cai_event_kinds[EVENT_COUNT] = {
    [EVENT_STARTED] = {"8fef16ff8e054be581a61eac70ac3936", "caid serves"},
    [EVENT_STOPPED] = {"15c077a999464e8dac6e60cd4b1c46a2", "caid stopped"},
    [EVENT_CONFIG_READ] = {"db9f2025c7d348ff8e4bb1db8ae511ed", "the configuration was read again"},
    [EVENT_CONFIG_WRONG] = {"e66ebe2649f748c29f957591ef791e4d", "the configuration is wrong; the old one stays"},
    [EVENT_WORKER_HERE] = {"2eefe80fe0334b0bbd990ce4b2919911", "a worker came"},
    [EVENT_WORKER_GONE] = {"d757fecf3fd64135b570c029f914561c", "a worker is gone"},
    [EVENT_WORKER_REFUSED] = {"f538da7883754579b58e15a84926e719", "a worker was refused"},
    [EVENT_JOB] = {"c3693aecb9ef4a01b8f4910cf33f308c", "something happened to a job"},
    [EVENT_JOB_ENDED] = {"62416a7f76574b058206546a48b70374", "a job was completed, failed or was cancelled"},
    [EVENT_JOB_WAITS] = {"1ea94e0d0cfb47b5ae9f10c0017ff4fd", "a job waits for a person"},
    [EVENT_JOB_PAUSED] = {"1315023898534737886db70ec5c080dd", "a job is suspended"},
    [EVENT_BACKUP] = {"095d2d1292de40b99b7294f57e6659d8", "a backup of the database was made"},
    [EVENT_UPGRADED] = {"5d7c1f0e9a2b4c63b1f84e07a6d93215", "the database was copied and upgraded to this version's schema"},
    [EVENT_REMOVED] = {"e2a94b7d30c84f1f9c57d86021fb4ae8", "a model or state was removed"},
    [EVENT_REFUSED] = {"c7fe7349200143fcadc0957fb36aa228", "somebody was refused: no key, or not allowed"},
};

/* $JOURNAL_STREAM names the stream that systemd gave us; a redirected stderr is another. */
static bool stderr_is_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(2, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void cai_log_open(const char *program, enum cai_log_level max_level) {
    program_name = program;
    level_max = max_level;
    under_journal = stderr_is_journal();
}

void cai_log_to(cai_log_sink *sink) { journal = sink; }

static void write_line(enum cai_log_level level, const struct cai_about *about, const char *text) {
    if (under_journal && journal && journal(level, about, program_name, text))
        return;
    if (under_journal) {
        fprintf(stderr, "<%d>%s\n", level, text);
        return;
    }
    char when[32];
    cai_wall_iso(cai_wall_ms(), when);
    const char *word = level <= CAI_LOG_ERROR ? "error: " : level == CAI_LOG_WARN ? "warning: " : "";
    fprintf(stderr, "%s %s: %s%s\n", when, program_name, word, text);
}

static void write_formatted(enum cai_log_level level, const struct cai_about *about,
                            const char *format, va_list ap) {
    char text[2048];
    if (level > level_max)
        return;
    vsnprintf(text, sizeof text, format, ap);
    write_line(level, about, text);
}

void cai_log(enum cai_log_level level, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    write_formatted(level, CAI_ABOUT(EVENT_NONE), format, ap);
    va_end(ap);
}

void cai_log_about(enum cai_log_level level, const struct cai_about *about, const char *format,
                   ...) {
    va_list ap;
    va_start(ap, format);
    write_formatted(level, about, format, ap);
    va_end(ap);
}
