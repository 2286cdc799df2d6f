/* mix.h: the rows that reinforcement learning keeps learning beside its replies (PPO-ptx, Ouyang
 * et al. 2022). */
#ifndef CAI_STAGE_MIX_H
#define CAI_STAGE_MIX_H

#include "stage/stage.h"

/* The rows of the last fine-tuning as they were frozen, or the helpful replies of the data where
 * none ran; *ret is `own`, filled, or NULL when stages.ppo.ptx is off. Texts lie in the arena.
 * CAI_EINPUT when there is no row. */
int mix_freeze(const struct stage_context *c, struct cai_arena *a, Cai__V1__Dataset *own,
               Cai__V1__Dataset **ret);

#endif
