/* models.h: which checkpoint a role means in a round. The folders a job starts from are
 * registered once (round 0, stage "start", kinds "policy", "overseer", "second_overseer", "generator", "pm")
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
 * `round`) or a folder. role: "generator", "overseer",
 * "second_overseer", "pm". */
int models_role(const struct stage_context *c, const char *role, uint32_t round,
                struct cai_arena *a, struct model_ref *ret);
/* Members k = 0 … of the newest PM of a round <= `round`; CAI_ENOTFOUND. */
int models_pm(const struct stage_context *c, uint32_t round, struct cai_arena *a,
              struct model_ref **ret, size_t *ret_n);
/* The job's classifier; CAI_ENOTFOUND before it is trained. */
int models_classifier(const struct stage_context *c, struct cai_arena *a, struct model_ref *ret);

#endif
