/* scale.c: see scale.h. */
#include "job/scale.h"

#include <string.h>

static void at_most(int64_t *io, int64_t most) {
    if (most > 0 && *io > most)
        *io = most;
}

static void shorten(struct job_spec *j, int64_t tokens) {
    int64_t *const longest[] = {
        &j->red_team.sampling.max_tokens, &j->revise.reply.max_tokens,
        &j->revise.critique.max_tokens,   &j->revise.revision.max_tokens,
        &j->label.reply.max_tokens,       &j->label.reasons.max_tokens,
        &j->consist.sampling.max_tokens,
        &j->label.speech.max_tokens,      &j->skill.reply.max_tokens,
        &j->skill.critique.max_tokens,    &j->skill.refinement.max_tokens,
        &j->evaluate.reply.max_tokens,    &j->ppo.rollout.max_tokens};
    for (size_t i = 0; i < sizeof longest / sizeof *longest; i++)
        at_most(longest[i], tokens);
}

/* The least number that the job's groups, minibatches and ranks can share. */
static int64_t rollouts_at_least(const struct job_spec *j, int64_t wanted) {
    bool groups = strcmp(j->ppo.algorithm, "ppo") != 0 && !job_ppo_from_labels(j);
    int64_t unit = groups ? j->ppo.group : 1;
    if (wanted < j->ppo.minibatches)
        wanted = j->ppo.minibatches;
    if (wanted < j->workers)
        wanted = j->workers;
    return (wanted + unit - 1) / unit * unit;
}

/* Whatever a gate or a guard would hold against so few prompts. */
static void let_pass(struct job_spec *j) {
    j->revise.max_dropped = j->revise.max_unchanged = j->revise.max_truncated = 1;
    j->label.max_dropped = j->label.max_flipped = 1;
    j->label.min_option_mass = 0;
    j->prefer.gate_confidence = 0;
    j->audit.alpha = 0;
    j->consist.stop = false;
    j->consist.accuracy = 0;
    j->guards.kl_budget = j->guards.alpha = j->guards.tolerance = j->guards.diversity = 0;
    j->human.required = j->human.critiques = j->human.grades = 0; /* nobody is there to read */
    j->human.checks = j->human.audits = 0;
}

/* What is reinforced is judged, so its steps are few and small, as ppo's. */
static void scale_red_team(struct job_spec *j, const struct job_scale *s) {
    struct job_red_team *o = &j->red_team;
    at_most(&o->samples, s->prompts);
    at_most(&o->explore, s->prompts);
    at_most(&o->coverage, s->prompts);
    at_most(&o->check, s->prompts);
    at_most(&o->supervised.epochs, 1);
    at_most(&o->rl.steps, s->steps);
    if (s->rollouts > 0) {
        int64_t least = s->rollouts > j->ppo.minibatches ? s->rollouts : j->ppo.minibatches;
        at_most(&o->rl.rollouts, least > j->workers ? least : j->workers);
    }
}

void job_scale(struct job_spec *j, const struct job_scale *s) {
    at_most(&j->rounds, 1);
    scale_red_team(j, s);
    if (s->prompts > 0 && (j->revise.prompts == 0 || j->revise.prompts > s->prompts))
        j->revise.prompts = s->prompts;
    if (s->prompts > 0 && (j->consist.questions == 0 || j->consist.questions > s->prompts))
        j->consist.questions = s->prompts;
    at_most(&j->revise.revisions, s->revisions);
    at_most(&j->label.pairs, s->pairs);
    at_most(&j->label.gate_pairs, s->pairs);
    at_most(&j->audit.pairs, s->prompts);
    at_most(&j->audit.words, s->prompts);
    at_most(&j->audit.passed, s->prompts);
    at_most(&j->evaluate.prompts, s->prompts);
    at_most(&j->skill.prompts, s->prompts);
    at_most(&j->skill.inserted, s->prompts);
    at_most(&j->skill.epochs, 1);
    at_most(&j->evaluate.win_pairs, s->prompts);
    at_most(&j->sft.epochs, 1);
    at_most(&j->prefer.epochs, 1);
    at_most(&j->ppo.dpo_epochs, 1);
    at_most(&j->ppo.steps, s->steps);
    if (s->rollouts > 0)
        at_most(&j->ppo.rollouts, rollouts_at_least(j, s->rollouts));
    shorten(j, s->tokens);
    let_pass(j);
}
