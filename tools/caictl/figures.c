/* figures.c: see figures.h. A figure that is recorded and not explained here fails a test
 * (tests/system/watching.py). */
#include "figures.h"

#include "base/buf.h"

#define TRAINING "sft prefer red_team evaluate ppo"

static const struct figure {
    const char *stages; /* where it is recorded */
    const char *name, *unit, *says;
} figures[] = {
    {TRAINING, "loss", "nats", "training loss of the step"},
    {TRAINING, "grad_norm", "", "norm of the gradient before clipping"},
    {TRAINING, "lr", "", "learning rate of the step"},
    {TRAINING, "skipped", "steps", "left out by the guard against spikes and NaN"},
    {TRAINING, "skipped_step", "", "1: this step was left out"},
    {"sft", "rows", "rows", "trained on"},
    {"sft", "rows_revisions", "rows", "of them, revisions"},
    {"sft", "rows_kept", "rows", "of them, replies in which no flaw was found"},
    {"sft", "rows_helpful", "rows", "of them, helpful replies mixed in"},
    {"prefer", "train_accuracy", "share", "of the step's pairs ranked as labelled"},
    {"prefer red_team evaluate", "rows", "rows", "trained on, and held out"},
    {"prefer red_team evaluate", "held_out", "rows", "of them, held out"},
    {"prefer red_team evaluate", "held_out_loss", "nats", "loss on the held-out rows"},
    {"prefer red_team evaluate", "accuracy", "share", "of clear held-out rows judged as labelled"},
    {"prefer red_team evaluate", "decided", "rows", "clear held-out rows"},
    {"prefer red_team evaluate", "ece", "", "expected calibration error on held-out rows"},
    {"prefer red_team evaluate", "excess_loss", "nats", "loss above the labels' own entropy"},
    {"prefer red_team evaluate", "bin#_n", "rows", "rows whose prediction falls into the bin"},
    {"prefer red_team evaluate", "bin#_predicted", "", "their mean prediction"},
    {"prefer red_team evaluate", "bin#_target", "", "their mean label; equal where calibrated"},
    {"prefer", "margin", "log-odds", "mean difference of the two scores"},
    {"prefer", "score_mean", "log-odds", "mean score of held-out replies: what PPO subtracts"},
    {"prefer", "score_std", "log-odds", "their deviation: what PPO divides by"},
    {"prefer", "pm_accuracy", "share", "of clear held-out labels that it agrees with; by principle, too"},
    {"prefer", "pm_human_accuracy", "share", "of people's held-out pairs that it agrees with"},
    {"prefer", "pm_ece", "", "calibration error of the members' mean"},
    {"prefer", "pm_excess_loss", "nats", "loss of the members' mean above the labels' entropy"},
    {"prefer", "pm_score_mean", "log-odds", "mean score, members' mean"},
    {"prefer", "pm_score_std", "log-odds", "its deviation"},
    {"prefer", "pm_bin_count", "pairs", "by bin (the step): pairs"},
    {"prefer", "pm_bin_p", "", "by bin: mean prediction"},
    {"prefer", "pm_bin_target", "", "by bin: mean label"},
    {"prefer", "rows_held_out", "pairs", "held out"},
    {"prefer", "held_out_asked", "pairs", "held-out pairs that were scored"},
    {"red_team", "candidates", "prompts", "written"},
    {"red_team revise label ppo", "prompts", "prompts", "used"},
    {"red_team", "duplicates", "prompts", "left out: nearly the same as another"},
    {"red_team", "unusable", "prompts", "left out: empty, refused or cut"},
    {"red_team", "unjudged", "prompts", "whose reply could not be judged"},
    {"red_team", "failure_rate", "share", "of prompts that led to a harmful reply"},
    {"red_team", "mean_harm", "", "mean probability of harm"},
    {"red_team evaluate", "self_bleu", "", "1: all texts are alike (harmless replies, red-team prompts)"},
    {"revise", "prompts_red_team", "prompts", "that red teaming found"},
    {"revise", "critiques", "texts", "that could be read"},
    {"revise", "revisions", "texts", "that could be read"},
    {"revise", "revised", "share", "of prompts whose reply was changed"},
    {"revise", "no_flaw", "share", "of critiques that found nothing"},
    {"revise", "unchanged", "share", "of revisions equal to what they revise"},
    {"revise", "truncated", "share", "of texts cut off"},
    {"revise", "dropped", "share", "of texts that could not be read; by reason, a number"},
    {"revise", "drawn", "times", "a principle was drawn"},
    {"revise", "flaws", "times", "a principle found a flaw"},
    {"revise", "red_principles", "", "principles drawn"},
    {"label", "gate_accuracy", "share", "of known-answer pairs that the overseer gets right"},
    {"label", "gate_option_mass", "share", "probability of the options together, known-answer pairs"},
    {"label", "gate_flipped", "share", "of its answers there that follow the order"},
    {"label", "gate_bias", "", "its position bias there"},
    {"label", "pairs", "pairs", "compared"},
    {"label", "labels", "labels", "by the overseer"},
    {"label", "labels_human", "labels", "by people"},
    {"label", "identical", "pairs", "left out: both replies equal"},
    {"label", "empty", "pairs", "left out: an empty reply"},
    {"label", "too_long", "pairs", "left out: they do not fit"},
    {"label", "option_mass", "share", "probability of the two options together"},
    {"label", "flipped", "share", "of decided answers that follow the order"},
    {"label", "bias", "", "mean |P(A|AB) + P(A|BA) − 1|"},
    {"label", "mean_margin", "", "mean |2p − 1|: 0 a toss-up, 1 certain"},
    {"label", "entropy", "bits", "mean doubt of a label"},
    {"label", "principles_drawn", "", "principles that labels were asked under"},
    {"label", "reasons_dropped", "share", "of comparisons whose reasons could not be read"},
    {"label", "reasons", "comparisons", "dropped, by reason"},
    {"evaluate", "harmful_rate", "share", "harmful replies to harmful prompts"},
    {"evaluate", "harmful_rate_helpful", "share", "harmful replies to harmless prompts"},
    {"evaluate", "refusal_rate", "share", "refusals of harmful prompts"},
    {"evaluate", "refusal_rate_helpful", "share", "refusals of harmless prompts"},
    {"evaluate", "refusal_rate_lookalike", "share", "refusals of harmless look-alikes"},
    {"evaluate", "evasion_rate_helpful", "share", "empty answers to harmless prompts"},
    {"evaluate", "evasion_rate_lookalike", "share", "empty answers to look-alikes"},
    {"evaluate", "cut_rate", "share", "replies that do not end"},
    {"evaluate", "mean_words", "words", "of a reply"},
    {"evaluate", "replies", "texts", "to held-out prompts"},
    {"evaluate", "distinct_pairs", "share", "different among all neighbouring words of harmless replies"},
    {"evaluate", "win_rate", "share", "of blind comparisons with the start that it wins"},
    {"evaluate", "win_ties", "share", "of them even"},
    {"evaluate", "win_flipped", "share", "of them that follow the order"},
    {"evaluate", "win_option_mass", "share", "probability of the two options together"},
    {"ppo", "prompts_harmful", "prompts", "of the mix"},
    {"ppo", "prompts_helpful", "prompts", "of the mix"},
    {"ppo", "reward", "deviations", "score less KL penalty, mean of the step's replies"},
    {"ppo", "score_mean", "deviations", "normalised score; a rise with no rise in quality is gaming"},
    {"ppo", "score_std", "deviations", "its deviation over the replies"},
    {"ppo", "score_harmful", "deviations", "mean score of replies to harmful prompts"},
    {"ppo", "score_helpful", "deviations", "mean score of replies to harmless prompts"},
    {"ppo", "raw_score", "log-odds", "of the preference model, as it is"},
    {"ppo", "kl", "nats", "per reply, from the reference (k1); guards.kl_budget ends training"},
    {"ppo", "kl3", "nats", "the same by the estimator that is never negative (k3)"},
    {"ppo", "kl_coef", "", "weight of the KL penalty"},
    {"ppo", "entropy", "nats", "per token; near 0 the policy repeats itself"},
    {"ppo", "length", "tokens", "of a reply"},
    {"ppo", "end_rate", "share", "of replies that end by themselves"},
    {"ppo", "policy_loss", "", "clipped objective, negative"},
    {"ppo", "value_loss", "", "of the value model"},
    {"ppo", "explained_variance", "", "of returns by the value model; 1 best, below 0 useless"},
    {"ppo", "value_grad_norm", "", "norm of the value model's gradient"},
    {"ppo", "approx_kl", "nats", "per token, from the policy that sampled (k3)"},
    {"ppo", "clip_fraction", "share", "of tokens that the clip held back"},
    {"ppo", "ratio_max", "", "largest probability ratio of the step; 1 in its first update"},
    {"ppo", "sampler_gap", "nats", "mean |log-probability at sampling − at training|; rounding only"},
    {"ppo", "sampler_gap_max", "nats", "the largest"},
    {"ppo", "used_replies", "share", "that had something to teach (of rloo, grpo, best_of_n)"},
    {"ppo", "left_out_updates", "updates", "ended early by stages.ppo.kl.stop"},
    {"ppo", "skipped_updates", "updates", "left out by the guard against spikes and NaN"},
    {"ppo", "accuracy", "share", "of dpo: pairs ranked as labelled"},
    {"ppo", "margin", "nats", "of dpo: mean difference of the implicit rewards"},
    {"ppo", "rows", "pairs", "of dpo: trained on"},
};

static const struct {
    const char *suffix, *says;
} guard[] = {
    {"_R0", "how many times as often as at the start (guard)"},
    {"_R", "how many times as often as in the round before (guard)"},
    {"_S", "selection: in its training data ÷ before"},
    {"_I", "inheritance: after ÷ in its training data"},
    {"_data", "the rate in what the round trained on"},
    {"_least", "smallest rise that the probes could have shown"},
};

int run_explain(const struct args *a) {
    static const struct column columns[] = {{"STAGE", "stage", CELL_TEXT},
                                            {"NAME", "name", CELL_TEXT},
                                            {"UNIT", "unit", CELL_TEXT},
                                            {"MEANING", "says", CELL_TEXT}};
    json_t *rows = json_array();
    (void)a;
    for (size_t i = 0; i < CAI_COUNT(figures); i++)
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "stage", figures[i].stages,
                                              "name", figures[i].name, "unit", figures[i].unit,
                                              "says", figures[i].says));
    for (size_t i = 0; i < CAI_COUNT(guard); i++) {
        CAI_AUTO(mem) char *name = cai_format("…%s", guard[i].suffix);
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "stage", "evaluate", "name",
                                              name, "unit", "", "says", guard[i].says));
    }
    return print_reply(json_pack("{s:o}", "rows", rows), columns, CAI_COUNT(columns));
}
