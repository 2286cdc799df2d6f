/* web.c: opening and closing, and links for people who ask caid for one. Not for requests
 * (server.c, answer.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "web/inside.h"
#include <sodium.h>
#include <string.h>

static int open_all(struct web *w) {
    CAI_AUTO(mem) char *dir = cai_path_join(w->o.state_dir, "web");
    CAI_AUTO(mem) char *path = cai_path_join(dir, "sessions.json");
    if (sodium_init() < 0)
        return cai_fail(CAI_EINTERNAL, "libsodium does not start");
    CAI_TRY(cai_dir_make(dir));
    if (visits_load(&w->visits, path, w->o.idle_s, cai_wall_ms() / 1000) < 0)
        cai_warn("sessions of the page begin anew: %s", cai_error_text());
    return server_open(w);
}

int web_open(const struct web_options *o, const struct web_host *host, struct web **ret) {
    *ret = NULL;
    CAI_TRY(web_listen_check(o->listen));
    CAI_TRY(web_host_check(o->host));
    if (strcmp(o->listen, "off") == 0)
        return 0;
    struct web *w = cai_alloc(sizeof *w);
    *w = (struct web){.host = *host, .o = {cai_strdup(o->listen), cai_strdup(o->host),
                                           cai_strdup(o->state_dir), cai_strdup(o->runtime_dir),
                                           o->idle_s}};
    int rc = open_all(w);
    if (rc < 0)
        web_close(w);
    else
        *ret = w;
    return rc;
}

void web_close(struct web *w) {
    if (!w)
        return;
    server_close(w);
    w->visits.written_s = 0;
    if (w->visits.path)
        visits_beat(&w->visits, cai_wall_ms() / 1000);
    visits_free(&w->visits);
    free((char *)w->o.listen);
    free((char *)w->o.host);
    free((char *)w->o.state_dir);
    free((char *)w->o.runtime_dir);
    free(w);
}

const char *web_address(const struct web *w) { return w->address; }
size_t web_sessions(const struct web *w) { return w ? w->visits.n : 0; }

int web_invite(struct web *w, const struct web_person *who, char **ret_url) {
    char token[SECRET_SIZE];
    bool tcp = strncmp(w->address, "unix:", 5) != 0;
    if (!tcp && !*w->o.host)
        return cai_fail(CAI_ESTATE, "pages are served at %s alone, for a proxy: set web_host: to the "
                                    "name under which it serves them", w->address);
    visits_invite(&w->visits, who, cai_wall_ms() / 1000, token);
    *ret_url = *w->o.host ? cai_format("https://%s/in?t=%s", w->o.host, token)
                          : cai_format("http://%s/in?t=%s", w->address, token);
    sodium_memzero(token, sizeof token);
    return 0;
}
