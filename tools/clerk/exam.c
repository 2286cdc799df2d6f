/* exam.c: choices with a known answer, scored as the daemon scores labels: by the probability
 * of each letter. Not an evaluation of a job; the oracle's verdicts on replies are for that. */
#include "clerk/exam.h"
#include "base/check.h"
#include "base/error.h"
#include "clerk/corpus.h"
#include "clerk/rows.h"
#include "learn/engine.h"
#include <stdlib.h>
#include <string.h>

enum { QUESTIONS = 60 * CORPUS_GROUPS, LONGEST = 512 };

struct question {
    struct lm_row row;
    size_t letter;     /* its place in the row */
    const char *group; /* question i is of group i % CORPUS_GROUPS */
};

static int letter_ids(const struct hf_tokenizer *t, struct hf_ids ret[2]) {
    CAI_TRY(hf_tokenizer_encode(t, "A", 1, false, &ret[0]));
    CAI_TRY(hf_tokenizer_encode(t, "B", 1, false, &ret[1]));
    return ret[0].n == 1 && ret[1].n == 1
               ? 0
               : cai_fail(CAI_EINTERNAL, "the letters of a choice are not one token each");
}

static int ask(const struct hf_chat *chat, const struct hf_tokenizer *t, uint64_t seed,
               uint64_t index, const struct hf_ids letters[2], struct question *ret) {
    CAI_AUTO(arena) struct cai_arena arena = {0};
    struct document doc;
    ret->group = corpus_exam(seed, index, &arena, &doc);
    CAI_TRY(rows_encode(chat, t, &doc, &ret->row));
    for (ret->letter = (size_t)ret->row.from; ret->letter < (size_t)ret->row.n; ret->letter++) {
        int32_t id = ret->row.ids[ret->letter];
        if (id == letters[0].data[0] || id == letters[1].data[0])
            return 0;
    }
    return cai_fail(CAI_EINTERNAL, "a choice without a letter");
}

static void count(const struct question *q, double (*scores)[2], const struct hf_ids letters[2],
                  struct exam_result *ret) {
    size_t right[CORPUS_GROUPS] = {0}, all = 0, worst = 0;
    for (size_t i = 0; i < QUESTIONS; i++) {
        bool first = q[i].row.ids[q[i].letter] == letters[0].data[0];
        bool is_right = (scores[i][0] > scores[i][1]) == first;
        right[i % CORPUS_GROUPS] += is_right;
        all += is_right;
    }
    for (size_t g = 1; g < CORPUS_GROUPS; g++)
        worst = right[g] < right[worst] ? g : worst;
    *ret = (struct exam_result){.share = (double)all / QUESTIONS, .worst_name = q[worst].group};
    for (size_t g = 0; g < CORPUS_GROUPS; g++)
        ret->of[g] = (double)right[g] * CORPUS_GROUPS / QUESTIONS;
    ret->worst = ret->of[worst];
}

static int grade(const struct model *m, const struct hf_tokenizer *t, const struct question *q,
                 const struct hf_ids letters[2], struct exam_result *ret) {
    struct engine *e = NULL;
    struct engine_options o = {.slots = 16, .capacity = LONGEST, .end_id = -1};
    struct score_request requests[QUESTIONS];
    double scores[QUESTIONS][2], *at[QUESTIONS];
    for (size_t i = 0; i < QUESTIONS; i++) {
        requests[i] = (struct score_request){q[i].row.ids, q[i].letter, letters, 2};
        at[i] = scores[i];
    }
    CAI_TRY(engine_new(m, t, &o, &e));
    int rc = engine_score(e, requests, QUESTIONS, at);
    engine_free(e);
    if (rc == 0)
        count(q, scores, letters, ret);
    return rc;
}

int exam_choices(const struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                 uint64_t seed, struct exam_result *ret) {
    struct question questions[QUESTIONS] = {0};
    struct hf_ids letters[2] = {0};
    int rc = letter_ids(t, letters);
    for (size_t i = 0; i < QUESTIONS && rc == 0; i++)
        rc = ask(chat, t, seed, i, letters, &questions[i]);
    if (rc == 0)
        rc = grade(m, t, questions, letters, ret);
    for (size_t i = 0; i < QUESTIONS; i++)
        row_free(&questions[i].row);
    hf_ids_free(&letters[0]);
    hf_ids_free(&letters[1]);
    return rc;
}
