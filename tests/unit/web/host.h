/* host.h: pages without a socket and with a host that tells what it was asked: for this room's tests
 * and its fuzz target. */
#ifndef CAI_TEST_WEB_HOST_H
#define CAI_TEST_WEB_HOST_H

#include "base/clock.h"
#include "base/error.h"
#include "web/inside.h"
#include <stdio.h>
#include <string.h>

struct told {
    char what[32], who[WEB_NAME_SIZE];
    json_t *args;   /* of the last question */
    json_t *answer; /* to every question; NULL: its arguments */
    int code;       /* instead of an answer */
};

static inline int tell(void *of, const struct web_person *who, const char *what, const json_t *args,
                       json_t **ret) {
    struct told *t = of;
    snprintf(t->what, sizeof t->what, "%s", what);
    snprintf(t->who, sizeof t->who, "%s", who->name);
    json_decref(t->args);
    t->args = json_deep_copy(args);
    if (t->code)
        return cai_fail(t->code, "the host says <no>");
    *ret = t->answer ? json_incref(t->answer) : json_deep_copy(args);
    return 0;
}

struct site {
    struct web web;
    struct told told;
    char cookie[SECRET_SIZE], secret[SECRET_SIZE], header[96];
};

/* With ann's session open. */
static inline void site_open(struct site *s, const char *path) {
    static const struct web_person ann = {"ann", 1000, 1000, ""};
    char token[SECRET_SIZE];
    *s = (struct site){.web = {.o = {.listen = "auto", .host = ""}, .cookie_name = "cai_1"}};
    s->web.host = (struct web_host){&s->told, tell};
    CAI_CHECK(visits_load(&s->web.visits, path, 3600, cai_wall_ms() / 1000) == 0);
    visits_invite(&s->web.visits, &ann, cai_wall_ms() / 1000, token);
    CAI_CHECK(visits_enter(&s->web.visits, token, cai_wall_ms() / 1000, s->cookie, s->secret) == 0);
    snprintf(s->header, sizeof s->header, "a=b; cai_1=%s", s->cookie);
}

static inline void site_close(struct site *s) {
    visits_free(&s->web.visits);
    json_decref(s->told.args);
    json_decref(s->told.answer);
}

#endif
