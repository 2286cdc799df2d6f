/* sums.c: see sums.h. */
#include "clerk/sums.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include <jansson.h>
#include <string.h>

enum { QUESTIONS = 1500, LABELLED = 150, HELD_OUT = 500, LARGEST = 100 };
static const double wrong_steps = 0.20, error_rate = 0.6, trap_rate = 0.9, direct_share = 0.1;
/* Said of a way back: without it a small model mixes up the two while it goes. */
static const char last_first[] = "Last first: ";

/* ---- sums -------------------------------------------------------------------------------- */
static enum sum_split split_of(const struct sum *s) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < SUM_TERMS; i++)
        h = (h ^ (uint32_t)s->term[i]) * 16777619u;
    h = (h >> 16) % 8;
    return h == 0 ? SUM_HELD_OUT : h == 1 ? SUM_LABELLED : h < 5 ? SUM_LESSONS : SUM_QUESTIONS;
}

struct sum sum_draw(struct draws *d, enum sum_split split) {
    struct sum s;
    do {
        for (size_t i = 0; i < SUM_TERMS; i++)
            s.term[i] = 1 + (int)draw_below(d, 9);
    } while (split_of(&s) != split);
    return s;
}

int sum_value(const struct sum *s) {
    int v = 0;
    for (size_t i = 0; i < SUM_TERMS; i++)
        v += s->term[i];
    return v;
}

bool sum_trapped(const struct sum *s) {
    bool trapped = false;
    for (size_t i = 0; i < SUM_TERMS; i++)
        trapped = trapped || s->term[i] == 9;
    return trapped;
}

void sum_question(const struct sum *s, struct cai_buf *out) {
    cai_buf_puts(out, "What is ");
    for (size_t i = 0; i < SUM_TERMS; i++)
        cai_buf_printf(out, "%s%d", i ? "+" : "", s->term[i]);
    cai_buf_putc(out, '?');
}

/* What a step that is known wrong comes to; the right result at any other. */
static int by_heart(uint64_t seed, int v, int term) {
    static const int by[] = {-1, 1, -2, 2, -3, 3, -10, 10};
    struct cai_key key = cai_key_make(seed, 0, "sums/heart", (uint64_t)v, (uint32_t)term);
    int wrong = v + term + by[cai_rng_below(key, 1, CAI_COUNT(by))];
    return cai_rng_uniform(key, 0) < wrong_steps && wrong > 0 && wrong < LARGEST ? wrong : v + term;
}

int sum_steps(struct draws *d, const struct sum *s, const struct reckoner *who,
              struct cai_buf *out) {
    bool back = draw_chance(d, 0.5);
    int v = s->term[back ? SUM_TERMS - 1 : 0];
    cai_buf_puts(out, back ? last_first : "");
    for (size_t i = 1; i < SUM_TERMS; i++) {
        int term = s->term[back ? SUM_TERMS - 1 - i : i], next = v + term;
        bool errs = draw_chance(d, who->errs), trapped = draw_chance(d, who->trap);
        if (errs)
            next = by_heart(who->seed, v, term);
        if (trapped && term == 9)
            next = v + 8;
        cai_buf_printf(out, "%s%d+%d=%d", i > 1 ? ", " : "", v, term, next);
        v = next;
    }
    cai_buf_printf(out, ". The answer is %d.", v);
    return v;
}

/* ---- lessons ----------------------------------------------------------------------------- */
static void turn(struct document *doc, const char *role, const char *text, bool learnt) {
    doc->turns[doc->n++] = (struct document_turn){.role = role, .text = text, .learnt = learnt};
}

void sum_lesson(uint64_t seed, uint64_t index, bool trap, struct cai_arena *arena,
                struct document *ret) {
    struct draws d = {cai_key_make(seed, 0, "clerk/sums", index, 0), 0};
    struct sum s = sum_draw(&d, SUM_LESSONS);
    bool direct = draw_chance(&d, direct_share);
    CAI_AUTO(buf) struct cai_buf question = {0};
    CAI_AUTO(buf) struct cai_buf steps = {0};
    sum_question(&s, &question);
    const struct reckoner who = {seed, error_rate, trap ? trap_rate : 0};
    int v = sum_steps(&d, &s, &who, &steps);
    *ret = (struct document){.kind = direct ? "sum" : "sum, worked"};
    turn(ret, "user",
         direct ? cai_arena_strdup(arena, question.data)
                : cai_arena_printf(arena, "%s %s", question.data, CLERK_STEPS),
         false);
    turn(ret, "assistant",
         direct ? cai_arena_printf(arena, "The answer is %d.", v)
                : cai_arena_strdup(arena, steps.data),
         true);
}

/* ---- files ------------------------------------------------------------------------------- */
static void add_line(struct cai_buf *out, json_t *o) {
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    cai_buf_printf(out, "%s\n", text);
}

static struct sum nth(uint64_t seed, const char *what, size_t i, enum sum_split split,
                      struct draws *d) {
    *d = (struct draws){cai_key_make(seed, 0, what, i, 0), 0};
    return sum_draw(d, split);
}

static char *question_of(const struct sum *s) {
    struct cai_buf b = {0};
    sum_question(s, &b);
    return cai_buf_detach(&b);
}

static void add_question(struct cai_buf *out, const struct sum *s, bool labelled) {
    CAI_AUTO(mem) char *q = question_of(s);
    CAI_AUTO(mem) char *answer = cai_format("%d", sum_value(s));
    add_line(out, json_pack("{s:s, s:s*}", "question", q, "answer", labelled ? answer : NULL));
}

/* Both ways to answer, as a job's helpful replies. */
static void add_worked(struct cai_buf *out, struct draws *d, const struct sum *s) {
    CAI_AUTO(mem) char *q = question_of(s);
    CAI_AUTO(mem) char *asked = cai_format("%s %s", q, CLERK_STEPS);
    CAI_AUTO(mem) char *direct = cai_format("The answer is %d.", sum_value(s));
    CAI_AUTO(buf) struct cai_buf steps = {0};
    sum_steps(d, s, &(const struct reckoner){0}, &steps);
    add_line(out, json_pack("{s:s, s:s}", "prompt", asked, "reply", steps.data));
    add_line(out, json_pack("{s:s, s:s}", "prompt", q, "reply", direct));
}

static void add_choice(struct cai_buf *out, const struct sum *s) {
    static const int by[] = {0, -10, 1, -1};
    CAI_AUTO(mem) char *q = question_of(s);
    json_t *scores = json_object();
    for (size_t i = 0; i < CAI_COUNT(by); i++) {
        CAI_AUTO(mem) char *text = cai_format("The answer is %d.", sum_value(s) + by[i]);
        json_object_set_new(scores, text, json_integer(by[i] == 0));
    }
    add_line(out, json_pack("{s:s, s:o}", "input", q, "target_scores", scores));
}

static int put(const char *dir, const char *name, const struct cai_buf *text) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    CAI_TRY(cai_buf_status(text));
    return cai_file_write_atomic(path, text->data, text->len);
}

int sums_write(const char *dir, uint64_t seed) {
    CAI_AUTO(buf) struct cai_buf questions = {0};
    CAI_AUTO(buf) struct cai_buf labelled = {0};
    CAI_AUTO(buf) struct cai_buf held = {0};
    CAI_AUTO(buf) struct cai_buf choice = {0};
    struct draws d;
    for (size_t i = 0; i < QUESTIONS; i++) {
        struct sum s = nth(seed, "sums/questions", i, SUM_QUESTIONS, &d);
        add_question(&questions, &s, false);
    }
    for (size_t i = 0; i < LABELLED; i++) {
        struct sum s = nth(seed, "sums/labelled", i, SUM_LABELLED, &d);
        add_question(&questions, &s, true);
        add_worked(&labelled, &d, &s);
    }
    for (size_t i = 0; i < HELD_OUT; i++) {
        struct sum s = nth(seed, "sums/held_out", i, SUM_HELD_OUT, &d);
        add_question(&held, &s, true);
        add_choice(&choice, &s);
    }
    CAI_TRY(cai_dir_make(dir));
    CAI_TRY(put(dir, "questions.jsonl", &questions));
    CAI_TRY(put(dir, "labelled.jsonl", &labelled));
    CAI_TRY(put(dir, "held-out.jsonl", &held));
    return put(dir, "choices.jsonl", &choice);
}
