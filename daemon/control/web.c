/* web.c: the verb by which a person gets a link to caid's pages. */
#include "control/control.h"
#include "control/pages.h"
#include "web/web.h"

/* Changes nothing that lasts, so that its answer, which lets somebody in, is kept nowhere. */
static int link_to(const struct request *q, json_t **ret) {
    CAI_AUTO(mem) char *url = NULL;
    int rc = pages_link(q->run, q->who, &url);
    if (rc < 0)
        return rc;
    *ret = json_pack("{s:s, s:s, s:i}", "url", url, "address", web_address(q->run->front->web), "holds_s",
                     (int)WEB_LINK_S);
    return 0;
}

const struct verb web_verbs[] = {
    {"web.link", false, "", link_to},
    {0},
};
