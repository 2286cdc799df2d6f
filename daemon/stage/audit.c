/* audit.c: the stage that tests the overseer like a suspect, before anything is trained on what it
 * wrote: replies with a planted flaw and their twins without (data.canaries), given to it as revise
 * and label give theirs; words that might win its choices; words that it might put into rewrites; a
 * second overseer; and people, who read again some of what it judged in earnest (human.audits).
 * Without data.canaries and without human.audits there is no such stage.
 *
 * plan: the key is sealed (canary.h), then everything is asked → absorb: critique → revision, … →
 * done: the words that turned most once more → people's verdicts are waited for → judged, the key
 * opened, the figures stored.
 * Nothing of it is trained on, and no draw of another stage depends on it.
 * Gates: reaudit-ROUND (audit_people.h), audit-ROUND. Examples: seal, salt, opening, key (canary.h), alarm (k = its place, text),
 * those of audit_ask.h, audit_words.h, audit_phrases.h, audit_second.h. Metrics: those of
 * audit_judge.h, audit_second.h and audit_people.h; canaries, classes, left_out, alarms, level. */
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "stage/audit_ask.h"
#include "stage/audit_judge.h"
#include "stage/audit_people.h"
#include "stage/audit_phrases.h"
#include "stage/audit_second.h"
#include "stage/audit_words.h"
#include "stage/rates.h"
#include "stage/table.h"
#include <string.h>

static bool enabled(const struct job_spec *job) {
    bool people = job->human.audits > 0 && stage_revise.enabled(job);
    return job->audit.enabled && (job->data.canaries || people) && job->rounds > 0;
}

static int note_left_out(const struct stage_context *c, const struct canaries *l) {
    if (l->alone + l->unknown == 0)
        return 0;
    CAI_AUTO(mem) char *text =
        cai_format("audit: of data.canaries %zu rows are left out: %zu have no twin of their own, %zu "
                   "a flaw that no principle of the constitution speaks of (a row may name one: "
                   "\"principle\")", l->alone + l->unknown, l->alone, l->unknown);
    return store_event_add(c->store, c->job_id, CAI_LOG_WARN, text);
}

static int plan(const struct stage_context *c) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct canaries l;
    CAI_TRY(data_ensure(c));
    CAI_TRY(models_ensure(c));
    CAI_TRY(canaries_draw(c, &a, &l));
    CAI_TRY(rates_value(c, "canaries", (double)l.n));
    CAI_TRY(rates_value(c, "classes", (double)l.n_classes));
    CAI_TRY(rates_value(c, "left_out", (double)(l.alone + l.unknown)));
    CAI_TRY(note_left_out(c, &l));
    if (l.n)
        CAI_TRY(canaries_seal(c, &l));
    CAI_TRY(audit_ask(c, &l, &a));
    CAI_TRY(audit_words_ask(c, &l, &a));
    return audit_second_ask(c, &a);
}

static int absorb(const struct stage_context *c, const Cai__V1__Task *task,
                  const Cai__V1__Result *result) {
    bool known;
    int rc = audit_ask_absorb(c, task, result, &known);
    if (rc < 0 || known)
        return rc;
    return strncmp(task->phase, "word", 4) == 0 ? audit_words_absorb(c, task, result)
                                                : audit_second_absorb(c, task, result);
}

static int keep_alarms(const struct stage_context *c, const struct audit_alarms *alarms) {
    for (size_t i = 0; i < alarms->n; i++) {
        CAI_AUTO(mem) char *text = cai_format("audit of round %u: %s", c->round, alarms->text[i]);
        CAI_TRY(example_put(c, 0, (uint32_t)i, "alarm", alarms->text[i], NULL, "", NULL));
        CAI_TRY(store_event_add(c->store, c->job_id, CAI_LOG_WARN, text));
    }
    return rates_value(c, "alarms", (double)alarms->n);
}

/* The first alarm, how many more there are, and what to do. */
static void wait_for(const struct stage_context *c, const struct audit_alarms *alarms,
                     struct stage_verdict *ret) {
    char more[48] = "", ways[240];
    long long id = (long long)c->job_id;
    ret->next = STAGE_WAIT;
    snprintf(ret->gate, sizeof ret->gate, "audit-%u", c->round);
    if (alarms->n > 1)
        snprintf(more, sizeof more, " (and %zu more)", alarms->n - 1);
    snprintf(ways, sizeof ways,
             "%s; read 'caictl audit %lld', then submit the job with another models.overseer, or "
             "'caictl resume %lld --accept audit-%u'", more, id, id, c->round);
    int room = (int)(sizeof ret->reason - strlen(ways) - sizeof "the overseer: ");
    int said = snprintf(ret->reason, sizeof ret->reason, "the overseer: %.*s", room, alarms->text[0]);
    size_t len = cai_utf8_valid(ret->reason, (size_t)said); /* a cut within a character */
    snprintf(ret->reason + len, sizeof ret->reason - len, "%s", ways);
}

static int judge(const struct stage_context *c, const struct canaries *l, struct cai_arena *a,
                 struct stage_verdict *ret) {
    struct audit_alarms alarms = {.arena = a};
    struct audit_class *of;
    struct audit_limits limits = {audit_level(c->job, l->n_classes), c->job->audit.least_recall,
                                  c->job->audit.margin};
    bool only_measure = c->job->audit.alpha <= 0;
    if (only_measure) /* the figures are as with the default */
        limits.level = 0.01 / (9 * (double)l->n_classes + 2);
    CAI_TRY(audit_count(c, l, a, &of));
    audit_judge(of, l->n_classes, &limits, &alarms);
    CAI_TRY(audit_words_judge(c, l, &limits, &alarms));
    if (l->n) /* their rewrites say which words mending brings with it */
        CAI_TRY(audit_phrases_judge(c, l, &limits, &alarms));
    CAI_TRY(audit_people_judge(c, &limits, a, &alarms));
    CAI_TRY(audit_figures(c, of, l->n_classes));
    CAI_TRY(audit_second_figures(c, l, of, a));
    CAI_TRY(rates_value(c, "level", limits.level));
    CAI_TRY(keep_alarms(c, &alarms));
    if (l->n)
        CAI_TRY(canaries_open(c, l));
    ret->next = STAGE_DONE;
    if (alarms.n && !only_measure)
        wait_for(c, &alarms, ret);
    return 0;
}

/* Judged once; asked again when a person let it pass. */
static int judged_before(const struct stage_context *c, struct cai_arena *a,
                         struct stage_verdict *ret) {
    CAI_AUTO(mem) char *gate = cai_format("audit-%u", c->round);
    struct audit_alarms alarms = {.arena = a};
    struct examples kept;
    CAI_TRY(examples_load(c, c->round, c->stage, "alarm", a, &kept));
    for (size_t i = 0; i < kept.n; i++)
        audit_alarm(&alarms, kept.at[i].text);
    if (alarms.n && c->job->audit.alpha > 0 && !stage_accepted(c, gate))
        wait_for(c, &alarms, ret);
    return 0;
}

static int done(const struct stage_context *c, struct stage_verdict *ret) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    struct canaries l;
    bool asked;
    ret->next = STAGE_DONE;
    if (rates_known(c, "alarms"))
        return judged_before(c, &a, ret);
    CAI_TRY(canaries_draw(c, &a, &l));
    CAI_TRY(audit_words_again(c, &l, &a, &asked));
    if (asked) {
        ret->next = STAGE_MORE;
        return 0;
    }
    CAI_TRY(audit_people_wait(c, ret));
    return ret->next == STAGE_WAIT ? 0 : judge(c, &l, &a, ret);
}

const struct stage stage_audit = {"audit", "the overseer's audit", false, enabled,
                                  plan,    absorb,                 done};
