/* train.h: whole training tasks, by Train.kind. Collective: every rank of the gang calls
 * with the same task; rank 0 writes the outputs. *ret is the caller's
 * (cai__v1__trained__free_unpacked). CAI_ESTATE when called back, CAI_ENUMERIC when the
 * numbers go wrong, CAI_EINPUT when options, dataset, model or checkpoint do. */
#ifndef CAI_LEARN_TRAIN_H
#define CAI_LEARN_TRAIN_H

#include "learn/dataset.h"
#include "learn/host.h"
#include "model/model.h"

int learn_train(const struct learn_task *t, Cai__V1__Trained **ret);

/* "sft": fine-tuning on the last message of each row. Figures: loss lr grad_norm per step;
 * at the end loss, rows, skipped. */
int learn_sft(const struct learn_task *t, Cai__V1__Trained **ret);
/* "pm": members of a preference model, each with its own head and order of rows, in
 * output/0, output/1, … with reward.json. Figures at the end: those of calibration.h on
 * the held-out pairs (member i > 0 with "memberI." before them), rows, skipped. With
 * "average" the members lie in output/member-0, … and output/0 is one model of their mean
 * weights ("average." before its figures). With trunk "shared" the members are heads, each
 * with a first draw of its own, that learn with one trunk in one run, and are saved with it. */
int learn_pm(const struct learn_task *t, Cai__V1__Trained **ret);
/* "classifier": one scalar head, σ(score) = P(label 1). Figures as of pm. */
int learn_classifier(const struct learn_task *t, Cai__V1__Trained **ret);
/* "ppo": the policy, by the algorithm that the options name (policy.h). */
int learn_policy(const struct learn_task *t, Cai__V1__Trained **ret);
/* Its runs: with rollouts (ppo.h), and on labelled pairs (dpo.c). */
/* "red": a red model against a target (red.h) is learn_ppo too. */
int learn_dpo(const struct learn_task *t, Cai__V1__Trained **ret);
int learn_ppo(const struct learn_task *t, Cai__V1__Trained **ret);

/* The task's dataset, encoded with the tokenizer and chat format of `dir`, for m. */
int train_load_rows(const struct learn_task *t, const char *dir, const struct model *m,
                    enum dataset_kind kind, struct dataset *ret);
/* Rank 0 replaces the folder `dir` by m; all ranks wait for it. */
int train_save(const struct learn_task *t, const struct model *m, const char *dir);

#endif
