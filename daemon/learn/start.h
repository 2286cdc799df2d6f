/* start.h: what a run begins to train: a folder's own weights, or an adapter over them that
 * alone is trained (options.h, "lora"). An adapter's folder is trained on as it is. Not for:
 * training, or models that are only asked. */
#ifndef CAI_LEARN_START_H
#define CAI_LEARN_START_H

#include "model/model.h"

/* A language model: fresh factors are drawn from `key`. */
int start_policy(const char *dir, const struct hf_adapter *lora, struct cai_key key,
                 struct model **ret);
/* One with a score head: the folder's, or a fresh one drawn from `key`. */
int start_scalar(const char *dir, const struct hf_adapter *lora, struct cai_key key,
                 struct model **ret);

#endif
