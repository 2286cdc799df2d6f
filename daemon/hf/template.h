/* template.h: a checkpoint's own chat template. Internal to the room. */
#ifndef CAI_HF_TEMPLATE_H
#define CAI_HF_TEMPLATE_H

#include "hf/chat.h"
#include <jansson.h>

/* `path` says where the template stands. Takes neither; copies what it needs. */
int hf_template_new(const char *path, const char *source, const json_t *context,
                    const struct hf_chat_model *m, struct hf_template **ret);
void hf_template_free(struct hf_template *t);
void hf_template_set_date(struct hf_template *t, int64_t seconds);
int hf_template_layout(struct hf_template *t, const struct hf_message *messages, size_t n,
                       bool generate, const char *prefix, struct hf_layout *l);
int32_t hf_template_end_id(const struct hf_template *t);
/* What stands between a prompt's end and the reply's text ("" mostly). */
const char *hf_template_lead(const struct hf_template *t);

#endif
