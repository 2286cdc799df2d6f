/* reward.c: see reward.h. */
#include "learn/reward.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* ---- reward.json -------------------------------------------------------------------- */

/* SHA-256 of score.weight in fp32; CAI_EINPUT when it is all zero. */
static int head_hash(const struct model *m, char ret[CAI_SHA256_HEX]) {
    if (m->head != MODEL_HEAD_SCALAR || m->score == NULL)
        return cai_fail(CAI_EINPUT, "there is no scalar head");
    int64_t n = ct_numel(m->score);
    CAI_AUTO(mem) float *w = cai_realloc(NULL, (size_t)n, sizeof *w);
    CAI_TRY(ct_read_f32(m->score, w, n));
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += (double)w[i] * w[i];
    if (!isfinite(square) || square == 0)
        return cai_fail(CAI_EINPUT, "the scalar head (score.weight) is %s",
                        square == 0 ? "all zero" : "not finite");
    cai_sha256(w, (size_t)n * sizeof *w, ret);
    return 0;
}

int reward_norm_save(const char *dir, const struct model *m, const struct reward_norm *norm) {
    char hash[CAI_SHA256_HEX];
    CAI_TRY(head_hash(m, hash));
    json_t *o = json_pack("{s:i, s:f, s:f, s:I, s:I, s:I, s:s}", "format", 1, "mean", norm->mean,
                          "std", norm->std, "replies", (json_int_t)norm->replies, "steps",
                          (json_int_t)norm->steps, "pairs", (json_int_t)norm->pairs, "head", hash);
    CAI_CHECK(o != NULL);
    if (isfinite(norm->accuracy))
        json_object_set_new(o, "accuracy", json_real(norm->accuracy));
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS);
    json_decref(o);
    CAI_AUTO(mem) char *path = cai_path_join(dir, "reward.json");
    return cai_file_write_atomic(path, text, strlen(text));
}

static int norm_parse(const char *path, const json_t *o, struct reward_norm *ret, char *ret_head) {
    const json_t *mean = json_object_get(o, "mean"), *std = json_object_get(o, "std");
    const char *head = json_string_value(json_object_get(o, "head"));
    if (!json_is_number(mean) || !json_is_number(std) || head == NULL || strlen(head) != 64)
        return cai_fail(CAI_EINPUT, "%s: it must have numbers mean and std, and head", path);
    *ret = (struct reward_norm){
        .mean = json_number_value(mean), .std = json_number_value(std),
        .replies = json_integer_value(json_object_get(o, "replies")),
        .steps = json_integer_value(json_object_get(o, "steps")),
        .pairs = json_integer_value(json_object_get(o, "pairs")), .accuracy = NAN};
    if (json_is_number(json_object_get(o, "accuracy")))
        ret->accuracy = json_number_value(json_object_get(o, "accuracy"));
    if (!(ret->std > 1e-8) || !isfinite(ret->std) || !isfinite(ret->mean) || ret->steps < 1)
        return cai_fail(CAI_EINPUT, "%s: scores with deviation %g after %lld steps: this model "
                        "was never trained, or gives every reply the same score", path, ret->std,
                        (long long)ret->steps);
    memcpy(ret_head, head, CAI_SHA256_HEX);
    return 0;
}

static int norm_load(const char *dir, struct reward_norm *ret, char *ret_head) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, "reward.json");
    CAI_AUTO(buf) struct cai_buf text = {0};
    json_error_t e;
    if (cai_file_read(path, 1 << 20, &text) < 0)
        return cai_fail_in("a preference model without its normalisation");
    json_t *o = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &e);
    int rc = json_is_object(o) ? norm_parse(path, o, ret, ret_head)
                               : cai_fail(CAI_EINPUT, "%s:%d: %s", path, e.line, e.text);
    json_decref(o);
    return rc;
}

/* ---- preference models in use ---------------------------------------------------------- */

int reward_model_load(const char *dir, struct reward_model *ret) {
    return reward_model_load_beside(dir, NULL, 0, ret);
}

int reward_model_load_beside(const char *dir, struct model *const *beside, size_t n,
                             struct reward_model *ret) {
    char trained[CAI_SHA256_HEX], found[CAI_SHA256_HEX];
    *ret = (struct reward_model){0};
    CAI_TRY(norm_load(dir, &ret->norm, trained));
    CAI_TRY(model_load_beside(dir, beside, n, &ret->m));
    int rc = head_hash(ret->m, found);
    if (rc == 0 && strcmp(trained, found) != 0)
        rc = cai_fail(CAI_EINPUT, "its head is not the one that was trained (SHA-256 %.12s…, "
                      "reward.json says %.12s…)", found, trained);
    if (rc < 0) {
        reward_model_free(ret);
        return cai_fail_in("preference model %s", dir);
    }
    return 0;
}

void reward_model_free(struct reward_model *r) {
    model_free(r->m);
    r->m = NULL;
}
