/* probe.h: what caiprobe's commands share. */
#ifndef CAI_TOOLS_CAIPROBE_PROBE_H
#define CAI_TOOLS_CAIPROBE_PROBE_H

#include "base/error.h"
#include "hf/hf.h"
#include "learn/engine.h"
#include "model/model.h"

#include <jansson.h>

enum { STOPS_MAX = 16 };

struct arguments {
    const char *model, *to, *dtype, *date, *device;
    bool no_special, text_only, skip_special, generation_prompt;
    int64_t top, threads, seed, slots, shard_bytes;
    struct sampling sampling;
    const char *stop[STOPS_MAX];
    size_t n_stop;
};

/* The tokenizer and the chat format are read when a line first needs them. */
struct probe {
    const struct arguments *a;
    struct hf_tokenizer *t;
    struct hf_chat *chat;
    struct model *m;
    bool bfloat16;
    struct model_half *half; /* of m, once a line needed it */
};

int probe_tokenizer(struct probe *p);
int probe_chat(struct probe *p);
/* The model as packed passes see it: m, or its half. Engines make their own. */
int probe_seen(struct probe *p, const struct model **ret);

typedef int (*line_function)(struct probe *p, const json_t *line);
/* Calls f for every line of stdin; the error names the line. */
int each_line(struct probe *p, line_function f);

int get_ids(const json_t *array, struct hf_ids *ret);
/* Texts are borrowed from the line; *ret is the caller's. */
int get_messages(const json_t *line, struct hf_message **ret, size_t *ret_n);
/* {"ids"}, or {"text"} as it is, or {"messages"} followed by the opening of a reply and its
 * "prefix", if any. */
int get_prompt(struct probe *p, const json_t *line, struct hf_ids *ret);
json_t *ids_json(const int32_t *ids, size_t n);
json_t *text_json(const struct cai_buf *text);
void print_json(json_t *out); /* takes it */

int probe_tokenize(struct probe *p, const json_t *line);
int probe_detokenize(struct probe *p, const json_t *line);
int probe_show_chat(struct probe *p, const json_t *line);
int probe_logits(struct probe *p, const json_t *line);
int probe_score(struct probe *p, const json_t *line);
int probe_options(struct probe *p, const json_t *line);
int probe_text(struct probe *p, const json_t *line);
int probe_generate(struct probe *p); /* all lines */
int probe_talk(struct probe *p, const json_t *line);
int probe_resave(struct probe *p);

#endif
