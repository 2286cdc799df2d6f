/* loss.c: see loss.h. Every sum runs in index order, so equal inputs give equal bits. */
#include "learn/loss.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

static bool used(const uint8_t *mask, size_t i) {
    return mask == NULL || mask[i] != 0;
}

static size_t count_used(const uint8_t *mask, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += used(mask, i);
    return count;
}

double loss_mean(const double *x, const uint8_t *mask, size_t n) {
    size_t count = count_used(mask, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (used(mask, i))
            sum += x[i];
    return count > 0 ? sum / (double)count : 0;
}

double loss_variance(const double *x, const uint8_t *mask, size_t n) {
    size_t count = count_used(mask, n);
    if (count < 2)
        return 0;
    double mean = loss_mean(x, mask, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        if (used(mask, i))
            sum += (x[i] - mean) * (x[i] - mean);
    return sum / (double)(count - 1);
}

void loss_whiten(double *x, const uint8_t *mask, size_t n, bool shift_mean) {
    double mean = loss_mean(x, mask, n);
    double variance = loss_variance(x, mask, n);
    double scale = count_used(mask, n) < 2 ? 1 : 1 / sqrt(variance + 1e-8);
    for (size_t i = 0; i < n; i++)
        x[i] = used(mask, i) ? (x[i] - mean) * scale + (shift_mean ? 0 : mean) : 0;
}

void loss_gae(const double *reward, const double *value, const uint8_t *mask, size_t n,
              double gamma, double lambda, double *advantage, double *returns) {
    double next_value = 0, next_advantage = 0;
    for (size_t i = n; i-- > 0;) {
        advantage[i] = 0;
        if (returns != NULL)
            returns[i] = 0;
        if (!used(mask, i))
            continue;
        double delta = reward[i] + gamma * next_value - value[i];
        advantage[i] = delta + gamma * lambda * next_advantage;
        if (returns != NULL)
            returns[i] = advantage[i] + value[i];
        next_value = value[i];
        next_advantage = advantage[i];
    }
}

void loss_token_rewards(const double *kl, size_t n, double coef, double score, double *reward) {
    CAI_CHECK(n > 0);
    for (size_t i = 0; i < n; i++)
        reward[i] = -coef * kl[i];
    reward[n - 1] += score;
}

double loss_ensemble(const double *score, size_t n, bool worst, double lambda) {
    CAI_CHECK(n > 0);
    double mean = loss_mean(score, NULL, n), low = score[0], sum = 0;
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, score[i]);
        sum += (score[i] - mean) * (score[i] - mean);
    }
    return worst ? low : mean - lambda * sum / (double)n;
}

void loss_rloo_baseline(const uint64_t *group, const double *reward, size_t n, double *baseline) {
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        size_t others = 0;
        for (size_t j = 0; j < n; j++) {
            if (j == i || group[j] != group[i])
                continue;
            sum += reward[j];
            others++;
        }
        baseline[i] = others > 0 ? sum / (double)others : 0;
    }
}

/* End of the run of equal groups that begins at `from`. */
static size_t group_end(const uint64_t *group, size_t from, size_t n) {
    size_t to = from + 1;
    while (to < n && group[to] == group[from])
        to++;
    return to;
}

void loss_group_advantage(const uint64_t *group, const double *reward, size_t n, bool scale,
                          double *advantage) {
    for (size_t from = 0, to; from < n; from = to) {
        to = group_end(group, from, n);
        double mean = loss_mean(reward + from, NULL, to - from);
        double std = sqrt(loss_variance(reward + from, NULL, to - from));
        for (size_t i = from; i < to; i++)
            advantage[i] = (reward[i] - mean) / (scale ? std + 1e-4 : 1);
    }
}

void loss_group_best(const uint64_t *group, const double *reward, size_t n, double *advantage) {
    for (size_t from = 0, to; from < n; from = to) {
        to = group_end(group, from, n);
        size_t best = from;
        for (size_t i = from; i < to; i++) {
            advantage[i] = 0;
            best = reward[i] > reward[best] ? i : best;
        }
        advantage[best] = 1;
    }
}

void loss_group_used(const uint64_t *group, const double *reward, size_t n, uint8_t *used) {
    for (size_t from = 0, to; from < n; from = to) {
        to = group_end(group, from, n);
        bool differ = false;
        for (size_t i = from; i < to; i++)
            differ = differ || reward[i] != reward[from];
        memset(used + from, differ, to - from);
    }
}

double loss_kl(enum loss_kl kind, double logprob, double ref, double limit) {
    double d = logprob - ref, k = 0;
    switch (kind) {
    case LOSS_KL1: k = d; break;
    case LOSS_KL2: k = 0.5 * d * d; break;
    case LOSS_KL3: k = expm1(-d) + d; break;
    }
    return limit > 0 ? fmin(fmax(k, -limit), limit) : k;
}

double loss_kl_coef(double coef, double kl, double target, double horizon, double episodes) {
    if (target <= 0)
        return coef;
    double error = fmin(fmax(kl / target - 1, -0.2), 0.2);
    return coef * (1 + error * episodes / horizon);
}

/* One position of the clipped objective: its loss, and d loss / d log-probability. */
static double ppo_position(double ratio, double advantage, struct loss_clip clip,
                           double *ret_grad, bool *ret_clipped) {
    double plain = -advantage * ratio;
    double bounded = -advantage * fmin(fmax(ratio, 1 - clip.low), 1 + clip.high);
    double loss = plain;
    *ret_grad = plain; /* dρ/d logprob = ρ */
    *ret_clipped = bounded > plain;
    if (*ret_clipped) {
        loss = bounded;
        *ret_grad = 0;
    }
    if (clip.dual > 1 && advantage < 0 && loss > -clip.dual * advantage) {
        loss = -clip.dual * advantage;
        *ret_grad = 0;
        *ret_clipped = true;
    }
    return loss;
}

/* What one ratio says about the update; `old` and `now` are its log-probabilities. */
static void count_ratio(double ratio, bool clipped, double old, double now,
                        struct loss_ppo_stats *stats) {
    if (stats == NULL)
        return;
    stats->clipped += clipped;
    stats->ratio += ratio;
    stats->ratio_max = fmax(stats->ratio_max, ratio);
    stats->kl += loss_kl(LOSS_KL3, old, now, 0);
}

double loss_ppo(const double *logprob, const double *old, const double *advantage,
                const uint8_t *mask, size_t n, struct loss_clip clip, double *grad,
                struct loss_ppo_stats *stats) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double g = 0;
        if (used(mask, i)) {
            bool clipped;
            double ratio = exp(logprob[i] - old[i]);
            sum += ppo_position(ratio, advantage[i], clip, &g, &clipped);
            count_ratio(ratio, clipped, old[i], logprob[i], stats);
        }
        if (grad != NULL)
            grad[i] = g;
    }
    return sum;
}

double loss_ppo_sequence(const double *logprob, const double *old, size_t n, double advantage,
                         struct loss_clip clip, double *grad, struct loss_ppo_stats *stats) {
    double difference = 0, g;
    bool clipped;
    for (size_t i = 0; i < n; i++)
        difference += logprob[i] - old[i];
    double ratio = exp(difference);
    double loss = ppo_position(ratio, advantage, clip, &g, &clipped);
    count_ratio(ratio, clipped, 0, difference, stats);
    for (size_t i = 0; i < n && grad != NULL; i++)
        grad[i] = g;
    return loss;
}

double loss_kl_penalty(const double *logprob, const double *ref, size_t n, double coef,
                       double *grad) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += loss_kl(LOSS_KL3, logprob[i], ref[i], 0);
        if (grad != NULL)
            grad[i] -= coef * expm1(ref[i] - logprob[i]);
    }
    return coef * sum;
}

/* ½ · the error's square where the change from `old` is bounded, if that is the larger. */
static bool value_bounded(double value, double old, double returns, double clip, double *io_loss) {
    double v = fmin(fmax(value, old - clip), old + clip);
    double bounded = 0.5 * (v - returns) * (v - returns);
    if (clip <= 0 || bounded <= *io_loss)
        return false;
    *io_loss = bounded;
    return true;
}

double loss_value(const double *value, const double *old, const double *returns,
                  const uint8_t *mask, size_t n, double clip, double *grad) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double g = 0;
        if (used(mask, i)) {
            double error = value[i] - returns[i];
            double loss = 0.5 * error * error;
            g = value_bounded(value[i], old[i], returns[i], clip, &loss) ? 0 : error;
            sum += loss;
        }
        if (grad != NULL)
            grad[i] = g;
    }
    return sum;
}

double loss_value_clipped(const double *value, const double *old, const double *returns,
                          const uint8_t *mask, size_t n, double clip) {
    double count = 0;
    for (size_t i = 0; i < n; i++) {
        double error = value[i] - returns[i], loss = 0.5 * error * error;
        count += used(mask, i) && value_bounded(value[i], old[i], returns[i], clip, &loss);
    }
    return count;
}

double loss_sigmoid(double x) {
    if (x >= 0)
        return 1 / (1 + exp(-x));
    double e = exp(x);
    return e / (1 + e);
}

double loss_log_sigmoid(double x) {
    return x >= 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

double loss_bradley_terry(double a, double b, double p, double margin, double centre,
                          double *ret_da, double *ret_db) {
    double sum = a + b, over = a - b - margin, under = b - a - margin;
    double d = -p * loss_sigmoid(-over) + (1 - p) * loss_sigmoid(-under);
    if (ret_da != NULL)
        *ret_da = d + 2 * centre * sum;
    if (ret_db != NULL)
        *ret_db = -d + 2 * centre * sum;
    return -(p * loss_log_sigmoid(over) + (1 - p) * loss_log_sigmoid(under)) +
           centre * sum * sum;
}

double loss_dpo(double a, double b, double ref_a, double ref_b, double p, double beta,
                double *ret_da, double *ret_db) {
    double d, loss = loss_bce(beta * ((a - ref_a) - (b - ref_b)), p, &d);
    if (ret_da != NULL)
        *ret_da = beta * d;
    if (ret_db != NULL)
        *ret_db = -beta * d;
    return loss;
}

double loss_bce(double x, double y, double *ret_dx) {
    if (ret_dx != NULL)
        *ret_dx = loss_sigmoid(x) - y;
    return -(y * loss_log_sigmoid(x) + (1 - y) * loss_log_sigmoid(-x));
}

double loss_entropy(double p) {
    double h = 0;
    if (p > 0)
        h -= p * log(p);
    if (p < 1)
        h -= (1 - p) * log1p(-p);
    return h;
}
