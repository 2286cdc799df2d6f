/* red_method.c: the table of red-teaming methods, and going through one.
 *
 * State of a round: the figure sub_step, a row for each that has begun (none is ever changed: curves
 * are followed while they grow); one that began is over when no task of the stage is open. Not for:
 * what a sub-step does. */
#include "stage/red.h"

#include "base/check.h"
#include "base/error.h"
#include "stage/red_request.h"
#include <string.h>

static const struct red_method methods[] = {
    {"zero_shot", {red_write_zero, red_reply_attack, red_cover}},
    {"few_shot",
     {red_write_explore, red_reply_explore, red_write_few, red_reply_attack, red_cover}},
    {"supervised",
     {red_write_explore, red_reply_explore, red_supervise, red_write_learned, red_reply_attack,
      red_cover}},
    {"rl",
     {red_write_explore, red_reply_explore, red_supervise, red_reinforce, red_write_learned,
      red_reply_attack, red_cover}},
};

const struct red_method *red_method_find(const char *name) {
    for (size_t i = 0; i < CAI_COUNT(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

static int begun(const struct stage_context *c, size_t *ret) {
    double seen;
    int rc = CAI_ENOTFOUND;
    for (*ret = RED_STEPS; *ret > 0; --*ret) {
        rc = store_metric_get(c->store, c->job_id, c->round, c->stage, *ret, "sub_step", &seen);
        if (rc != CAI_ENOTFOUND)
            return rc;
        cai_error_clear();
    }
    return 0;
}

int red_advance(const struct stage_context *c, bool *ret_added) {
    const struct red_method *m = red_method_find(c->job->red_team.method);
    size_t at;
    CAI_CHECK(m);
    *ret_added = false;
    CAI_TRY(begun(c, &at));
    for (; m->step[at] && !*ret_added; at++)
        CAI_TRY(m->step[at](c, ret_added));
    return store_metric_add(c->store, c->job_id, c->round, c->stage, at, "sub_step", (double)at);
}

/* ---- passes ---------------------------------------------------------------------------- */

/* few_shot explores as much as it is told; what must learn, at least something. */
static size_t explored(const struct job_spec *job) {
    const struct job_red_team *o = &job->red_team;
    bool few = strcmp(o->method, "few_shot") == 0, zero = strcmp(o->method, "zero_shot") == 0;
    return (size_t)(zero ? 0 : few || o->explore > 0 ? o->explore : o->samples);
}

struct red_pass red_attack(const struct job_spec *job) {
    return (struct red_pass){"write", "reply", "score", "", 0, (size_t)job->red_team.samples};
}

struct red_pass red_explore(const struct job_spec *job) {
    return (struct red_pass){"explore-write", "explore-reply", "explore-score", "explore/",
                             (size_t)job->red_team.samples, explored(job)};
}

bool red_is_explore(const char *phase) {
    return strncmp(phase, "explore-", 8) == 0;
}

bool red_in_pass(const struct stage_context *c, const struct red_pass *p, uint64_t item) {
    uint64_t first = data_red_item(c->round, p->first);
    return item >= first && item < first + p->n;
}

struct examples red_of_pass(const struct stage_context *c, const struct red_pass *p,
                            const struct examples *all, struct cai_arena *a) {
    struct examples ret = {cai_arena_array(a, all->n + 1, sizeof *ret.at), 0, all->n, a};
    for (size_t i = 0; i < all->n; i++)
        if (red_in_pass(c, p, all->at[i].item))
            ret.at[ret.n++] = all->at[i];
    return ret;
}

const char *red_request(const struct job_spec *job) {
    return job->red_team.request ? job->red_team.request : RED_REQUEST;
}
