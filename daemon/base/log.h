/* log.h: one log format, on stderr; programs log, libraries do not. Under systemd
 * (JOURNAL_STREAM set) lines carry the <N> priority prefix and no time. Never prompt
 * or reply text. */
#ifndef CAI_BASE_LOG_H
#define CAI_BASE_LOG_H

#include <stdbool.h>

enum cai_log_level { CAI_LOG_ERROR = 3, CAI_LOG_WARN = 4, CAI_LOG_INFO = 6, CAI_LOG_DEBUG = 7 };

void cai_log_open(const char *program, enum cai_log_level max_level);
void cai_log(enum cai_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Kinds of events an administrator may wait for; each has a MESSAGE_ID that never changes. */
enum cai_event {
    EVENT_NONE,
    EVENT_STARTED,
    EVENT_STOPPED,
    EVENT_CONFIG_READ,
    EVENT_CONFIG_WRONG,
    EVENT_WORKER_HERE,
    EVENT_WORKER_GONE,
    EVENT_WORKER_REFUSED,
    EVENT_JOB,
    EVENT_JOB_ENDED,
    EVENT_JOB_WAITS,
    EVENT_JOB_PAUSED,
    EVENT_BACKUP,
    EVENT_UPGRADED,
    EVENT_REMOVED,
    EVENT_REFUSED,
    EVENT_COUNT
};
struct cai_event_kind {
    const char *id, *what; /* 32 hex digits; for people */
};
extern const struct cai_event_kind cai_event_kinds[EVENT_COUNT]; /* EVENT_NONE: NULL, NULL */

/* What a message is about; absent: 0 and NULL. */
struct cai_about {
    enum cai_event event;
    long long job;
    const char *stage, *worker;
};
void cai_log_about(enum cai_log_level level, const struct cai_about *about, const char *format,
                   ...) __attribute__((format(printf, 3, 4)));
#define CAI_ABOUT(...) (&(const struct cai_about){__VA_ARGS__})

/* Where messages go under systemd instead of stderr; returns false when it could not take one,
 * which then goes to stderr. A program gives one that knows the journal. */
typedef bool cai_log_sink(enum cai_log_level level, const struct cai_about *about,
                          const char *program, const char *text);
void cai_log_to(cai_log_sink *sink);

#define cai_error(...) cai_log(CAI_LOG_ERROR, __VA_ARGS__)
#define cai_warn(...) cai_log(CAI_LOG_WARN, __VA_ARGS__)
#define cai_info(...) cai_log(CAI_LOG_INFO, __VA_ARGS__)
#define cai_debug(...) cai_log(CAI_LOG_DEBUG, __VA_ARGS__)

#endif
