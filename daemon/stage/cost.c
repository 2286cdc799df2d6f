/* cost.c: see cost.h. Numbers of items follow the stages' plans (each stage's own file); what
 * depends on what models write (which replies are flawed, which pairs differ) is taken in the
 * shares that the rehearsal had. Error bars are sums, not roots of squares: what makes one phase
 * slower than measured mostly makes all slower. */
#include "stage/cost.h"

#include "stage/build.h"
#include "stage/table.h"
#include <math.h>
#include <string.h>

/* Relative errors, ours: of a clock on a machine that does other things too; of phases measured on
 * less than a full chunk; of replies cut short in the rehearsal; of what changes as the model
 * does; of sums over ranks; of work that was not measured at all (a factor of three). */
static const double clock_error = 0.2, few_error = 0.25, cut_error = 0.4, drift_error = 0.15,
                    ranks_error = 0.2, guess_error = 2.0;
static const double rank_overhead = 1.1; /* of a step shared by several */
static const double held_out_share = 0.1; /* stage/data.c, without data.evaluate */

struct build {
    const struct job_spec *job;
    const struct cost_data *data;
    const struct cost_probe *probe;
    double workers, ranks;
    struct cost_row *row;
    double error; /* of the phases that are added, besides their own */
    /* what a round hands to its next stages */
    double red_prompts, red_failing, sft_rows, consist_rows, helpful_written, pairs, row_tokens;
};

static const struct cost_seen *seen(const struct build *b, const char *stage, const char *phase) {
    const struct cost_probe *p = b->probe;
    for (size_t i = 0; i < p->n; i++)
        if (p->seen[i].tasks > 0 && strcmp(p->seen[i].stage, stage) == 0 &&
            strcmp(p->seen[i].phase, phase) == 0)
            return &p->seen[i];
    return NULL;
}

/* Items of one phase for each of another. A phase that a whole rehearsal never saw, is none. */
static double ratio(const struct build *b, const char *stage, const char *phase, const char *to,
                    double otherwise) {
    const struct cost_seen *x = seen(b, stage, phase), *y = seen(b, stage, to);
    if (!y || y->items <= 0)
        return otherwise;
    return x ? x->items / y->items : b->probe->whole ? 0 : otherwise;
}

static double ceil_div(double a, double b) { return ceil(a / (b > 0 ? b : 1)); }
static double least(double a, double b) { return a < b ? a : b; }

/* ---- one phase ------------------------------------------------------------------------------ */
static void add_seconds(struct build *b, double seconds, double error) {
    double e = error + b->error;
    b->row->seconds += seconds;
    b->row->low += seconds / (1 + e);
    b->row->high += seconds * (1 + e);
}

/* What the rehearsal's replies would have been without its shorter limit: those that were cut
 * end, on average, half way to the job's own. 1 when nothing was cut. */
static double longer(const struct cost_seen *s, double limit, double full) {
    if (s->cut <= 0 || s->generated <= 0 || full <= limit)
        return 1;
    return 1 + s->cut * 0.5 * (full - limit) / s->generated;
}

struct asked {
    const char *stage, *phase;
    double items;
    const char *like_stage, *like_phase; /* measured in its stead; NULL = nothing is like it */
    const struct job_sampling *full, *rehearsed; /* NULL: nothing is generated */
};

static void add_items(struct build *b, struct asked q) {
    const struct cost_seen *s = seen(b, q.stage, q.phase);
    double error = clock_error, more = 1;
    if (q.items <= 0)
        return;
    if (!s && q.like_stage) {
        s = seen(b, q.like_stage, q.like_phase);
        error = guess_error;
        b->row->guessed = true;
    }
    if (!s || s->items <= 0) {
        b->row->guessed = true;
        return;
    }
    if (q.full)
        more = longer(s, (double)q.rehearsed->max_tokens, (double)q.full->max_tokens);
    if (more > 1)
        error += cut_error;
    if (s->items < STAGE_CHUNK && q.items > s->items)
        error += few_error;
    double side = least(b->workers, ceil_div(q.items, STAGE_CHUNK));
    add_seconds(b, q.items * s->seconds / s->items * more / side, error);
    b->row->generated += q.items * s->generated / s->items * more;
    b->row->read += q.items * s->read / s->items;
    b->row->memory = s->memory > b->row->memory ? s->memory : b->row->memory;
}

struct trained {
    const char *stage, *phase;
    double rows, steps, per_step; /* per_step: rows, or rollouts, of one */
    double seen_per_step;
    const struct job_sampling *full, *rehearsed; /* of rollouts; NULL = none */
};

/* What is no step: a part that grows with the rows, and one that does not, if two sizes were
 * measured; else none of it is taken to grow. */
static double rest_of(const struct cost_seen *s, double rows) {
    double more = s->rows - s->small_rows;
    if (s->small_rows <= 0 || more <= 0)
        return s->rest_s;
    double slope = (s->rest_s - s->small_rest_s) / more;
    slope = slope > 0 ? slope : 0;
    return s->rest_s + slope * (rows > s->rows ? rows - s->rows : 0);
}

static void add_training(struct build *b, struct trained q) {
    const struct cost_seen *s = seen(b, q.stage, q.phase);
    if (q.steps <= 0)
        return;
    if (!s || s->steps <= 0) {
        /* A token learned from is read once and computed thrice; the replies are the nearest. */
        const struct cost_seen *like = seen(b, "revise", "reply");
        like = like ? like : seen(b, "label", "reply");
        b->row->guessed = true;
        if (like && like->items > 0)
            add_seconds(b, 3 * q.steps * q.per_step * like->seconds / like->items / b->ranks,
                        guess_error);
        return;
    }
    double bigger = q.seen_per_step > 0 ? q.per_step / q.seen_per_step : 1;
    double overhead = b->ranks > 1 ? rank_overhead : 1;
    double error = clock_error + (s->steps < 3 ? few_error : 0) + (b->ranks > 1 ? ranks_error : 0);
    if (q.full && q.full->max_tokens > q.rehearsed->max_tokens) {
        /* The replies of rollouts are not told one by one: those of the labels are like them. */
        const struct cost_seen *like = seen(b, "label", "reply");
        like = like ? like : seen(b, "revise", "reply");
        bigger *= like ? longer(like, (double)q.rehearsed->max_tokens, (double)q.full->max_tokens)
                       : 1;
        error += cut_error;
    }
    add_seconds(b, q.steps * s->step_s * bigger * overhead / b->ranks + rest_of(s, q.rows), error);
    b->row->memory = s->memory > b->row->memory ? s->memory : b->row->memory;
    b->row->disk += s->disk;
}

/* ---- stages --------------------------------------------------------------------------------- */
static double pool(const struct build *b, double rows) {
    return b->job->data.evaluate ? rows : rows * (1 - held_out_share);
}

static void add_classifier(struct build *b, const char *stage) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = seen(b, stage, "classifier");
    double rows = b->data->classifier * (1 - j->prefer.held_out);
    double batch = (double)j->prefer.optimizer.batch;
    double tried = s ? s->rows * (1 - p->prefer.held_out) : batch;
    if (b->data->classifier > 0)
        add_training(b, (struct trained){stage, "classifier", b->data->classifier,
                                         (double)j->prefer.epochs * ceil_div(rows, batch),
                                         least(rows, batch), least(tried, batch), NULL, NULL});
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
    const struct cost_seen *s = seen(b, "red_team", "supervised");
    double write = explored(j), scores = j->data.classifier ? 1 : 2;
    double kept = write * ratio(b, "red_team", "explore-reply", "explore-write", 0.7);
    add_items(b, (struct asked){"red_team", "explore-write", write, "red_team", "write",
                                &o->sampling, &p->red_team.sampling});
    add_items(b, (struct asked){"red_team", "explore-reply", kept, "red_team", "reply",
                                &j->revise.reply, &p->revise.reply});
    add_items(b, (struct asked){"red_team", "explore-score", kept * scores, "red_team", "score",
                                NULL, NULL});
    double cases = kept * b->probe->failing, batch = (double)o->supervised.batch;
    if (job_red_learns(j) && cases > 0)
        add_training(b, (struct trained){"red_team", "supervised", cases,
                                         (double)o->supervised.epochs * ceil_div(cases, batch),
                                         least(cases, batch), least(s ? s->rows : batch, batch),
                                         NULL, NULL});
    if (job_red_reinforces(j))
        add_training(b, (struct trained){"red_team", "rl", 1, (double)o->rl.steps,
                                         (double)o->rl.rollouts, (double)p->red_team.rl.rollouts,
                                         &o->sampling, &p->red_team.sampling});
}

static void add_coverage(struct build *b, double failing) {
    enum { PRINCIPLES = 4 }; /* red_cover.c */
    const struct job_spec *j = b->job, *p = b->probe->job;
    double asked = least(failing, (double)j->red_team.coverage) * PRINCIPLES;
    add_items(b, (struct asked){"red_team", "cover", asked, "revise", "critique-1",
                                &j->revise.critique, &p->revise.critique});
}

static void red_team_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double write = (double)j->red_team.samples;
    double kept = write * ratio(b, "red_team", "reply", "write", 0.7);
    if (round == 1)
        add_classifier(b, "red_team");
    add_red_learning(b);
    add_items(b, (struct asked){"red_team", "write", write, NULL, NULL, &j->red_team.sampling,
                                &p->red_team.sampling});
    add_items(b, (struct asked){"red_team", "reply", kept, "red_team", "write", &j->revise.reply,
                                &p->revise.reply});
    double scores = ratio(b, "red_team", "score", "reply", j->data.classifier ? 1 : 2);
    add_items(b, (struct asked){"red_team", "score", kept * scores, "red_team", "reply", NULL,
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
    n_red = least(n_red, red);
    double rest = want > 0 ? least(want - n_red, own) : own;
    return n_red + rest;
}

/* The rehearsal may have had fewer steps: the further ones are like its last. */
static void revise_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double n = revise_prompts(b), kept = p->revise.prompts > 0 ? (double)p->revise.prompts : 1;
    const struct cost_seen *s = seen(b, "revise", "reply");
    kept = s && s->items > 0 ? s->items : kept;
    b->error = round > 1 ? drift_error : 0;
    add_items(b, (struct asked){"revise", "reply", n, "red_team", "reply", &j->revise.reply,
                                &p->revise.reply});
    for (int64_t k = 1; k <= j->revise.revisions; k++) {
        int64_t like = k <= p->revise.revisions ? k : p->revise.revisions;
        char critique[24], revision[24];
        snprintf(critique, sizeof critique, "critique-%lld", (long long)like);
        snprintf(revision, sizeof revision, "revision-%lld", (long long)like);
        double asked = n * ratio(b, "revise", critique, "reply", 1);
        double mended = asked * ratio(b, "revise", revision, critique, 1);
        add_items(b, (struct asked){"revise", critique, asked, "revise", "reply",
                                    &j->revise.critique, &p->revise.critique});
        add_items(b, (struct asked){"revise", revision, mended, "revise", "reply",
                                    &j->revise.revision, &p->revise.revision});
    }
    double steps = strcmp(j->sft.take, "all") == 0
                       ? (double)j->revise.revisions / (double)p->revise.revisions : 1;
    b->sft_rows = n * least(b->probe->sft_rows / kept, (double)p->revise.revisions) * steps;
    b->row_tokens = s && s->items > 0 ? (s->read + s->generated) / s->items : 0;
}

/* A share of the questions is labelled, which only the file's rows would say: all are asked. */
static double questions_of(const struct job_spec *j, double rows) {
    double most = (double)j->consist.questions;
    return most > 0 ? least(most, rows) : rows;
}

static void consist_row(struct build *b) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = seen(b, "consist", "path");
    double n = questions_of(j, b->data->questions);
    double tried = s && s->items > 0 ? s->items / (double)p->consist.paths : 1;
    add_items(b, (struct asked){"consist", "path", n * (double)j->consist.paths, "revise", "reply",
                                &j->consist.sampling, &p->consist.sampling});
    b->consist_rows = n * b->probe->consist_rows / tried;
}

static void sft_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = seen(b, "sft", "sft"), *written = seen(b, "sft", "reply");
    double batch = (double)j->sft.optimizer.batch, own = b->sft_rows;
    own *= j->sft.earlier_rounds ? round : 1;
    double helpful = (double)llround(j->sft.helpful * (own > 0 ? own : 1000));
    helpful = least(helpful, pool(b, b->data->helpful));
    if (written && b->probe->helpful_rows > 0) {
        /* A prompt that was answered in an earlier round is not asked again. */
        double new = helpful * least(1, written->items / b->probe->helpful_rows) *
                     (1 - least(1, b->helpful_written / (pool(b, b->data->helpful) + 1)));
        add_items(b, (struct asked){"sft", "reply", new, "revise", "reply", &j->revise.reply,
                                    &p->revise.reply});
        b->helpful_written += new;
    }
    double votes = b->consist_rows * (j->sft.earlier_rounds ? round : 1);
    double rows = own + helpful + votes, tried = s ? s->rows : batch;
    add_training(b, (struct trained){"sft", "sft", rows,
                                     (double)j->sft.epochs * ceil_div(rows, batch),
                                     least(rows, batch), least(tried, batch), NULL, NULL});
    b->row->trained += rows * (double)j->sft.epochs * b->row_tokens;
}

/* Speeches of both sides in both seatings, after which the judge is asked. */
static void add_debates(struct build *b, const char *before, double asked) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    for (int64_t k = 1; k <= 2 * j->label.turns; k++) {
        char phase[32];
        snprintf(phase, sizeof phase, "%sdebate-%lld", before, (long long)k);
        add_items(b, (struct asked){"label", phase, asked, "label", "reply", &j->label.speech,
                                    &p->label.speech});
    }
}

static void label_row(struct build *b, uint32_t round) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    double pairs = (double)j->label.pairs, gate = (double)j->label.gate_pairs;
    const struct cost_seen *g = seen(b, "label", "gate");
    bool cot = strcmp(j->label.mode, "cot") == 0, debate = job_label_debates(j);
    if (round == 1 || strcmp(j->models.overseer, "latest") == 0) {
        double asked = g && p->label.gate_pairs > 0 ? g->items / (double)p->label.gate_pairs : 2;
        add_items(b, (struct asked){"label", "gate-reason", cot ? gate * asked : 0, "label",
                                    "reason", &j->label.reasons, &p->label.reasons});
        if (debate) {
            add_debates(b, "gate-", gate * asked);
            add_items(b, (struct asked){"label", "gate-cot-reason", gate * asked, "label", "reply",
                                        &j->label.reasons, &p->label.reasons});
            add_items(b, (struct asked){"label", "gate-cot", gate * asked, "label", "score", NULL,
                                        NULL});
            add_items(b, (struct asked){"label", "gate-direct", gate * asked, "label", "score",
                                        NULL, NULL});
        }
        add_items(b, (struct asked){"label", "gate", gate * asked, "label", "score", NULL, NULL});
    }
    add_items(b, (struct asked){"label", "reply", 2 * pairs, "revise", "reply", &j->label.reply,
                                &p->label.reply});
    double scores = ratio(b, "label", "score", "reply", j->label.swap ? 1 : 0.5);
    double reasons = ratio(b, "label", "reason", "reply", scores);
    add_items(b, (struct asked){"label", "reason", cot ? 2 * pairs * reasons : 0, "label",
                                "reply", &j->label.reasons, &p->label.reasons});
    if (debate)
        add_debates(b, "", 2 * pairs * ratio(b, "label", "debate-1", "reply", scores));
    add_items(b, (struct asked){"label", "score", 2 * pairs * scores, "label", "reply", NULL,
                                NULL});
    double kept = p->label.pairs > 0 ? b->probe->pairs / (double)p->label.pairs : 1;
    b->pairs += pairs * least(kept, 1);
}

/* Pairs of this round and those before, and people's. */
static double all_pairs(const struct build *b) {
    const struct job_spec *j = b->job;
    double share = j->prefer.human, people = b->data->human;
    if (j->label.enabled && share < 1)
        people = least(people, (double)llround(share / (1 - share) * (double)j->label.pairs));
    return b->pairs + people;
}

static void prefer_row(struct build *b) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = seen(b, "prefer", "pm");
    double all = all_pairs(b), batch = (double)j->prefer.optimizer.batch;
    double rows = all * (1 - j->prefer.held_out), tried = s ? s->rows : batch;
    bool shared = strcmp(j->prefer.trunk, "shared") == 0;
    double runs = shared ? 1 : (double)j->prefer.members;
    tried *= 1 - p->prefer.held_out;
    add_training(b, (struct trained){"prefer", "pm", all,
                                     runs * (double)j->prefer.epochs * ceil_div(rows, batch),
                                     least(rows, batch), least(tried, batch), NULL, NULL});
    add_items(b, (struct asked){"prefer", "score", 2 * all * j->prefer.held_out, "label", "score",
                                NULL, NULL});
    b->row->trained += 2 * rows * runs * (double)j->prefer.epochs * b->row_tokens;
}

static double held_out(const struct build *b) {
    const double most = (double)b->job->evaluate.prompts;
    double n = 0;
    if (!b->job->data.evaluate)
        return least(most, b->data->harmful * held_out_share) +
               least(most, b->data->helpful * held_out_share);
    for (size_t i = 0; i < 3; i++)
        n += least(most, b->data->evaluate[i]);
    return n;
}

static void evaluate_row(struct build *b, uint32_t round, bool first) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *w = seen(b, "evaluate", "win");
    double n = held_out(b), scores = ratio(b, "evaluate", "score", "reply",
                                           j->data.classifier ? 1 : 2);
    const struct job_sampling *full = &j->evaluate.reply, *tried = &p->evaluate.reply;
    if (first && !(j->red_team.enabled && j->rounds > 0))
        add_classifier(b, "evaluate");
    for (int base = first ? 0 : 1; base < 2; base++) {
        add_items(b, (struct asked){"evaluate", base ? "reply" : "base", n, "revise", "reply",
                                    full, tried});
        add_items(b, (struct asked){"evaluate", base ? "score" : "score-base", n * scores,
                                    "evaluate", "reply", NULL, NULL});
    }
    double taken = j->sft.enabled && round <= j->rounds
                       ? least(b->sft_rows * (1 + j->sft.helpful), (double)j->evaluate.prompts) : 0;
    add_items(b, (struct asked){"evaluate", "score-taken", taken * scores, "evaluate", "score",
                                NULL, NULL});
    double tried_wins = least((double)p->evaluate.win_pairs, n);
    double wins = w && tried_wins > 0 ? least(2, w->items / tried_wins) : 2;
    add_items(b, (struct asked){"evaluate", "win", wins * least((double)j->evaluate.win_pairs, n),
                                "label", "score", NULL, NULL});
}

static void ppo_row(struct build *b) {
    const struct job_spec *j = b->job, *p = b->probe->job;
    const struct cost_seen *s = seen(b, "ppo", "ppo"), *reply = seen(b, "label", "reply");
    if (job_ppo_from_labels(j)) {
        double batch = (double)j->ppo.dpo_batch, rows = all_pairs(b) * (1 - j->prefer.held_out);
        add_training(b, (struct trained){"ppo", "ppo", rows,
                                         (double)j->ppo.dpo_epochs * ceil_div(rows, batch),
                                         least(rows, batch), least(s ? s->rows : batch, batch),
                                         NULL, NULL});
        b->row->trained += 2 * rows * (double)j->ppo.dpo_epochs * b->row_tokens;
        return;
    }
    double replies = (double)(j->ppo.steps * j->ppo.rollouts);
    double prompts = pool(b, b->data->harmful) + pool(b, b->data->helpful);
    b->error = 2 * drift_error; /* replies change their length as the policy learns */
    add_training(b, (struct trained){"ppo", "ppo", prompts, (double)j->ppo.steps,
                                     (double)j->ppo.rollouts, (double)p->ppo.rollouts,
                                     &j->ppo.rollout, &p->ppo.rollout});
    if (reply && reply->items > 0) {
        double more = longer(reply, (double)p->label.reply.max_tokens,
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
    const struct cost_seen *s = seen(b, "skill", "skill");
    double batch = (double)j->skill.optimizer.batch, tried = s ? s->rows : batch;
    double rows = ROWS_EACH * (b->data->critiques * (1 - j->skill.held_out) +
                               (double)j->skill.inserted);
    add_items(b, (struct asked){"skill", "tamper", (double)j->skill.inserted, "revise", "revision-1",
                                &j->skill.refinement, &p->skill.refinement});
    if (round == 1 || strcmp(j->skill.from, "latest") == 0) {
        add_training(b, (struct trained){"skill", "skill", rows,
                                         (double)j->skill.epochs * ceil_div(rows, batch),
                                         least(rows, batch), least(tried, batch), NULL, NULL});
        b->row->trained += rows * (double)j->skill.epochs * b->row_tokens;
    }
    double n = 0, replies = (double)j->skill.samples;
    for (size_t i = 0; i < 3; i++)
        n += least((double)j->skill.prompts, j->data.evaluate ? b->data->evaluate[i] : 0);
    bool pm = strcmp(j->skill.judge, "pm") == 0;
    double asked = pm ? n * replies : b->data->critiques * j->skill.held_out;
    add_items(b, (struct asked){"skill", "sample", pm ? asked : 0, "revise", "reply",
                                &j->skill.reply, &p->skill.reply});
    add_items(b, (struct asked){"skill", "flaw", asked, "label", "score", NULL, NULL});
    add_items(b, (struct asked){"skill", "critique", asked, "revise", "critique-1",
                                &j->skill.critique, &p->skill.critique});
    add_items(b, (struct asked){"skill", "helpful", asked, "label", "score", NULL, NULL});
    add_items(b, (struct asked){"skill", "refinement", pm ? asked : 0, "revise", "revision-1",
                                &j->skill.refinement, &p->skill.refinement});
    add_items(b, (struct asked){"skill", "quality", pm ? 2 * asked : 0, "prefer", "score", NULL,
                                NULL});
}

/* ---- all of them ----------------------------------------------------------------------------- */
/* So many canaries of each class as in the rehearsal, or as many more as the job asks. */
static void audit_row(struct build *b) {
    static const char *const phases[] = {"critique", "revision", "choice", "choice-reason", "ask",
                                         "critique-second", "choice-second", "choice-second-reason",
                                         "passed-second", "word", "word-again"};
    const struct job_audit *full = &b->job->audit, *rehearsed = &b->probe->job->audit;
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        const struct cost_seen *s = seen(b, "audit", phases[i]);
        bool word = strncmp(phases[i], "word", 4) == 0, passed = strncmp(phases[i], "passed", 6) == 0;
        double more = word     ? (double)full->words / (double)(rehearsed->words ? rehearsed->words : 1)
                      : passed ? (double)full->passed / (double)(rehearsed->passed ? rehearsed->passed : 1)
                               : (double)full->pairs / (double)rehearsed->pairs;
        if (s)
            add_items(b, (struct asked){"audit", phases[i], s->items * more, NULL, NULL, NULL, NULL});
    }
}

static void stage_row(struct build *b, const char *stage, uint32_t round, bool first_look) {
    b->error = 0;
    if (strcmp(stage, "red_team") == 0)
        red_team_row(b, round);
    else if (strcmp(stage, "revise") == 0)
        revise_row(b, round);
    else if (strcmp(stage, "audit") == 0)
        audit_row(b);
    else if (strcmp(stage, "consist") == 0)
        consist_row(b);
    else if (strcmp(stage, "sft") == 0)
        sft_row(b, round);
    else if (strcmp(stage, "label") == 0)
        label_row(b, round);
    else if (strcmp(stage, "prefer") == 0)
        prefer_row(b);
    else if (strcmp(stage, "skill") == 0)
        skill_row(b, round);
    else if (strcmp(stage, "evaluate") == 0)
        evaluate_row(b, round, first_look);
    else if (strcmp(stage, "ppo") == 0)
        ppo_row(b);
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
