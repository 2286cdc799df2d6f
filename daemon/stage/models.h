/* models.h: which checkpoint a role means in a round. The folders a job starts from are
 * registered once (round 0, stage "start", kinds "policy", "overseer", "second_overseer", "generator",
 * "pm_start", "red_start")
 * with their hashes; trained ones by the stage that trained them. */
#ifndef CAI_STAGE_MODELS_H
#define CAI_STAGE_MODELS_H

#include "stage/stage.h"

struct model_ref {
    const char *path, *hash; /* in the arena given */
};

/* Registers the start folders unless they are; reads and hashes them. */
int models_ensure(const struct stage_context *c);
/* The start model. */
int models_start(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);
/* The newest policy of a round <= `round`; the start model when there is none. */
int models_policy(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                  struct model_ref *ret);
/* What the job file names for a role: "start", "latest" (newest policy of a round <=
 * `round`) or a folder. role: "generator", "overseer", "second_overseer", "pm", "red"; "judge" is
 * the overseer as the job names it, where stages.skill.use puts one that the stage skill trained
 * into its place. */
int models_role(const struct stage_context *c, const char *role, uint32_t round,
                struct cai_arena *a, struct model_ref *ret);
/* The newest overseer that the stage skill trained in a round <= `round`; CAI_ENOTFOUND. */
int models_skilled(const struct stage_context *c, uint32_t round, struct cai_arena *a,
                   struct model_ref *ret);
/* Members k = 0 … of the newest PM of a round <= `round`; CAI_ENOTFOUND. */
int models_pm(const struct stage_context *c, uint32_t round, struct cai_arena *a,
              struct model_ref **ret, size_t *ret_n);
/* The newest red model that was trained up to a round, and in which; CAI_ENOTFOUND, without a
 * message, before there is one. */
int models_red(const struct stage_context *c, uint32_t round, struct cai_arena *a,
               struct model_ref *ret, uint32_t *ret_round);
/* The job's classifier; CAI_ENOTFOUND before it is trained. */
int models_classifier(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);

#endif
