/* journal.c: messages to systemd's journal, with fields. Not for deciding what is logged. */
#include "journal.h"
#include <stdio.h>
#include <systemd/sd-journal.h>

enum { FIELDS = 7 };

bool journal_sink(enum cai_log_level level, const struct cai_about *about, const char *program,
                  const char *text) {
    char field[FIELDS][2080];
    struct iovec part[FIELDS];
    int n = 0;
#define PUT(...) (part[n] = (struct iovec){field[n], (size_t)snprintf(field[n], sizeof field[n], __VA_ARGS__)}, n++)
    PUT("MESSAGE=%s", text);
    PUT("PRIORITY=%d", (int)level);
    PUT("SYSLOG_IDENTIFIER=%.60s", program);
    if (about->event != EVENT_NONE)
        PUT("MESSAGE_ID=%s", cai_event_kinds[about->event].id);
    if (about->job)
        PUT("CAI_JOB=%lld", about->job);
    if (about->stage && *about->stage)
        PUT("CAI_STAGE=%.60s", about->stage);
    if (about->worker && *about->worker)
        PUT("CAI_WORKER=%.200s", about->worker);
#undef PUT
    return sd_journal_sendv(part, n) == 0;
}
