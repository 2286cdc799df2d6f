/* tables.c: prints what manual pages and shipped files take from the programs' own tables:
 * tables events | frames | job | caid.conf | template. A build tool; it is not installed. */
#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "constitution/constitution.h"
#include "job/job.h"
#include "run/run.h"
#include <string.h>

/* The kinds of events, for caid(8). */
static void write_events(struct cai_buf *ret) {
    for (int i = EVENT_NONE + 1; i < EVENT_COUNT; i++)
        cai_buf_printf(ret, "%s *%s*\n:[ %s\n", i == EVENT_NONE + 1 ? "][" : "|[",
                       cai_event_kinds[i].id, cai_event_kinds[i].what);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*write)(struct cai_buf *ret);
    } tables[] = {{"events", write_events},
                  {"frames", constitution_write_manual},
                  {"job", job_write_manual},
                  {"caid.conf", run_config_manual},
                  {"template", run_config_template}};
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; argc == 2 && i < CAI_COUNT(tables); i++)
        if (strcmp(tables[i].name, argv[1]) == 0)
            tables[i].write(&text);
    if (!text.len)
        return 2;
    fwrite(text.data, 1, text.len, stdout);
    return 0;
}
