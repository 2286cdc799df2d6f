/* exam.c: questions with a known answer, scored by the probability of the token in which the
 * right answer and the wrong one part. Not an evaluation of a job; the oracle's verdicts on replies are for that. */
#include "clerk/exam.h"
#include "base/check.h"
#include "base/error.h"
#include "clerk/corpus.h"
#include "clerk/rows.h"
#include "learn/engine.h"
#include <stdlib.h>
#include <string.h>

enum { QUESTIONS = 40 * CORPUS_GROUPS, LONGEST = 512 };

struct question {
    struct lm_row row;   /* with the right answer */
    size_t at;           /* where the answers part: in one token each */
    int32_t right, wrong;
    const char *group;   /* question i is of group i % CORPUS_GROUPS */
};

static int ask(const struct hf_chat *chat, const struct hf_tokenizer *t, uint64_t seed,
               uint64_t index, struct question *ret) {
    CAI_AUTO(arena) struct cai_arena arena = {0};
    struct document right, wrong;
    struct lm_row other;
    ret->group = corpus_exam(seed, index, &arena, &right, &wrong);
    CAI_TRY(rows_encode(chat, t, &right, &ret->row));
    CAI_TRY(rows_encode(chat, t, &wrong, &other));
    int64_t n = other.n < ret->row.n ? other.n : ret->row.n, at = 0;
    while (at < n && other.ids[at] == ret->row.ids[at])
        at++;
    int rc = at < n ? 0 : cai_fail(CAI_EINTERNAL, "a question with one answer");
    if (rc == 0) {
        ret->at = (size_t)at;
        ret->right = ret->row.ids[at];
        ret->wrong = other.ids[at];
    }
    row_free(&other);
    return rc;
}

static void count(const struct question *q, double (*scores)[2], struct exam_result *ret) {
    size_t right[CORPUS_GROUPS] = {0}, all = 0, worst = 0;
    for (size_t i = 0; i < QUESTIONS; i++) {
        bool is_right = scores[i][0] > scores[i][1];
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

static int grade(const struct model *m, const struct hf_tokenizer *t, struct question *q,
                 struct exam_result *ret) {
    struct engine *e = NULL;
    struct engine_options o = {.slots = 16, .capacity = LONGEST, .end_id = -1};
    struct score_request requests[QUESTIONS];
    struct hf_ids options[QUESTIONS][2];
    double scores[QUESTIONS][2], *at[QUESTIONS];
    for (size_t i = 0; i < QUESTIONS; i++) {
        options[i][0] = (struct hf_ids){.data = &q[i].right, .n = 1};
        options[i][1] = (struct hf_ids){.data = &q[i].wrong, .n = 1};
        requests[i] = (struct score_request){q[i].row.ids, q[i].at, options[i], 2};
        at[i] = scores[i];
    }
    CAI_TRY(engine_new(m, t, &o, &e));
    int rc = engine_score(e, requests, QUESTIONS, at);
    engine_free(e);
    if (rc == 0)
        count(q, scores, ret);
    return rc;
}

int exam_questions(const struct model *m, const struct hf_chat *chat, const struct hf_tokenizer *t,
                   uint64_t seed, struct exam_result *ret) {
    struct question questions[QUESTIONS] = {0};
    int rc = 0;
    for (size_t i = 0; i < QUESTIONS && rc == 0; i++)
        rc = ask(chat, t, seed, i, &questions[i]);
    if (rc == 0)
        rc = grade(m, t, questions, ret);
    for (size_t i = 0; i < QUESTIONS; i++)
        row_free(&questions[i].row);
    return rc;
}
