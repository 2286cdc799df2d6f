/* loss.h: the numbers of training as plain functions over host arrays, in fp64: losses
 * with their gradients with respect to the network's outputs, advantages, KL
 * estimators, whitening, the KL controller. No tensors, no model, no randomness.
 *
 * A network gives one number per row (a token's log-probability, a scalar); a loss is a
 * function of those few numbers, so it is evaluated here exactly and its gradient is
 * handed to ct_backward as the seed. Losses return a sum; the caller divides by the
 * global count. `grad`, when not NULL, is set (not added to) and has the size of the
 * first argument. `mask` NULL means all ones; a masked position influences nothing,
 * whatever it holds, NaN included. */
#ifndef CAI_LEARN_LOSS_H
#define CAI_LEARN_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- moments -------------------------------------------------------------------- */
/* Mean over the positions with mask; 0 when there are none. */
double loss_mean(const double *x, const uint8_t *mask, size_t n);
/* Variance with Bessel's correction; of one position or none: 0. */
double loss_variance(const double *x, const uint8_t *mask, size_t n);
/* (x − mean) / √(variance + 1e-8) in place, + mean again when !shift_mean; masked
 * positions become 0. Fewer than two positions: only the mean is handled. */
void loss_whiten(double *x, const uint8_t *mask, size_t n, bool shift_mean);

/* ---- returns --------------------------------------------------------------------- */
/* Generalised advantage estimation (Schulman et al. 2016, eq. 16) of one sequence of n
 * positions: δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γλ A_{t+1}, both taken over the
 * positions with mask only: a gap is as if it were removed. V after the last is 0.
 * advantage[n] and returns[n] = A + V are 0 where masked; returns may be NULL. */
void loss_gae(const double *reward, const double *value, const uint8_t *mask, size_t n,
              double gamma, double lambda, double *advantage, double *returns);
/* r_t = −coef · kl_t, and the score added at the last position. n > 0. */
void loss_token_rewards(const double *kl, size_t n, double coef, double score, double *reward);
/* One score of k members' (Coste et al. 2023): the lowest (worst-case), or their mean less
 * λ times their variance (of the k themselves, not an estimate). n > 0. */
double loss_ensemble(const double *score, size_t n, bool worst, double lambda);
/* Leave-one-out baseline (RLOO, Ahmadian et al. 2024): mean of the other rewards of the same group; a group of
 * one gets 0. O(n²) in the group's size at most. */
void loss_rloo_baseline(const uint64_t *group, const double *reward, size_t n, double *baseline);
/* Groups are runs of equal `group`. Advantage of each reply within its group: reward − mean,
 * and with `scale` divided by deviation + 1e-4 (GRPO, Shao et al. 2024; without: Liu et al.
 * 2025, "Dr. GRPO"). */
void loss_group_advantage(const uint64_t *group, const double *reward, size_t n, bool scale,
                          double *advantage);
/* 1 for the highest reward of each group (the first of equals), 0 for the others. */
void loss_group_best(const uint64_t *group, const double *reward, size_t n, double *advantage);
/* used[i]: whether the rewards of i's group differ; a group of equals teaches nothing. */
void loss_group_used(const uint64_t *group, const double *reward, size_t n, uint8_t *used);

/* ---- Kullback-Leibler ---------------------------------------------------------------- */
enum loss_kl { LOSS_KL1, LOSS_KL2, LOSS_KL3 };
/* Estimators of KL(π ‖ π_ref) from one sampled token (Schulman, "Approximating KL
 * divergence"): with d = logprob − ref, k1 = d, k2 = d²/2, k3 = e^{−d} − 1 + d; the
 * result is clamped to ±limit (0 = not). */
double loss_kl(enum loss_kl kind, double logprob, double ref, double limit);

/* Proportional controller (Ziegler et al. 2019, §2.2): e = clip(kl/target − 1, ±0.2),
 * coef · (1 + e · episodes / horizon). target 0: the coefficient is fixed. */
double loss_kl_coef(double coef, double kl, double target, double horizon, double episodes);

/* ---- PPO ------------------------------------------------------------------------------ */
struct loss_ppo_stats {
    double clipped;   /* positions where the clipped branch was taken */
    double ratio_max; /* largest ratio */
    double ratio;     /* Σ ratio */
    double kl;        /* Σ k3 of the old policy against the new */
};
struct loss_clip {
    double low, high; /* the ratio stays within 1 − low … 1 + high; high > low as in DAPO */
    double dual;      /* > 1: with A < 0 at most −dual·A (Ye et al. 2020); else off */
};
/* Σ max(−A·ρ, −A·clip(ρ)), ρ = exp(logprob − old) (Schulman et al. 2017, eq. 7). stats may
 * be NULL; it is added to. */
double loss_ppo(const double *logprob, const double *old, const double *advantage,
                const uint8_t *mask, size_t n, struct loss_clip clip, double *grad,
                struct loss_ppo_stats *stats);
/* The same with one ratio for the n positions together, exp(Σ logprob − Σ old): a reply is
 * one action (RLOO). */
double loss_ppo_sequence(const double *logprob, const double *old, size_t n, double advantage,
                         struct loss_clip clip, double *grad, struct loss_ppo_stats *stats);
/* coef · Σ k3(logprob ‖ ref), as GRPO has it in its loss; its gradient is added to grad. */
double loss_kl_penalty(const double *logprob, const double *ref, size_t n, double coef,
                       double *grad);
/* ½ Σ max((V − R)², (clip(V, old ± clip) − R)²) (N+ implementation details, Huang et al.
 * 2024); clip 0 = plain ½ Σ (V − R)². */
double loss_value(const double *value, const double *old, const double *returns,
                  const uint8_t *mask, size_t n, double clip, double *grad);
/* Positions of the same where the clipped square is the larger, so that it counts. */
double loss_value_clipped(const double *value, const double *old, const double *returns,
                          const uint8_t *mask, size_t n, double clip);

/* ---- preferences and classes --------------------------------------------------------- */
/* −[p·log σ(a − b − margin) + (1−p)·log σ(b − a − margin)] + centre·(a + b)²: Bradley-Terry
 * with a soft target p = P(a preferred); whichever is preferred must win by the margin
 * (Touvron et al. 2023, Llama 2, §3.2.2). ret_da, ret_db may be NULL. */
double loss_bradley_terry(double a, double b, double p, double margin, double centre,
                          double *ret_da, double *ret_db);
/* −[p·log σ(x) + (1−p)·log σ(−x)], x = β·((a − ref_a) − (b − ref_b)), of two replies'
 * summed log-probabilities under the policy and the reference (Rafailov et al. 2023, eq. 7,
 * with a soft target; p = 1 − ε is its label smoothing). */
double loss_dpo(double a, double b, double ref_a, double ref_b, double p, double beta,
                double *ret_da, double *ret_db);
/* −[y·log σ(x) + (1−y)·log σ(−x)]. */
double loss_bce(double x, double y, double *ret_dx);
/* H(p) = −p log p − (1−p) log(1−p): what no model can go below on a soft target. */
double loss_entropy(double p);
double loss_sigmoid(double x);
double loss_log_sigmoid(double x);

#endif
