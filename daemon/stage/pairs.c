/* pairs.c: see pairs.h. */
#include "stage/pairs.h"

#include "stage/data.h"
#include "stage/label.h"
#include <string.h>

/* Labels come by (round, item, k), and passes are runs of `per_pair` values of k. */
static int take_label(void *context, const struct store_label *l) {
    struct pairs *o = context;
    bool human = strcmp(l->source, "human") == 0, own = human && data_item_is_human(l->item);
    uint32_t pass = own ? 0 : l->k / o->per_pair;
    struct pair *last = o->n ? &o->at[o->n - 1] : NULL;
    /* People's pairs are the same in every round: once is enough. */
    if (l->round > o->last_round || (own && l->round < o->last_round))
        return 0;
    bool same = last && last->round == l->round && last->item == l->item && last->pass == pass;
    if (same && human && !own) { /* a reader's verdict on the overseer's pair decides */
        *last = (struct pair){l->round, pass, l->item, l->held_out, true, l->p, 1};
        return 0;
    }
    if (same && last->human && !own)
        return 0; /* what else the overseer said of it */
    if (same) {
        last->p = (last->p * last->n + l->p) / (last->n + 1);
        last->n++;
        return 0;
    }
    if (o->n == o->cap) {
        o->cap = o->cap ? 2 * o->cap : 1024;
        o->at = cai_realloc(o->at, o->cap, sizeof *o->at);
    }
    o->at[o->n++] = (struct pair){l->round, pass, l->item, l->held_out, human, l->p, 1};
    return 0;
}

int pairs_load(const struct stage_context *c, uint32_t last_round, struct pairs *ret) {
    size_t want = c->job->label.principles > 0 ? (size_t)c->job->label.principles : 1;
    uint32_t per_pair = label_principles(c, want);
    *ret = (struct pairs){.per_pair = per_pair ? per_pair : 1, .last_round = last_round};
    CAI_TRY(store_labels_each(c->store, c->job_id, 0, take_label, ret));
    return 0;
}

int pair_replies(const struct stage_context *c, const struct pair *p, struct cai_arena *a,
                 const char **ret_a, const char **ret_b) {
    const char *const kinds[] = {"reply_a", "reply_b"};
    const char **out[] = {ret_a, ret_b};
    for (int i = 0; i < 2; i++) {
        CAI_AUTO(mem) char *text = NULL;
        CAI_TRY(store_example_get(c->store, c->job_id, p->round, "label", p->item, kinds[i],
                                  p->pass, &text, NULL));
        *out[i] = cai_arena_strdup(a, text);
    }
    return 0;
}

int pair_row(const struct stage_context *c, const struct pair *p, struct dataset *d) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(dialog) struct dialog o = {0};
    const char *x, *y;
    CAI_TRY(data_dialog(c, p->item, &a, &o));
    CAI_TRY(pair_replies(c, p, &a, &x, &y));
    dataset_row(d, json_pack("{s:I, s:o, s:s, s:s, s:f, s:s}", "item", (json_int_t)p->item,
                             "messages", data_messages(o.turns, o.n), "a", x, "b", y, "p", p->p,
                             "split", p->held_out ? "held_out" : "train"));
    return 0;
}
