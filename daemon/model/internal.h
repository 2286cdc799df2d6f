/* internal.h: what the files of this room share; nobody else includes it. */
#ifndef CAI_MODEL_INTERNAL_H
#define CAI_MODEL_INTERNAL_H

#include "model/model.h"

/* More positions than this would make the rotation tables the largest thing in memory. */
enum { MODEL_MAX_POSITIONS = 1 << 20 };

/* A model with its layout, views and rotation tables, every weight zero. */
int model_alloc(const struct hf_config *config, enum model_head head, const char *dir,
                struct model **ret);
/* Names, shapes and offsets for a configuration; no memory for weights is taken yet.
 * *ret_params is the caller's. */
int model_layout(const struct hf_config *config, enum model_head head,
                 struct model_param **ret_params, int *ret_n, int64_t *ret_numel);
const struct model_param *model_find(const struct model *m, const char *name);
/* fp32 weights on the host; NULL and a message when they are elsewhere. */
float *model_host(const struct model *m);
/* [positions, Dh] cos and sin tables, each half repeated. */
int rope_tables(const struct hf_config *config, ct_tensor **ret_cos, ct_tensor **ret_sin);
/* Closes a layer's scope; *x (kept) is replaced by y. 0, or a code that `s` now carries. */
int layer_close(ct_scope *s, ct_scope *layer, ct_tensor *y, ct_tensor **x);

#endif
