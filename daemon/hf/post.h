/* post.h: the ids that the post-processor puts around a text. Internal to the room. */
#ifndef CAI_HF_POST_H
#define CAI_HF_POST_H

#include "hf/hf.h"
#include <jansson.h>

struct hf_post {
    struct hf_ids before, after;
};
int hf_post_load(const char *path, const json_t *o, struct hf_post *ret);
void hf_post_free(struct hf_post *p);

#endif
