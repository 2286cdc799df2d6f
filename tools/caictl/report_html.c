/* report_html.c: report.html with the data and the plotting library put in their places.
 * Both are compiled into the program. Not for deciding what a report says: that is the
 * daemon's. */
#include "report_html.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <string.h>

/* .incbin keeps the page a page that an editor and a browser can open. */
#define EMBED(symbol, path)                                                                        \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" path "\"\n"                                                               \
            ".byte 0\n"                                                                            \
            ".previous\n");                                                                        \
    extern const char symbol[]

EMBED(caictl_report_page, REPORT_PAGE);
EMBED(caictl_report_chart, REPORT_CHART);

/* JSON inside a script element: "</script>" and "<!--" must not end or change it, and
 * '<' inside JSON occurs only in strings, where the escape means the same. */
static void put_json(struct cai_buf *out, const char *json) {
    for (const char *s = json; *s; s++) {
        if (*s == '<')
            cai_buf_puts(out, "\\u003c");
        else
            cai_buf_putc(out, *s);
    }
}

int report_html(const json_t *report, const char *path) {
    CAI_AUTO(mem) char *json = json_dumps(report, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (!json)
        return cai_fail(CAI_EINPUT, "the report cannot be written as JSON");
    const char *data = strstr(caictl_report_page, "@DATA@");
    const char *chart = strstr(caictl_report_page, "@CHART@");
    CAI_CHECK(data && chart && data < chart);
    CAI_AUTO(buf) struct cai_buf page = {0};
    cai_buf_append(&page, caictl_report_page, (size_t)(data - caictl_report_page));
    put_json(&page, json);
    data += strlen("@DATA@");
    cai_buf_append(&page, data, (size_t)(chart - data));
    cai_buf_puts(&page, caictl_report_chart);
    cai_buf_puts(&page, chart + strlen("@CHART@"));
    CAI_TRY(cai_buf_status(&page));
    return cai_file_write_atomic(path, page.data, page.len);
}
