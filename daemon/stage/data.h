/* data.h: the job's own data, frozen when its first stage is planned, and the numbers by
 * which prompts are known.
 *
 * A JSONL line becomes an example of stage "data", round 0: item = its number, kind = the
 * file's, text = the last user text, detail = {"messages": […up to the user], "row": {the
 * line's other fields}}, whatever form of input/record.h it had. From then on the files are not read again, so that an edited file
 * cannot change a running job. Prompts from red teaming have numbers of their own. */
#ifndef CAI_STAGE_DATA_H
#define CAI_STAGE_DATA_H

#include "stage/stage.h"

enum { DATA_RED_MAX = 1000000 }; /* red-team prompts of a round */

/* Item numbers: kind × 10⁹ + place in the file from 1; red team 9 × 10⁹ + round × 10⁶ + …;
 * kinds from 9 on begin at 20 × 10⁹. */
uint64_t data_item(enum job_data kind, size_t index);
uint64_t data_red_item(uint32_t round, size_t index);
const char *data_item_source(uint64_t item); /* "harmful", … or "red_team" */
static inline bool data_item_is_human(uint64_t item) { /* of data.human */
    return item / 1000000000u == JOB_DATA_HUMAN;
}
static inline bool data_item_is_red(uint64_t item) {
    return item >= 9000000000u && item < 20000000000u;
}

int data_ensure(const struct stage_context *c);
/* The first item that an item is nearly the same as, or of whose conversation it is: what any
 * draw between training and held-out is keyed by. Itself when it is like no other. */
int data_group(const struct stage_context *c, uint64_t item, uint64_t *ret);
int data_count(const struct stage_context *c, enum job_data kind, size_t *ret);

/* A prompt: turns end with the user. `row` is the caller's (json_decref), NULL for red team. */
struct dialog {
    struct turn *turns; /* in the arena given */
    size_t n;
    json_t *row;
};
int data_dialog(const struct stage_context *c, uint64_t item, struct cai_arena *a,
                struct dialog *ret);
void data_dialog_free(struct dialog *d);
static inline void cai_dialog_auto(struct dialog *d) { data_dialog_free(d); }
/* {"role","text"} of every turn; the caller's. */
json_t *data_messages(const struct turn *turns, size_t n);

struct items {
    uint64_t *at; /* in the arena given */
    size_t n;
};
/* Prompts of a file that may be trained on, in the file's order: without a file of
 * data.evaluate a tenth of harmful and helpful prompts is kept out for evaluation. */
int data_pool(const struct stage_context *c, enum job_data kind, struct cai_arena *a,
              struct items *ret);
/* Red-team prompts of rounds <= `round` that led to a harmful reply, in item order. */
int data_red_pool(const struct stage_context *c, uint32_t round, bool this_round_only,
                  struct cai_arena *a, struct items *ret);
/* Held-out prompts: "harmful", "helpful" or "lookalike", at most `limit` by a counted draw
 * that is the same in every round; item order. */
int data_held_out(const struct stage_context *c, const char *kind, size_t limit,
                  struct cai_arena *a, struct items *ret);
/* `limit` of them by a counted draw, in item order; all when limit is 0 or more than n. */
void items_take(const struct stage_context *c, uint32_t round, const char *what, size_t limit,
                struct items *io);
void items_sort(struct items *io);
bool items_have(const struct items *sorted, uint64_t item);

/* ---- texts of the stages ------------------------------------------------------------------ */
/* Adds a text of this stage and round with the constitution's revision; `detail` is taken
 * and may be NULL, principle too. */
int example_put(const struct stage_context *c, uint64_t item, uint32_t k, const char *kind,
                const char *text, const char *principle, const char *model, json_t *detail);
/* Texts of one kind in (round, item, k) order, copied to the arena. round 0 = any. */
struct examples {
    struct store_example *at;
    size_t n, cap;
    struct cai_arena *arena;
};
int examples_load(const struct stage_context *c, uint32_t round, const char *stage,
                  const char *kind, struct cai_arena *a, struct examples *ret);
/* The one with this item and k of a list of one round, or NULL. */
const struct store_example *examples_find(const struct examples *e, uint64_t item, uint32_t k);
/* A member of an example's detail; `otherwise` when it is absent. */
double example_number(const struct store_example *e, const char *name, double otherwise);
bool example_flag(const struct store_example *e, const char *name);

#endif
