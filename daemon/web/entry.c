/* entry.c: who may come in by a request's head: the host that it names (a page of somebody else's
 * name that leads here is DNS rebinding), the page that it comes from, the cookie. And what is
 * told of those who may not. Not for sessions themselves (visits.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "web/inside.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { QUIET_MS = 10000, TOLD_MAX = 20 };

const struct refusal_kind refusal_kinds[REFUSED_COUNT] = {
    [REFUSED_NOT] = {"", "", 200},
    [REFUSED_HOST] = {"web.host", "This address is not one under which caid serves pages. Open the "
                                  "link that `caictl web` prints.", 421},
    [REFUSED_METHOD] = {"web.method", "This cannot be done to that address.", 405},
    [REFUSED_PATH] = {"web.path", "There is no such page.", 404},
    [REFUSED_LINK] = {"web.link", "This link was used already, or is older than five minutes. "
                                  "`caictl web` prints a new one.", 401},
    [REFUSED_SESSION] = {"web.session", "You are not signed in here, or your session has ended. "
                                        "`caictl web` prints a link that lets you in; what you "
                                        "wrote is kept.", 401},
    [REFUSED_ORIGIN] = {"web.origin", "This request came from a page that is not caid's.", 403},
    [REFUSED_SECRET] = {"web.secret", "This request does not show that it comes from your own page. "
                                      "`caictl web` prints a link to begin anew.", 403},
    [REFUSED_TYPE] = {"web.type", "Only application/json is taken here.", 415},
    [REFUSED_LONG] = {"web.long", "This is more than 256 KiB.", 413},
    [REFUSED_BODY] = {"web.body", "", 400}, /* says what is wrong itself */
    [REFUSED_SLOW] = {"web.slow", "", 408},
    [REFUSED_CROWD] = {"web.crowd", "", 503},
};

void refusals_note(struct refusals *f, enum refusal why, const char *method) {
    const struct refusal_kind *k = &refusal_kinds[why];
    int64_t now = cai_now_ms();
    char shown[8] = "";
    if (now >= f->quiet_until_ms) {
        refusals_beat(f);
        f->quiet_until_ms = now + QUIET_MS;
        f->told = 0;
    }
    if (f->told >= TOLD_MAX) {
        f->untold++;
        return;
    }
    f->told++;
    /* A method is the client's own word; nothing else of a request is ever told. */
    for (size_t i = 0; method && i + 1 < sizeof shown && isupper((unsigned char)method[i]); i++)
        shown[i] = method[i];
    cai_log_about(CAI_LOG_WARN, CAI_ABOUT(EVENT_REFUSED), "a web request was refused: %s%s%s%s",
                  k->id, *shown ? " (" : "", shown, *shown ? ")" : "");
}

void refusals_beat(struct refusals *f) {
    if (cai_now_ms() < f->quiet_until_ms || !f->untold)
        return;
    cai_log_about(CAI_LOG_WARN, CAI_ABOUT(EVENT_REFUSED), "%u more web requests were refused",
                  f->untold);
    f->untold = 0;
}

/* ---- Host and Origin --------------------------------------------------------------------------- */

/* Length of the name before ":PORT"; 0 when that is no port. */
static size_t name_length(const char *host) {
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n > strlen(host))
        return 0;
    if (host[n] == '\0')
        return n;
    size_t digits = strspn(host + n + 1, "0123456789");
    return host[n] == ':' && digits > 0 && digits <= 5 && host[n + 1 + digits] == '\0' ? n : 0;
}

static bool is_name(const char *host, size_t n, const char *name) {
    return strlen(name) == n && strncasecmp(host, name, n) == 0;
}

bool entry_host(const struct entry_names *names, const char *host) {
    size_t n = host ? name_length(host) : 0;
    return n && (is_name(host, n, "127.0.0.1") || is_name(host, n, "localhost") ||
                 is_name(host, n, "[::1]") || (*names->host && is_name(host, n, names->host)));
}

bool entry_origin(const struct web_request *q, bool must) {
    if (q->site && strcmp(q->site, "same-origin") != 0 && (must || strcmp(q->site, "none") != 0))
        return false;
    if (!q->origin)
        return !must;
    const char *rest = strncmp(q->origin, "http://", 7) == 0    ? q->origin + 7
                       : strncmp(q->origin, "https://", 8) == 0 ? q->origin + 8
                                                                : NULL;
    return rest && q->host && strcasecmp(rest, q->host) == 0;
}

/* ---- the cookie --------------------------------------------------------------------------------- */

bool entry_cookie(const struct entry_names *names, const char *header, char ret[SECRET_SIZE]) {
    size_t n = strlen(names->cookie);
    for (const char *s = header; s && *s; s += strcspn(s, ";"), s += *s == ';') {
        s += strspn(s, " ");
        if (strncmp(s, names->cookie, n) != 0 || s[n] != '=')
            continue;
        size_t len = strcspn(s + n + 1, "; ");
        if (len != SECRET_SIZE - 1)
            continue;
        memcpy(ret, s + n + 1, len);
        ret[len] = '\0';
        return true;
    }
    return false;
}

/* ---- the configuration's words ------------------------------------------------------------------- */

int web_listen_check(const char *listen) {
    static const char loopback[] = "127.0.0.1:";
    if (strcmp(listen, "auto") == 0 || strcmp(listen, "unix") == 0 || strcmp(listen, "off") == 0)
        return 0;
    bool here = strncmp(listen, loopback, sizeof loopback - 1) == 0;
    const char *port = listen + sizeof loopback - 1;
    size_t digits = here ? strspn(port, "0123456789") : 0;
    if (digits > 0 && digits <= 5 && port[digits] == '\0' && atoi(port) > 0 && atoi(port) < 65536)
        return 0;
    return cai_fail(CAI_EINPUT,
                    "web: '%.60s' is none of auto, 127.0.0.1:PORT, unix and off. caid serves pages "
                    "to this machine alone; from another one: ssh -L 8420:127.0.0.1:PORT here, or a "
                    "TLS proxy before `web: unix` with `web_host:` its name", listen);
}

int web_host_check(const char *host) {
    size_t n = strlen(host);
    if (n == 0)
        return 0;
    if (n > 253 || strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != n ||
        host[0] == '.' || host[0] == '-')
        return cai_fail(CAI_EINPUT, "web_host: '%.60s' is no host name; give it without https:// and "
                                    "port", host);
    return 0;
}
