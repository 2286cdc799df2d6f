/* report_html.h: a job's report as one HTML file that needs nothing beside it. */
#ifndef CAI_CAICTL_REPORT_HTML_H
#define CAI_CAICTL_REPORT_HTML_H

#include <jansson.h>

/* `report` is the reply of the verb "report" (proto/control.h), with any judged tables
 * already added. Writes durably; 0 or a code. */
int report_html(const json_t *report, const char *path);

#endif
