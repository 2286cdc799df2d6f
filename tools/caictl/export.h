/* export.h: caictl export (export.c), and the folders it makes of models (folder.c). */
#ifndef CAI_CAICTL_EXPORT_H
#define CAI_CAICTL_EXPORT_H

#include "caictl.h"

#define EXPORT_OPTIONS                                                                             \
    "  pairs     chosen and rejected replies with their probability and principle\n"              \
    "  labels    the overseer's and people's choices, in both orders\n"                           \
    "  sft       conversations that were trained on\n"                                            \
    "  rollouts  what the policy wrote during PPO, some of each step, with their rewards\n"       \
    "  replies   to held-out prompts, by checkpoint: what an outside judge reads\n"               \
    "  grades    what the job's own graders say of them\n"                                        \
    "  examples  every text of every stage\n"                                                     \
    "  red_team  prompts that were written\n"                                                     \
    "  attempts  the same with replies and verdicts, in the form of red-team-attempts\n"          \
    "  metrics   every figure by round, stage and step\n"                                         \
    "  model     the last policy: where it lies; with --out, a folder that transformers opens,\n" \
    "            with the start model's tokenizer, chat template and generation settings as they\n" \
    "            were, and a model card\n"                                                        \
    "  pm        the same of the preference model; of several, a folder for each member\n\n"      \
    "  --out PATH   a file (gzip when it ends in .gz), or the folder of a model. It appears whole\n" \
    "               or not at all\n"                                                              \
    "  --merge      whole weights, where the model is a LoRA adapter over its base\n"            \
    "  --form FORM  pairs, sft, rollouts and replies as other trainers read them: trl,\n"         \
    "               trl-implicit, trl-text, messages, hh (`caictl data export --help`)\n"         \
    "  --round N    the model of that round; 0 is the start\n"

int run_export(const struct args *a);
int run_tensorboard(const struct args *a, int64_t id); /* of `metrics` (tensorboard.c) */

/* The job's model of a kind ("policy", "pm") after `round` (< 0 = the last) out of a reply of
 * `show`: rows of its "models", borrowed, in the order of k. Returns how many. */
size_t folder_find(const json_t *show, const char *kind, int64_t round, const json_t **ret,
                   size_t max);
/* Copies a model of the job to `to` (with `merge` an adapter into its base), checks it against its
 * hash and adds README.md, provenance.json and trainer_state.json. 0 or an exit code; what is
 * wrong is printed. */
int folder_write(const json_t *show, const json_t *model, bool merge, const char *to);
/* The model card of a folder. */
void card_write(const json_t *show, const json_t *model, const json_t *report,
                const json_t *principles, const char *folder, struct cai_buf *ret);

#endif
