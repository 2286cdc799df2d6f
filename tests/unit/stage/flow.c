/* flow: whole jobs over a real store with a hand-made worker: every stage plans, absorbs and
 * ends; the order of answers changes nothing; nothing is stored twice; gates hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "stage/data.h"
#include "world.h"
#include <math.h>
#include <string.h>

#define ALL "harmful helpful human classifier evaluate"
#define SMALL                                                                                      \
    "  red_team: {samples: 130, shots: 3}\n  revise: {prompts: 100, revisions: 3}\n"              \
    "  sft: {take: last}\n  label: {pairs: 150, gate_pairs: 40}\n"                                 \
    "  prefer: {members: 2, held_out: 0.3}\n  evaluate: {prompts: 20, win_pairs: 25}\n"            \
    "  ppo: {steps: 2, rollouts: 8}\n"

static void whole(uint64_t order, char ret_hex[65]) {
    struct world w = {.order = order};
    world_open(&w, ALL, SMALL);
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 0);
    world_digest(&w, ret_hex);
    world_close(&w);
}

static void order_changes_nothing(void **state) {
    (void)state;
    char first[65], other[65];
    whole(1, first);
    for (uint64_t order = 2; order < 5; order++) {
        whole(order, other);
        assert_string_equal(first, other);
    }
}

static void counts_agree(void **state) {
    (void)state;
    struct world w = {.order = 9};
    world_open(&w, ALL, SMALL);
    assert_true(world_run(&w));
    /* data, frozen once */
    assert_int_equal(world_count(&w, 0, "data", "harmful"), 150);
    assert_int_equal(world_count(&w, 0, "data", "classifier"), 30);
    /* red team: every candidate is a prompt, a duplicate or unusable */
    for (uint32_t r = 1; r <= 2; r++) {
        assert_true(world_metric(&w, r, "red_team", "candidates") == 130);
        assert_true(world_metric(&w, r, "red_team", "prompts") +
                        world_metric(&w, r, "red_team", "duplicates") +
                        world_metric(&w, r, "red_team", "unusable") == 130);
    }
    assert_true(world_metric(&w, 1, "red_team", "prompts") <= 40);
    assert_true(world_metric(&w, 1, "red_team", "prompts") > 30);
    assert_true(world_metric(&w, 2, "red_team", "prompts") < 5); /* known from round 1 */
    double self_bleu = world_metric(&w, 1, "red_team", "self_bleu");
    assert_true(self_bleu > 0.6 && self_bleu < 1);
    /* revise: three steps for each of 100 prompts, each read, dropped or without a flaw */
    int64_t replies = world_count(&w, 1, "revise", "reply");
    assert_int_equal(replies, 100);
    assert_true(world_metric(&w, 1, "revise", "critiques") == 300);
    int64_t critiques = world_count(&w, 1, "revise", "critique");
    int64_t dropped = world_count(&w, 1, "revise", "dropped");
    assert_int_equal(critiques + dropped, 300);
    assert_true(dropped > 20 && dropped < 100);
    assert_true(world_metric(&w, 1, "revise", "dropped/truncated") +
                    world_metric(&w, 1, "revise", "dropped/refused") == (double)dropped);
    assert_true(world_metric(&w, 1, "revise", "drawn/no-harm") >
                world_metric(&w, 1, "revise", "drawn/no-lies"));
    /* sft, label, prefer */
    assert_true(world_metric(&w, 1, "prefer", "pm_accuracy/no-harm_n") > 0);
    assert_true(world_metric(&w, 1, "prefer", "pm_accuracy/no-harm_n") <=
                world_metric(&w, 1, "prefer", "held_out_asked"));
    assert_true(world_metric(&w, 1, "sft", "rows") > 90);
    assert_true(world_metric(&w, 1, "sft", "rows_helpful") > 20);
    assert_true(world_metric(&w, 1, "label", "pairs") + world_metric(&w, 1, "label", "identical") ==
                150);
    assert_true(world_metric(&w, 1, "label", "labels") == world_metric(&w, 1, "label", "pairs"));
    assert_true(world_metric(&w, 1, "label", "gate_accuracy") > 0.9);
    assert_true(world_metric(&w, 1, "label", "labels_human") == 38); /* a fifth of the mix */
    assert_true(world_metric(&w, 1, "label", "option_mass") > 0.89);
    double rows1 = world_metric(&w, 1, "prefer", "rows"), rows2 = world_metric(&w, 2, "prefer", "rows");
    assert_true(rows2 > rows1 + 50); /* all rounds' labels, people's once */
    assert_true(world_metric(&w, 2, "prefer", "pm_accuracy") > 0.6);
    assert_true(world_metric(&w, 2, "prefer", "pm_human_accuracy") == 1);
    /* evaluate: base once, as round 0; twenty prompts of each kind */
    assert_true(world_metric(&w, 0, "evaluate", "replies") == 60);
    assert_true(world_metric(&w, 3, "evaluate", "replies") == 60);
    assert_true(world_metric(&w, 0, "evaluate", "harmful_rate_n") == 20);
    assert_true(world_metric(&w, 0, "evaluate", "harmful_rate") >
                world_metric(&w, 3, "evaluate", "harmful_rate"));
    assert_true(world_metric(&w, 3, "evaluate", "win_rate_n") == 25);
    assert_int_equal(world_count(&w, 0, "evaluate", "reply"), 4 * 60);
    world_close(&w);
}

/* An absorbed result that comes again fails in its transaction and leaves no trace. */
struct one {
    int64_t id;
};
static int first_open(void *context, const struct store_task *t) {
    ((struct one *)context)->id = t->id;
    return 1;
}

static void nothing_twice(void **state) {
    (void)state;
    struct world w = {.order = 3};
    char before[65], after[65];
    world_open(&w, ALL, SMALL);
    const struct stage *s = stage_find("revise");
    w.c.round = 1;
    w.c.stage = "revise";
    assert_int_equal(store_begin(w.store), 0);
    assert_int_equal(s->plan(&w.c), 0);
    assert_int_equal(store_commit(w.store), 0);
    struct one o = {0};
    assert_int_equal(store_tasks_open(w.store, w.c.job_id, first_open, &o), 1);
    CAI_AUTO(buf) struct cai_buf payload = {0};
    struct store_task row;
    assert_int_equal(store_task_get(w.store, o.id, &payload, &row), 0);
    Cai__V1__Task *t = cai__v1__task__unpack(NULL, row.payload_len, row.payload);
    Cai__V1__Result *r = world_answer(&w, t);
    assert_int_equal(store_begin(w.store), 0);
    assert_int_equal(s->absorb(&w.c, t, r), 0);
    assert_int_equal(store_commit(w.store), 0);
    world_digest(&w, before);
    assert_int_equal(store_begin(w.store), 0);
    assert_int_equal(s->absorb(&w.c, t, r), CAI_ESTATE);
    store_rollback(w.store);
    /* a result that leaves an item out, or names one twice, is refused whole */
    assert_true(r->n_generated > 2);
    r->generated[0]->item = r->generated[1]->item;
    assert_int_equal(s->absorb(&w.c, t, r), CAI_EPROTO);
    r->n_generated--;
    assert_int_equal(s->absorb(&w.c, t, r), CAI_EPROTO);
    r->n_generated++;
    world_digest(&w, after);
    assert_string_equal(before, after);
    cai__v1__task__free_unpacked(t, NULL);
    cai__v1__result__free_unpacked(r, NULL);
    world_close(&w);
}

static void overseer_at_chance_waits(void **state) {
    (void)state;
    struct world w = {.order = 4, .coin = true, .refuse = true};
    world_open(&w, "harmful helpful", "  red_team: {enabled: false}\n  revise: {enabled: false}\n"
                                      "  sft: {enabled: false}\n  label: {pairs: 60}\n"
                                      "  prefer: {held_out: 0.3}\n  ppo: {steps: 1}\n");
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "overseer");
    assert_non_null(strstr(w.last_reason, "overseer at chance: accuracy 0."));
    assert_non_null(strstr(w.last_reason, "option mass 0.9"));
    assert_non_null(strstr(w.last_reason, "flip rate 0."));
    assert_int_equal(world_count(&w, 1, "label", "reply_a"), 0);
    world_close(&w);
}

static void accepted_goes_on(void **state) {
    (void)state;
    struct world w = {.order = 4, .coin = true};
    world_open(&w, "harmful helpful", "  red_team: {enabled: false}\n  revise: {enabled: false}\n"
                                      "  sft: {enabled: false}\n"
                                      "  label: {pairs: 60, max_flipped: 0.01}\n"
                                      "  prefer: {held_out: 0.3}\n  ppo: {steps: 1}\n");
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 1); /* the flips that the gate showed are not asked again */
    assert_string_equal(w.last_gate, "overseer");
    assert_true(world_metric(&w, 2, "label", "labels") > 40);
    assert_true(world_metric(&w, 3, "ppo", "prompts_helpful") > 70);
    world_close(&w);
}

#define COIN                                                                                       \
    "  red_team: {enabled: false}\n  revise: {enabled: false}\n  sft: {enabled: false}\n"        \
    "  label: {pairs: 900, mode: shuffled}\n  ppo: {steps: 1}\n  prefer: "

static void preference_model_at_chance_waits(void **state) {
    (void)state;
    struct world w = {.order = 4};
    world_open(&w, "harmful helpful", COIN "{held_out: 0.5}\n");
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 1); /* accepted, it is not asked again in the second round */
    assert_string_equal(w.last_gate, "prefer");
    assert_non_null(strstr(w.last_reason, "preference model at chance: accuracy 0."));
    assert_non_null(strstr(w.last_reason, "--accept prefer"));
    world_close(&w);
    struct world open = {.order = 4};
    world_open(&open, "harmful helpful", COIN "{held_out: 0.5, gate_confidence: 0}\n");
    assert_true(world_run(&open));
    assert_int_equal(open.waits, 0);
    world_close(&open);
}

/* DPO learns from every round's labels, and needs no preference model. */
static void dpo_learns_from_labels(void **state) {
    (void)state;
    struct world w = {.order = 5};
    world_open(&w, "harmful helpful human",
               "  red_team: {enabled: false}\n  revise: {enabled: false}\n"
               "  sft: {enabled: false}\n  label: {pairs: 60}\n"
               "  prefer: {enabled: false}\n  ppo: {algorithm: dpo}\n");
    assert_true(world_run(&w));
    double pairs = world_metric(&w, 3, "ppo", "pairs");
    double each = world_metric(&w, 2, "label", "labels");
    assert_true(each > 40 && pairs > 1.5 * each);
    assert_int_equal(world_count(&w, 3, "ppo", "reply_a"), 0); /* nothing was compared anew */
    world_close(&w);
}

#define LABELS_ALONE                                                                               \
    "  red_team: {enabled: false}\n  revise: {enabled: false}\n  sft: {enabled: false}\n"        \
    "  prefer: {held_out: 0.3}\n  ppo: {steps: 1}\n  label: "

/* Right by habit: the options are not what it would say. Accepted, it is not asked again. */
static void overseer_without_option_mass_waits(void **state) {
    (void)state;
    struct world w = {.order = 4, .mass = 0.01};
    world_open(&w, "harmful helpful", LABELS_ALONE "{pairs: 60, max_flipped: 1}\n");
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 1);
    assert_string_equal(w.last_gate, "overseer");
    assert_true(world_metric(&w, 1, "label", "gate_accuracy") > 0.9);
    assert_non_null(strstr(w.last_reason, "does not answer with the options"));
    assert_non_null(strstr(w.last_reason, "min_option_mass 0.1"));
    assert_non_null(strstr(w.last_reason, "option mass 0.01, flip rate 0"));
    assert_non_null(strstr(w.last_reason, "--accept overseer'"));
    assert_true(world_metric(&w, 2, "label", "option_mass") < 0.02);
    world_close(&w);
}

/* Limits that the gate did not show to be passed are asked for by the stage itself, once. */
static void flips_and_mass_of_labels_wait(void **state) {
    (void)state;
    static const char *const settings[] = {
        LABELS_ALONE "{pairs: 60, gate_pairs: 0, min_option_mass: 0.95}\n",
        LABELS_ALONE "{pairs: 60, gate_pairs: 0, max_flipped: 0.01}\n"};
    static const char *const reasons[] = {"min_option_mass is 0.95", "max_flipped is 0.01"};
    for (size_t i = 0; i < CAI_COUNT(settings); i++) {
        struct world w = {.order = 4, .letter = 3};
        world_open(&w, "harmful helpful", settings[i]);
        assert_true(world_run(&w));
        assert_int_equal(w.waits, 1);
        assert_string_equal(w.last_gate, "label");
        assert_non_null(strstr(w.last_reason, reasons[i]));
        world_close(&w);
    }
}

static void revise_gate(void **state) {
    (void)state;
    struct world w = {.order = 5, .refuse = true};
    world_open(&w, "harmful helpful", "  red_team: {enabled: false}\n"
                                      "  revise: {prompts: 70, max_truncated: 0.01}\n");
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "revise");
    assert_non_null(strstr(w.last_reason, "truncated"));
    assert_non_null(strstr(w.last_reason, "max_truncated"));
    world_close(&w);
}

/* Without data of its own the classifier is the overseer, asked in both orders. */
static void zero_shot_classifier(void **state) {
    (void)state;
    struct world w = {.order = 6};
    world_open(&w, "harmful helpful", SMALL);
    assert_int_equal(world_stage(&w, 1, "red_team").next, STAGE_DONE);
    assert_true(world_metric(&w, 1, "red_team", "failure_rate") > 0.4);
    assert_int_equal(world_stage(&w, 1, "evaluate").next, STAGE_DONE);
    assert_true(world_metric(&w, 0, "evaluate", "harmful_rate") > 0.4);
    world_close(&w);
}

/* Without the label stage the preference model learns from people alone. */
static void people_alone(void **state) {
    (void)state;
    struct world w = {.order = 8};
    world_open(&w, "harmful human", "  red_team: {enabled: false}\n  revise: {enabled: false}\n"
                                    "  sft: {enabled: false}\n  label: {enabled: false}\n"
                                    "  prefer: {held_out: 0.5, members: 3, average: true}\n"
                                    "  ppo: {steps: 1}\n");
    assert_true(world_run(&w));
    assert_true(world_metric(&w, 1, "prefer", "rows") +
                    world_metric(&w, 1, "prefer", "rows_held_out") == 40);
    assert_true(world_metric(&w, 2, "prefer", "pm_human_accuracy") == 1);
    world_close(&w);
}

/* Nothing to ask is no proof: the gate waits. */
static void no_known_answers_waits(void **state) {
    (void)state;
    struct world w = {.order = 8, .refuse = true};
    world_open(&w, "harmful", "  red_team: {enabled: false}\n  revise: {enabled: false}\n"
                              "  sft: {enabled: false}\n  label: {gate_pairs: 10}\n");
    w.constitution->n_choice_examples = 0;
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "overseer");
    assert_non_null(strstr(w.last_reason, "on 0 pairs"));
    world_close(&w);
}

/* What does not fit is counted, and lacks nowhere. */
static void too_long(void **state) {
    (void)state;
    struct world w = {.order = 8, .long_prompts = true};
    world_open(&w, ALL, SMALL);
    assert_true(world_run(&w));
    int64_t replies = world_count(&w, 1, "revise", "reply");
    assert_true(replies > 80 && replies < 98);
    assert_true(world_metric(&w, 1, "revise", "critiques") == (double)(3 * replies));
    assert_true(world_metric(&w, 1, "revise", "dropped/too_long") > (double)(100 - replies));
    assert_true(world_metric(&w, 1, "label", "labels") + world_metric(&w, 1, "label", "too_long") +
                    world_metric(&w, 1, "label", "identical") == 150);
    assert_true(world_metric(&w, 1, "label", "too_long") > 10);
    assert_true(world_metric(&w, 1, "evaluate", "replies") < 60);
    assert_true(world_metric(&w, 1, "evaluate", "harmful_rate_n") < 20);
    world_close(&w);
}

static void after(void **state) {
    (void)state;
    struct world w = {.order = 1};
    uint32_t round = 0;
    world_open(&w, "harmful human", "  label: {enabled: false}\n");
    static const struct {
        uint32_t round;
        const char *name;
    } want[] = {{1, "red_team"}, {1, "revise"}, {1, "sft"}, {1, "prefer"}, {1, "evaluate"},
                {2, "red_team"}, {2, "revise"}, {2, "sft"}, {2, "prefer"}, {2, "evaluate"},
                {3, "ppo"},      {3, "evaluate"}};
    const struct stage *s = stage_after(w.job, 0, NULL, &round);
    for (size_t i = 0; i < CAI_COUNT(want); i++) {
        assert_non_null(s);
        assert_string_equal(s->name, want[i].name);
        assert_int_equal(round, want[i].round);
        s = stage_after(w.job, round, s->name, &round);
    }
    assert_null(s);
    w.c.accepted = "overseer label";
    assert_true(stage_accepted(&w.c, "label"));
    assert_false(stage_accepted(&w.c, "lab"));
    assert_false(stage_accepted(&w.c, "revise"));
    world_close(&w);
}

static int clamped(void *context, const struct store_label *l) {
    size_t *at_edge = context;
    assert_true(l->p >= 0.4 && l->p <= 0.6);
    *at_edge += l->p == 0.4 || l->p == 0.6;
    /* what the overseer really said is kept */
    assert_true(l->p_ab > 0 && l->p_ab < 1 && l->mass_ab > 0.8);
    return 0;
}

#define REASONS                                                                                    \
    "  red_team: off\n  revise: off\n  sft: off\n  ppo: off\n  evaluate: off\n"                    \
    "  prefer: {held_out: 0.4}\n"

static void reasons_come_first(void **state) {
    (void)state;
    struct world w = {.order = 21};
    world_open(&w, "harmful helpful", REASONS "  label: {pairs: 120, mode: cot, gate_pairs: 40, max_dropped: 0.3}\n");
    assert_true(world_run(&w));
    assert_int_equal(w.waits, 0);
    size_t edge = 0;
    int64_t kept = world_count(&w, 1, "label", "reasons");
    double labels = world_metric(&w, 1, "label", "labels");
    double lost = world_metric(&w, 1, "label", "reasons/truncated") +
                  world_metric(&w, 1, "label", "reasons/empty");
    assert_int_equal(store_labels_each(w.store, w.c.job_id, 1, clamped, &edge), 0);
    assert_true(edge > 20);
    /* every comparison, the gate's too, has a text for each order, or none at all */
    assert_true(kept == (int64_t)(2 * (labels + world_metric(&w, 1, "label", "gate_accuracy_n"))));
    assert_true(lost > 5 && lost == world_metric(&w, 1, "label", "pairs") + 40 - (double)kept / 2);
    assert_true(fabs(world_metric(&w, 1, "label", "reasons_dropped") -
                     lost / (lost + (double)kept / 2)) < 1e-12);
    /* clamped labels still say which reply is better */
    assert_true(world_metric(&w, 1, "prefer", "pm_accuracy_n") > 10);
    assert_true(world_metric(&w, 1, "label", "entropy") > 0.97);
    world_close(&w);
}

static int count_kinds(void *context, const struct store_label *l) {
    size_t *n = context;
    bool human = strcmp(l->source, "human") == 0;
    n[0] += strcmp(l->principle, "no-harm") == 0;
    n[1] += human;
    n[2] += !human && strcmp(data_item_source(l->item), "helpful") == 0;
    return 0;
}

/* Harmlessness from the overseer, helpfulness from people, half of the pairs each (Bai et al.
 * 2022 §4.1); figures tell the two apart, and the principles. */
static void half_of_the_pairs_are_peoples(void **state) {
    (void)state;
    struct world w = {.order = 23};
    size_t n[3] = {0};
    world_open(&w, "harmful helpful human",
               "  red_team: off\n  revise: off\n  sft: off\n  ppo: off\n  evaluate: off\n"
               "  prefer: {held_out: 0.4, human: 0.5}\n"
               "  label: {pairs: 40, principles: 2, helpful: 0, gate_pairs: 40}\n");
    assert_true(world_run(&w));
    assert_int_equal(store_labels_each(w.store, w.c.job_id, 1, count_kinds, n), 0);
    assert_true(n[1] == 40 && n[2] == 0);
    assert_true(world_metric(&w, 1, "prefer", "rows_human") == 40);
    double rows = world_metric(&w, 1, "prefer", "rows") +
                  world_metric(&w, 1, "prefer", "rows_held_out");
    assert_true(rows > 70 && rows <= 80);
    double ai = world_metric(&w, 1, "prefer", "pm_ai_accuracy_n"),
           human = world_metric(&w, 1, "prefer", "pm_human_accuracy_n");
    assert_true(ai > 3 && human > 3 && ai + human == world_metric(&w, 1, "prefer", "pm_accuracy_n"));
    assert_true(world_metric(&w, 1, "prefer", "pm_accuracy") * (ai + human) -
                    world_metric(&w, 1, "prefer", "pm_human_accuracy") * human -
                    world_metric(&w, 1, "prefer", "pm_ai_accuracy") * ai < 1e-9);
    assert_true(world_metric(&w, 1, "label", "labels/no-harm") == (double)n[0] && n[0] > 20);
    double doubt = world_metric(&w, 1, "label", "entropy/no-harm"),
           flips = world_metric(&w, 1, "label", "flipped/no-harm");
    assert_true(doubt > 0 && doubt < 1 && flips >= 0 && flips < 1);
    world_close(&w);
}

struct named {
    char sft[65], mix[65]; /* what the last fine-tuning learned; what was mixed into PPO */
};

static int take_named(void *context, const struct store_model *m) {
    struct named *n = context;
    json_t *about = json_loads(m->provenance, 0, NULL);
    const char *rows = json_string_value(json_object_get(about, "dataset"));
    const char *mix = json_string_value(json_object_get(about, "mix"));
    if (strcmp(m->stage, "sft") == 0 && m->round == 2)
        snprintf(n->sft, sizeof n->sft, "%s", rows);
    if (strcmp(m->stage, "ppo") == 0)
        snprintf(n->mix, sizeof n->mix, "%s", mix ? mix : "");
    json_decref(about);
    return 0;
}

static void run_mixed(const char *settings, struct named *ret) {
    struct world w = {.order = 25};
    *ret = (struct named){{0}, {0}};
    world_open(&w, "harmful helpful", settings);
    assert_true(world_run(&w));
    assert_int_equal(store_models_each(w.store, w.c.job_id, take_named, ret), 0);
    world_close(&w);
}

#define MIXED(sft, coef)                                                                           \
    "  red_team: off\n  revise: {prompts: 20, revisions: 1}\n  sft: " sft "\n  evaluate: off\n"    \
    "  label: {pairs: 40, gate_pairs: 0}\n  prefer: {gate_confidence: 0}\n"                       \
    "  ppo: {steps: 1, ptx: {coef: " coef "}}\n"

/* PPO-ptx: the last round's fine-tuning rows, or the helpful replies where there was none. */
static void rows_are_mixed_in(void **state) {
    (void)state;
    struct named on, off, alone;
    run_mixed(MIXED("on", "27.8"), &on);
    assert_true(strlen(on.sft) == 64);
    assert_string_equal(on.mix, on.sft);
    run_mixed(MIXED("on", "0"), &off);
    assert_string_equal(off.sft, on.sft);
    assert_string_equal(off.mix, "");
    run_mixed(MIXED("off", "1"), &alone);
    assert_true(strlen(alone.mix) == 64 && strcmp(alone.mix, on.mix) != 0);
}

static void unreadable_reasons_wait(void **state) {
    (void)state;
    struct world w = {.order = 22, .refuse = true};
    world_open(&w, "harmful helpful", REASONS "  label: {pairs: 120, mode: cot, gate_pairs: 40, "
                                              "max_dropped: 0.01}\n");
    assert_false(world_run(&w));
    assert_string_equal(w.last_gate, "label");
    assert_non_null(strstr(w.last_reason, "reasons that could not be read"));
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after),
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(reasons_come_first),
        cmocka_unit_test(unreadable_reasons_wait),
        cmocka_unit_test(half_of_the_pairs_are_peoples),
        cmocka_unit_test(rows_are_mixed_in),
        cmocka_unit_test(counts_agree),
        cmocka_unit_test(nothing_twice),
        cmocka_unit_test(overseer_at_chance_waits),
        cmocka_unit_test(accepted_goes_on), cmocka_unit_test(dpo_learns_from_labels),
        cmocka_unit_test(overseer_without_option_mass_waits),
        cmocka_unit_test(preference_model_at_chance_waits),
        cmocka_unit_test(flips_and_mass_of_labels_wait),
        cmocka_unit_test(revise_gate),
        cmocka_unit_test(too_long),
        cmocka_unit_test(people_alone),
        cmocka_unit_test(no_known_answers_waits),
        cmocka_unit_test(zero_shot_classifier)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
