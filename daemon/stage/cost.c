/* cost.c: see cost.h. Numbers of items follow the stages' plans (each stage's own file); what
 * depends on what models write (which replies are flawed, which pairs differ) is taken in the
 * shares that the rehearsal had. Error bars are sums, not roots of squares: what makes one phase
 * slower than measured mostly makes all slower. */
#include "stage/cost_build.h"

#include "base/error.h"
#include "stage/consist.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

/* ---- stages --------------------------------------------------------------------------------- */
static double pool(const struct build *b, double rows) {
    return b->job->data.evaluate ? rows : rows * (1 - COST_HELD_OUT);
}

/* Zero-shot cases that are judged before the attack, as red_method.c counts them. */
static double explored(const struct job_spec *j) {
    bool learns = job_red_learns(j);
    bool few = strcmp(j->red_team.method, "few_shot") == 0;
    double explore = (double)j->red_team.explore;
    return learns && explore <= 0 ? (double)j->red_team.samples : learns || few ? explore : 0;
}

/* What comes before the attack: exploring, and training a red model. */
static void add_red_learning(struct build *b) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct job_red_team *o = &j->red_team;
    const struct cost_seen *s = cost_find(b, "red_team", "supervised");
    double write = explored(j), scores = j->data.classifier ? 1 : 2;
    double kept = write * cost_ratio(b, "red_team", "explore-reply", "explore-write", 0.7);
    cost_add_items(b, (struct asked){"red_team", "explore-write", write, "red_team", "write",
                                     &o->sampling, &p->red_team.sampling});
    cost_add_items(b, (struct asked){"red_team", "explore-reply", kept, "red_team", "reply",
                                     &j->revise.reply, &p->revise.reply});
    cost_add_items(b, (struct asked){"red_team", "explore-score", kept * scores, "red_team",
                                     "score", NULL, NULL});
    double cases = kept * b->probe->failing, batch = (double)o->supervised.batch;
    if (job_red_learns(j) && cases > 0)
        cost_add_training(b,
                          (struct trained){"red_team", "supervised", cases,
                                           (double)o->supervised.epochs * cost_ceil(cases, batch),
                                           cost_least(cases, batch),
                                           cost_least(s ? s->rows : batch, batch), NULL, NULL});
    if (job_red_reinforces(j))
        cost_add_training(b,
                          (struct trained){"red_team", "rl", 1, (double)o->rl.steps,
                                           (double)o->rl.rollouts, (double)p->red_team.rl.rollouts,
                                           &o->sampling, &p->red_team.sampling});
}

static void add_coverage(struct build *b, double failing) {
    enum { PRINCIPLES = 4 }; /* red_cover.c */
    const struct job_spec *j = b->job, *p = b->probe->job;
    double asked = cost_least(failing, (double)j->red_team.coverage) * PRINCIPLES;
    cost_add_items(b, (struct asked){"red_team", "cover", asked, "revise", "critique-1",
                                     &j->revise.critique, &p->revise.critique});
}

static void red_team_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double write = (double)j->red_team.samples;
    double kept = write * cost_ratio(b, "red_team", "reply", "write", 0.7);
    if (round == 1)
        cost_add_classifier(b, "red_team");
    add_red_learning(b);
    cost_add_items(b, (struct asked){"red_team", "write", write, NULL, NULL, &j->red_team.sampling,
                                     &p->red_team.sampling});
    cost_add_items(b, (struct asked){"red_team", "reply", kept, "red_team", "write",
                                     &j->revise.reply, &p->revise.reply});
    double scores = cost_ratio(b, "red_team", "score", "reply", j->data.classifier ? 1 : 2);
    cost_add_items(b, (struct asked){"red_team", "score", kept * scores, "red_team", "reply", NULL,
                                     NULL});
    b->red_prompts = kept;
    b->red_failing = kept * b->probe->failing;
    add_coverage(b, b->red_failing);
    b->red_failing += explored(j) * 0.7 * b->probe->failing;
}

/* As revise.c chooses them. */
static double revise_prompts(const struct build *b) {
    const struct job_spec *j = b->job;
    double own = pool(b, b->data->harmful), want = (double)j->revise.prompts;
    double keep = j->red_team.enabled ? j->red_team.keep : 0, red = b->red_failing, n_red;
    if (own <= 0)
        n_red = want > 0 ? want : red;
    else if (want > 0)
        n_red = (double)llround(keep * want);
    else
        n_red = keep < 1 ? (double)llround(keep / (1 - keep) * own) : red;
    n_red = cost_least(n_red, red);
    double rest = want > 0 ? cost_least(want - n_red, own) : own;
    return n_red + rest;
}

/* The rehearsal may have had fewer steps: the further ones are like its last. */
static void revise_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double n = revise_prompts(b), kept = p->revise.prompts > 0 ? (double)p->revise.prompts : 1;
    const struct cost_seen *s = cost_find(b, "revise", "reply");
    kept = s && s->items > 0 ? s->items : kept;
    b->error = round > 1 ? COST_DRIFT : 0;
    cost_add_items(b, (struct asked){"revise", "reply", n, "red_team", "reply", &j->revise.reply,
                                     &p->revise.reply});
    for (int64_t k = 1; k <= j->revise.revisions; k++) {
        int64_t like = k <= p->revise.revisions ? k : p->revise.revisions;
        char critique[24], revision[24];
        snprintf(critique, sizeof critique, "critique-%lld", (long long)like);
        snprintf(revision, sizeof revision, "revision-%lld", (long long)like);
        double asked = n * cost_ratio(b, "revise", critique, "reply", 1);
        double mended = asked * cost_ratio(b, "revise", revision, critique, 1);
        cost_add_items(b, (struct asked){"revise", critique, asked, "revise", "reply",
                                         &j->revise.critique, &p->revise.critique});
        cost_add_items(b, (struct asked){"revise", revision, mended, "revise", "reply",
                                         &j->revise.revision, &p->revise.revision});
    }
    double steps = strcmp(j->sft.take, "all") == 0
                       ? (double)j->revise.revisions / (double)p->revise.revisions : 1;
    b->sft_rows = n * cost_least(b->probe->sft_rows / kept, (double)p->revise.revisions) * steps;
    b->row_tokens = s && s->items > 0 ? (s->read + s->generated) / s->items : 0;
}

/* A share of the questions is labelled, which only the file's rows would say: all are asked. */
static double questions_of(const struct job_spec *j, double rows) {
    double most = (double)j->consist.questions;
    return most > 0 ? cost_least(most, rows) : rows;
}

static void consist_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = cost_find(b, "consist", "path");
    double n = questions_of(j, b->data->questions);
    double tried = s && s->items > 0 ? s->items / (double)p->consist.paths : 1;
    cost_add_items(b, (struct asked){"consist", "path", n * (double)j->consist.paths, "revise",
                                     "reply", &j->consist.sampling, &p->consist.sampling});
    bool votes_wait = consist_labels_first(j, round);
    double taught = cost_least(b->probe->taught_rows, b->probe->consist_rows);
    b->consist_rows = n / tried * (votes_wait ? j->consist.teach * taught : b->probe->consist_rows);
}

static void sft_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = cost_find(b, "sft", "sft"), *written = cost_find(b, "sft", "reply");
    double batch = (double)j->sft.optimizer.batch, own = b->sft_rows;
    own *= j->sft.earlier_rounds ? round : 1;
    double helpful = (double)llround(j->sft.helpful * (own > 0 ? own : 1000));
    helpful = cost_least(helpful, pool(b, b->data->helpful));
    if (written && b->probe->helpful_rows > 0) {
        /* A prompt that was answered in an earlier round is not asked again. */
        double new = helpful * cost_least(1, written->items / b->probe->helpful_rows) *
                     (1 - cost_least(1, b->helpful_written / (pool(b, b->data->helpful) + 1)));
        cost_add_items(b, (struct asked){"sft", "reply", new, "revise", "reply", &j->revise.reply,
                                         &p->revise.reply});
        b->helpful_written += new;
    }
    double votes = b->consist_rows * (j->sft.earlier_rounds ? round : 1);
    double rows = own + helpful + votes, tried = s ? s->rows : batch;
    cost_add_training(
        b, (struct trained){"sft", "sft", rows, (double)j->sft.epochs * cost_ceil(rows, batch),
                            cost_least(rows, batch), cost_least(tried, batch), NULL, NULL});
    b->row->trained += rows * (double)j->sft.epochs * b->row_tokens;
}

/* Speeches of both sides in both seatings, after which the judge is asked. */
static void add_debates(struct build *b, const char *before, double asked) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    for (int64_t k = 1; k <= 2 * j->label.turns; k++) {
        char phase[32];
        snprintf(phase, sizeof phase, "%sdebate-%lld", before, (long long)k);
        cost_add_items(b, (struct asked){"label", phase, asked, "label", "reply", &j->label.speech,
                                         &p->label.speech});
    }
}

static void label_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double pairs = (double)j->label.pairs, gate = (double)j->label.gate_pairs;
    const struct cost_seen *g = cost_find(b, "label", "gate");
    bool cot = strcmp(j->label.mode, "cot") == 0, debate = job_label_debates(j);
    if (round == 1 || strcmp(j->models.overseer, "latest") == 0) {
        double asked = g && p->label.gate_pairs > 0 ? g->items / (double)p->label.gate_pairs : 2;
        cost_add_items(b, (struct asked){"label", "gate-reason", cot ? gate * asked : 0, "label",
                                         "reason", &j->label.reasons, &p->label.reasons});
        if (debate) {
            add_debates(b, "gate-", gate * asked);
            cost_add_items(b, (struct asked){"label", "gate-cot-reason", gate * asked, "label",
                                             "reply", &j->label.reasons, &p->label.reasons});
            cost_add_items(
                b, (struct asked){"label", "gate-cot", gate * asked, "label", "score", NULL, NULL});
            cost_add_items(b, (struct asked){"label", "gate-direct", gate * asked, "label", "score",
                                             NULL, NULL});
        }
        cost_add_items(b,
                       (struct asked){"label", "gate", gate * asked, "label", "score", NULL, NULL});
    }
    cost_add_items(b, (struct asked){"label", "reply", 2 * pairs, "revise", "reply",
                                     &j->label.reply, &p->label.reply});
    double scores = cost_ratio(b, "label", "score", "reply", j->label.swap ? 1 : 0.5);
    double reasons = cost_ratio(b, "label", "reason", "reply", scores);
    cost_add_items(b, (struct asked){"label", "reason", cot ? 2 * pairs * reasons : 0, "label",
                                     "reply", &j->label.reasons, &p->label.reasons});
    if (debate)
        add_debates(b, "", 2 * pairs * cost_ratio(b, "label", "debate-1", "reply", scores));
    cost_add_items(b, (struct asked){"label", "score", 2 * pairs * scores, "label", "reply", NULL,
                                     NULL});
    double kept = p->label.pairs > 0 ? b->probe->pairs / (double)p->label.pairs : 1;
    b->pairs += pairs * cost_least(kept, 1);
}

/* Pairs of this round and those before, and people's. */
static double all_pairs(const struct build *b) {
    const struct job_spec *j = b->job;
    double share = j->prefer.human, people = b->data->human;
    if (j->label.enabled && share < 1)
        people = cost_least(people, (double)llround(share / (1 - share) * (double)j->label.pairs));
    return b->pairs + people;
}

static void prefer_row(struct build *b) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = cost_find(b, "prefer", "pm");
    double all = all_pairs(b), batch = (double)j->prefer.optimizer.batch;
    double rows = all * (1 - j->prefer.held_out), tried = s ? s->rows : batch;
    bool shared = strcmp(j->prefer.trunk, "shared") == 0;
    double runs = shared ? 1 : (double)j->prefer.members;
    tried *= 1 - p->prefer.held_out;
    cost_add_training(b, (struct trained){"prefer", "pm", all,
                                          runs * (double)j->prefer.epochs * cost_ceil(rows, batch),
                                          cost_least(rows, batch), cost_least(tried, batch), NULL,
                                          NULL});
    cost_add_items(b, (struct asked){"prefer", "score", 2 * all * j->prefer.held_out, "label",
                                     "score", NULL, NULL});
    b->row->trained += 2 * rows * runs * (double)j->prefer.epochs * b->row_tokens;
}

static void ppo_row(struct build *b) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = cost_find(b, "ppo", "ppo"), *reply = cost_find(b, "label", "reply");
    if (job_ppo_from_labels(j)) {
        double batch = (double)j->ppo.dpo_batch, rows = all_pairs(b) * (1 - j->prefer.held_out);
        cost_add_training(b, (struct trained){"ppo", "ppo", rows,
                                              (double)j->ppo.dpo_epochs * cost_ceil(rows, batch),
                                              cost_least(rows, batch),
                                              cost_least(s ? s->rows : batch, batch), NULL, NULL});
        b->row->trained += 2 * rows * (double)j->ppo.dpo_epochs * b->row_tokens;
        return;
    }
    double replies = (double)(j->ppo.steps * j->ppo.rollouts);
    double prompts = pool(b, b->data->harmful) + pool(b, b->data->helpful);
    b->error = 2 * COST_DRIFT; /* replies change their length as the policy learns */
    cost_add_training(b, (struct trained){"ppo", "ppo", prompts, (double)j->ppo.steps,
                                          (double)j->ppo.rollouts, (double)p->ppo.rollouts,
                                          &j->ppo.rollout, &p->ppo.rollout});
    if (reply && reply->items > 0) {
        double more = cost_longer(reply, (double)p->label.reply.max_tokens,
                             (double)j->ppo.rollout.max_tokens);
        b->row->generated += replies * reply->generated / reply->items * more;
        b->row->trained += replies * (double)j->ppo.epochs * (reply->read + reply->generated) /
                           reply->items;
    }
}

/* What people verified gives about three rows a reply (skill_rows.c). */
static void skill_row(struct build *b, uint32_t round) {
    enum { ROWS_EACH = 3 };
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = cost_find(b, "skill", "skill");
    double batch = (double)j->skill.optimizer.batch, tried = s ? s->rows : batch;
    double rows = ROWS_EACH * (b->data->critiques * (1 - j->skill.held_out) +
                               (double)j->skill.inserted);
    cost_add_items(b, (struct asked){"skill", "tamper", (double)j->skill.inserted, "revise",
                                     "revision-1", &j->skill.refinement, &p->skill.refinement});
    if (round == 1 || strcmp(j->skill.from, "latest") == 0) {
        cost_add_training(b, (struct trained){"skill", "skill", rows,
                                              (double)j->skill.epochs * cost_ceil(rows, batch),
                                              cost_least(rows, batch), cost_least(tried, batch),
                                              NULL, NULL});
        b->row->trained += rows * (double)j->skill.epochs * b->row_tokens;
    }
    double n = 0, replies = (double)j->skill.samples;
    for (size_t i = 0; i < 3; i++)
        n += cost_least((double)j->skill.prompts, j->data.evaluate ? b->data->evaluate[i] : 0);
    bool pm = strcmp(j->skill.judge, "pm") == 0;
    double asked = pm ? n * replies : b->data->critiques * j->skill.held_out;
    cost_add_items(b, (struct asked){"skill", "sample", pm ? asked : 0, "revise", "reply",
                                     &j->skill.reply, &p->skill.reply});
    cost_add_items(b, (struct asked){"skill", "flaw", asked, "label", "score", NULL, NULL});
    cost_add_items(b, (struct asked){"skill", "critique", asked, "revise", "critique-1",
                                     &j->skill.critique, &p->skill.critique});
    cost_add_items(b, (struct asked){"skill", "helpful", asked, "label", "score", NULL, NULL});
    cost_add_items(b, (struct asked){"skill", "refinement", pm ? asked : 0, "revise", "revision-1",
                                     &j->skill.refinement, &p->skill.refinement});
    cost_add_items(
        b, (struct asked){"skill", "quality", pm ? 2 * asked : 0, "prefer", "score", NULL, NULL});
}

/* ---- all of them ----------------------------------------------------------------------------- */
static void stage_row(struct build *b, const char *stage, uint32_t round, bool first_look) {
    b->error = b->worked = 0;
    b->after = round > (uint32_t)b->job->rounds;
    if (strcmp(stage, "red_team") == 0)
        red_team_row(b, round);
    else if (strcmp(stage, "revise") == 0)
        revise_row(b, round);
    else if (strcmp(stage, "audit") == 0)
        cost_audit_row(b);
    else if (strcmp(stage, "consist") == 0)
        consist_row(b, round);
    else if (strcmp(stage, "sft") == 0)
        sft_row(b, round);
    else if (strcmp(stage, "label") == 0)
        label_row(b, round);
    else if (strcmp(stage, "prefer") == 0)
        prefer_row(b);
    else if (strcmp(stage, "skill") == 0)
        skill_row(b, round);
    else if (strcmp(stage, "evaluate") == 0)
        cost_evaluate_row(b, round, first_look);
    else if (strcmp(stage, "ppo") == 0)
        ppo_row(b);
    cost_add_turns(b);
}

static void sum_up(struct cost_estimate *e) {
    for (size_t i = 0; i < e->n; i++) {
        const struct cost_row *r = &e->rows[i];
        e->seconds += r->seconds;
        e->low += r->low;
        e->high += r->high;
        e->generated += r->generated;
        e->read += r->read;
        e->trained += r->trained;
        e->disk += r->disk;
        e->memory = r->memory > e->memory ? r->memory : e->memory;
    }
}

void cost_estimate(const struct job_spec *job, const struct cost_data *data,
                   const struct cost_probe *probe, uint32_t workers, struct cost_estimate *ret) {
    struct build b = {.job = job, .data = data, .probe = probe,
                           .workers = workers > 0 ? workers : 1, .ranks = (double)job->workers};
    uint32_t round = 0;
    bool looked = false;
    const char *name = NULL;
    *ret = (struct cost_estimate){0};
    if (hf_config_load(job->models.start, &b.config) < 0) {
        b.config.hidden_size = 0;
        cai_error_clear();
    }
    for (const struct stage *s; (s = stage_after(job, round, name, &round)); name = s->name) {
        if (ret->n < COST_ROWS_MAX)
            b.row = &ret->rows[ret->n++];
        b.row->stage = s->name;
        b.row->round = round;
        stage_row(&b, s->name, round, !looked);
        looked = looked || strcmp(s->name, "evaluate") == 0;
    }
    sum_up(ret);
}
