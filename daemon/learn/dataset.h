/* dataset.h: the frozen JSONL of a training task: one object per line, read strictly
 * (line number in every complaint), its SHA-256 checked, encoded by the chat format.
 *
 * Forms, by Train.kind. "messages" is a list of {"role", "text"}; other members of a
 * message ("origin", "drop") are ignored. "item" is a whole number >= 0.
 *   sft         {"item", "messages": [… , assistant], "weight"?: > 0}
 *               loss on the last message, which must be the assistant's (end of turn
 *               included); weight 1 when absent
 *   pm          {"item", "messages": [… , user], "a", "b", "p": 0…1, "split"}
 *               a, b: two replies; p: probability that a is preferred;
 *               split: "train" or "held_out"
 *   classifier  {"item", "messages": […], "label": 0…1, "split"?}
 *               the last message is judged in the light of those before it
 *   ppo         {"item", "messages": [… , user], "kind": "harmful" | "helpful",
 *               "broke"?: [principle ids]}: for figures only
 *
 * A judged or learned sequence ends with the end of its last message (the marker that
 * ends an assistant's turn included); what a template writes after it is left out, so
 * that the last token is the same here and for a reply the model has just written. */
#ifndef CAI_LEARN_DATASET_H
#define CAI_LEARN_DATASET_H

#include "cai.pb-c.h"
#include "hf/hf.h"

/* DPO reads a pm file, but a sequence counts from its last message's text on, as sft. */
enum dataset_kind { DATASET_SFT, DATASET_PM, DATASET_CLASSIFIER, DATASET_PPO, DATASET_DPO };

struct dataset_seq {
    int32_t *ids;
    int64_t n;
    int64_t from; /* first id of the last message's text; for ppo = n, where the reply goes */
};

struct dataset_row {
    uint64_t item;
    struct dataset_seq seq[2]; /* pm: a, b; others: [0] */
    double target;             /* pm: p; classifier: label */
    double weight;             /* sft */
    bool held_out;
    bool has_split;
    bool helpful;              /* ppo */
    char **broke;              /* ppo: principles that critiques found broken at this prompt */
    size_t n_broke;
    char *messages;            /* ppo: the JSON of "messages", for samples shown to people */
};

struct dataset {
    struct dataset_row *rows; /* in the file's order */
    size_t n;
    size_t skipped;           /* rows whose sequence is longer than the limit */
};

/* limit: ids per sequence at most. hash: SHA-256 that the file must have, NULL or "" =
 * not checked. CAI_EINPUT names path:line; a file without a usable row is CAI_EINPUT. */
int dataset_load(const char *path, const char *hash, enum dataset_kind kind,
                 const struct hf_chat *chat, int64_t limit, struct dataset *ret);
void dataset_free(struct dataset *d);

/* Encodes a conversation whose last message is judged or learned; *ret_from may be NULL. */
int dataset_encode(const struct hf_chat *chat, const struct hf_message *messages, size_t n,
                   struct hf_ids *ret, int64_t *ret_from);

#endif
