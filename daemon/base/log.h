/* log.h: one log format, on stderr; programs log, libraries do not. Under systemd
 * (JOURNAL_STREAM set) lines carry the <N> priority prefix and no time. Never prompt
 * or reply text. */
#ifndef CAI_BASE_LOG_H
#define CAI_BASE_LOG_H

enum cai_log_level { CAI_LOG_ERROR = 3, CAI_LOG_WARN = 4, CAI_LOG_INFO = 6, CAI_LOG_DEBUG = 7 };

void cai_log_open(const char *program, enum cai_log_level max_level);
void cai_log(enum cai_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define cai_error(...) cai_log(CAI_LOG_ERROR, __VA_ARGS__)
#define cai_warn(...) cai_log(CAI_LOG_WARN, __VA_ARGS__)
#define cai_info(...) cai_log(CAI_LOG_INFO, __VA_ARGS__)
#define cai_debug(...) cai_log(CAI_LOG_DEBUG, __VA_ARGS__)

#endif
