/* pages_review.c: what the review page asks: the functions of review.h, for the person whose session
 * it is. Not for `caictl review` (review.c), which asks the same ones. */
#include "control/pages.h"
#include "control/review_wake.h"

static const json_t *object(const struct page_asking *q, const char *name) {
    return json_object_get(q->args, name);
}

static int ask_queue(const struct page_asking *q, json_t **ret) {
    return review_queue(q->run->store, &q->reader, page_integer(q, "job"), ret);
}
static int ask_item(const struct page_asking *q, json_t **ret) {
    return review_open(q->run->store, &q->reader, page_integer(q, "id"), ret);
}
static int ask_progress(const struct page_asking *q, json_t **ret) {
    return review_progress(q->run->store, &q->reader, page_integer(q, "job"), ret);
}
static int ask_first(const struct page_asking *q, json_t **ret) {
    return review_first(q->run->store, &q->reader, page_integer(q, "id"), object(q, "verdict"), ret);
}
static int ask_draft(const struct page_asking *q, json_t **ret) {
    return review_draft(q->run->store, &q->reader, page_integer(q, "id"), page_integer(q, "version"),
                        object(q, "draft"), ret);
}
/* A verdict may be the one that a job waits for. */
static int changed(const struct page_asking *q, int rc) {
    if (rc == 0)
        review_wake(q->run);
    return rc;
}
static int ask_submit(const struct page_asking *q, json_t **ret) {
    return changed(q, review_submit(q->run->store, &q->reader, page_integer(q, "id"),
                                    object(q, "verdict"), ret));
}
static int ask_skip(const struct page_asking *q, json_t **ret) {
    return changed(q, review_skip(q->run->store, &q->reader, page_integer(q, "id"),
                                  json_string_value(object(q, "reason")), ret));
}
static int ask_undo(const struct page_asking *q, json_t **ret) {
    return changed(q, review_undo(q->run->store, &q->reader, NULL, NULL, ret));
}

const struct page_question review_questions[] = {
    {"review.queue", ACT_REVIEW, ask_queue},       {"review.open", ACT_REVIEW, ask_item},
    {"review.progress", ACT_REVIEW, ask_progress}, {"review.first", ACT_REVIEW, ask_first},
    {"review.draft", ACT_REVIEW, ask_draft},     {"review.submit", ACT_REVIEW, ask_submit},
    {"review.skip", ACT_REVIEW, ask_skip},       {"review.undo", ACT_REVIEW, ask_undo},
    {0},
};
