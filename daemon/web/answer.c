/* answer.c: what a request gets: a page, a file of the pages, an answer as JSON, or a refusal.
 * The order of the checks is the order in which a stranger learns something: nothing before the
 * session but that there is a caid. */
#include "base/clock.h"
#include "base/error.h"
#include "web/inside.h"
#include <string.h>
#include <strings.h>

static int64_t now_s(void) { return cai_wall_ms() / 1000; }

struct entry_names web_names(const struct web *w) {
    return (struct entry_names){w->o.host, w->cookie_name};
}

static struct visit *visit_of(struct web *w, const struct web_request *q) {
    char cookie[SECRET_SIZE];
    struct entry_names names = web_names(w);
    return entry_cookie(&names, q->cookie, cookie) ? visits_find(&w->visits, cookie, now_s()) : NULL;
}

static bool is_api(const struct web_request *q) { return strncmp(q->path, "/api/", 5) == 0; }
static bool is_link(const struct web_request *q) { return strcmp(q->path, "/in") == 0; }

/* "application/json", and nothing after it but a charset. */
static bool is_json(const char *type) {
    static const char json[] = "application/json";
    if (!type || strncasecmp(type, json, sizeof json - 1) != 0)
        return false;
    const char *rest = type + sizeof json - 1;
    rest += strspn(rest, " ");
    return *rest == '\0' || *rest == ';';
}

enum refusal answer_head(struct web *w, const struct web_request *q) {
    struct entry_names names = web_names(w);
    bool other = false, post = strcmp(q->method, "POST") == 0;
    if (!entry_host(&names, q->host))
        return REFUSED_HOST;
    if (!post && strcmp(q->method, "GET") != 0)
        return REFUSED_METHOD;
    if (is_link(q))
        return post ? REFUSED_METHOD : REFUSED_NOT;
    const struct visit *s = visit_of(w, q);
    if (!s)
        return REFUSED_SESSION;
    if (!is_api(q))
        return post ? REFUSED_METHOD : REFUSED_NOT;
    if (!entry_origin(q, post))
        return REFUSED_ORIGIN;
    if (!visit_knows(s, q->secret))
        return REFUSED_SECRET;
    if (!api_find(q->path, q->method, &other))
        return other ? REFUSED_METHOD : REFUSED_PATH;
    return post && !is_json(q->type) ? REFUSED_TYPE : REFUSED_NOT;
}

void answer_refusal(struct web *w, const struct web_request *q, enum refusal why,
                    struct web_reply *ret) {
    const struct refusal_kind *k = &refusal_kinds[why];
    refusals_note(&w->refusals, why, q->method);
    ret->status = k->status;
    if (why == REFUSED_METHOD)
        snprintf(ret->allow, sizeof ret->allow, "GET, POST");
    if (!is_api(q)) {
        page_refused(k->says, ret);
        return;
    }
    ret->type = "application/json";
    cai_buf_printf(&ret->body, "{\"error\":\"%s\",\"refusal\":\"%s\"}", k->says, k->id);
}

/* ---- getting in ------------------------------------------------------------------------------------- */

/* A page, not a redirection: a browser that followed a link from elsewhere would not show a strict
 * cookie on the way. */
static void enter(struct web *w, const struct web_request *q, struct web_reply *ret) {
    const char *token = json_string_value(json_object_get(q->query, "t"));
    char cookie[SECRET_SIZE], secret[SECRET_SIZE];
    int rc = token ? visits_enter(&w->visits, token, now_s(), cookie, secret) : CAI_EAUTH;
    if (rc == CAI_EAUTH) {
        answer_refusal(w, q, REFUSED_LINK, ret);
    } else if (rc < 0) {
        ret->status = 500;
        page_refused(cai_error_text(), ret);
    } else {
        size_t n = strlen(w->o.host);
        bool proxied = n && strncasecmp(q->host, w->o.host, n) == 0;
        snprintf(ret->cookie, sizeof ret->cookie, "%s=%s; Path=/; HttpOnly; SameSite=Strict%s",
                 w->cookie_name, cookie, proxied ? "; Secure" : "");
        page_entered(secret, ret);
    }
}

static void leave(struct web *w, struct visit *s, struct web_reply *ret) {
    visits_leave(&w->visits, s);
    visits_beat(&w->visits, now_s());
    snprintf(ret->cookie, sizeof ret->cookie, "%s=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0",
             w->cookie_name);
    ret->status = 200;
    ret->type = "application/json";
    cai_buf_puts(&ret->body, "{}");
}

/* ---- everything else --------------------------------------------------------------------------------- */

const struct asset *asset_find(const char *path) {
    for (const struct asset *a = web_assets; a->path; a++)
        if (strcmp(a->path, path) == 0)
            return a;
    return NULL;
}

static void answer_page(struct web *w, const struct web_request *q, const struct web_person *who,
                        struct web_reply *ret) {
    const struct asset *a = asset_find(q->path);
    ret->status = 200;
    if (strcmp(q->path, "/") == 0) {
        page_dashboard(w, who, ret);
    } else if (strcmp(q->path, "/review") == 0) {
        page_review(w, who, ret);
    } else if (a && *a->type) { /* pages are filled in above, never given as they are */
        ret->type = a->type;
        ret->fixed = a->data;
        ret->fixed_len = a->len;
    } else {
        answer_refusal(w, q, REFUSED_PATH, ret);
    }
}

void answer(struct web *w, const struct web_request *q, struct web_reply *ret) {
    bool other = false;
    enum refusal why = answer_head(w, q);
    if (why == REFUSED_NOT && q->len > BODY_MAX)
        why = REFUSED_LONG;
    if (why != REFUSED_NOT) {
        answer_refusal(w, q, why, ret);
        return;
    }
    if (is_link(q)) {
        enter(w, q, ret);
        return;
    }
    struct visit *s = visit_of(w, q);
    const struct api *a = is_api(q) ? api_find(q->path, q->method, &other) : NULL;
    if (!a || !a->rests)
        visits_use(&w->visits, s, now_s());
    if (a && strcmp(a->what, "leave") == 0)
        leave(w, s, ret);
    else if (a)
        api_answer(w, a, &s->who, q, ret);
    else
        answer_page(w, q, &s->who, ret);
}

void reply_free(struct web_reply *r) { cai_buf_free(&r->body); }
