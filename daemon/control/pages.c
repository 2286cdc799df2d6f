/* pages.c: what caid's pages ask, and for whom: each question is one row, answered by the request
 * that caictl would make or by a function of review.h, with the rights of the person whose session
 * it is, looked up anew each time. Not for HTTP (room web). */
#include "control/pages.h"
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "run/people.h"
#include "control/review_wake.h"
#include "web/web.h"
#include <string.h>

int64_t page_integer(const struct page_asking *q, const char *name) {
    return json_integer_value(json_object_get(q->args, name));
}

/* ---- the dashboard --------------------------------------------------------------------------------- */

static int ask_jobs(const struct page_asking *q, json_t **ret) { return pages_jobs(q->run, ret); }
static int ask_curves(const struct page_asking *q, json_t **ret) {
    return pages_curves(q->run, page_integer(q, "id"), page_integer(q, "after"), ret);
}

static int ask_report(const struct page_asking *q, json_t **ret) {
    return pages_report(q->run, q->who, q->args, ret);
}

static const struct page_question look_questions[] = {
    {"jobs", ACT_LOOK, ask_jobs}, {"curves", ACT_LOOK, ask_curves},
    {"workers", ACT_LOOK, NULL},  {"progress", ACT_LOOK, NULL},
    {"report", ACT_LOOK, ask_report},   {"samples", ACT_LOOK, NULL},
    {"logs", ACT_LOOK, NULL},     {0},
};
static const struct page_question *const tables[] = {look_questions, review_questions};

static const struct page_question *find_question(const char *what) {
    for (size_t t = 0; t < CAI_COUNT(tables); t++)
        for (const struct page_question *k = tables[t]; k->what; k++)
            if (strcmp(k->what, what) == 0)
                return k;
    return NULL;
}

/* ---- for whom ------------------------------------------------------------------------------------------ */

/* What a question of this person's may do: a key's role as it is now. */
static int permit(const struct run *r, const struct channel_peer *who, enum act act) {
    enum key_role role = gate_role(r, who);
    if (role == ROLE_NONE)
        return cai_fail(CAI_EAUTH, "the key of this session has ended; an administrator gives a new one");
    if (!role_may(role, act))
        return cai_fail(CAI_EAUTH, "a key with the role %s may not %s", key_role_name(role), act_name(act));
    return 0;
}

static int answer(void *of, const struct web_person *person, const char *what, const json_t *args,
                  json_t **ret) {
    struct run *r = of;
    struct channel_peer who = {.uid = person->uid, .gid = person->gid, .fd = -1};
    who.from = *person->key ? NULL : r->control_channel;
    snprintf(who.public_key, sizeof who.public_key, "%s", person->key);
    const struct page_question *k = find_question(what);
    if (!k)
        return cai_fail(CAI_ENOTFOUND, "there is no '%.40s'", what);
    CAI_TRY(permit(r, &who, k->act));
    struct page_asking q = {r, &who, {0}, args};
    char name[PERSON_MAX];
    CAI_TRY(review_who(r, &who, name, &q.reader));
    return k->f ? k->f(&q, ret) : control_ask(r, &who, what, args, ret);
}

int pages_link(struct run *r, const struct channel_peer *who, char **ret_url) {
    struct web_person person = {.uid = who->uid, .gid = who->gid};
    const char *key = gate_name(r, who);
    char name[PERSON_MAX];
    if (who->uid == -1)
        return cai_fail(CAI_EAUTH, "caid cannot see who asks: it must share the user namespace of those "
                                   "who ask (no PrivateUsers= in its unit)");
    if (!r->front->web && strcmp(r->o.config.web, "off") == 0)
        return cai_fail(CAI_ESTATE, "caid serves no pages: `web: off` is in its configuration");
    if (!r->front->web)
        pages_open(r); /* a port that was taken may be free now */
    if (!r->front->web)
        return cai_fail(CAI_ESTATE, "caid serves no pages: %s", r->front->web_trouble);
    snprintf(person.name, sizeof person.name, "%s", key ? key : person_name(who->uid, name));
    snprintf(person.key, sizeof person.key, "%s", who->public_key);
    return web_invite(r->front->web, &person, ret_url);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

void pages_open(struct run *r) {
    struct web_options o = {r->o.config.web, r->o.config.web_host, r->o.state_dir, r->o.runtime_dir,
                            r->o.config.web_idle_min * 60};
    struct web_host host = {r, answer};
    r->front->web_trouble[0] = '\0';
    if (web_open(&o, &host, &r->front->web) < 0) {
        snprintf(r->front->web_trouble, sizeof r->front->web_trouble, "%s", cai_error_text());
        cai_log_about(CAI_LOG_ERROR, CAI_ABOUT(EVENT_CONFIG_WRONG), "no pages are served: %s",
                      r->front->web_trouble);
    } else if (r->front->web) {
        cai_info("pages at %s; `caictl web` prints a link", web_address(r->front->web));
    }
}

void pages_close(struct run *r) {
    web_close(r->front->web);
    r->front->web = NULL;
}

void pages_reload(struct run *r) {
    pages_close(r);
    pages_open(r);
}

bool pages_told(const struct run *r, char *out, size_t size) {
    if (r->front->web)
        snprintf(out, size, "%s, %zu sessions", web_address(r->front->web), web_sessions(r->front->web));
    else
        snprintf(out, size, "%s", *r->front->web_trouble ? r->front->web_trouble : "off");
    return r->front->web || !*r->front->web_trouble;
}
