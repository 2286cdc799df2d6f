/* post.c: TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence and none, for
 * one text (never a pair). Not for chat formats (chat.c). */
#include "hf/post.h"
#include "hf/json.h"
#include "hf/vocab.h"
#include "base/error.h"
#include <string.h>

#define MAX_AROUND 256

static int push_special(const char *path, const json_t *item, const json_t *table,
                        struct hf_ids *to) {
    const char *name;
    CAI_TRY(hf_json_string(path, item, "id", &name));
    const json_t *ids = json_object_get(json_object_get(table, name), "ids");
    if (json_array_size(ids) == 0 || json_array_size(ids) > MAX_AROUND)
        return cai_fail(CAI_EINPUT, "%s: post_processor: special_tokens lacks the ids of \"%.64s\"",
                        path, name);
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)ids, i, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= HF_MAX_ID)
            return cai_fail(CAI_EINPUT, "%s: post_processor: an id of \"%.64s\" is not a token id",
                            path, name);
        hf_ids_push(to, (int32_t)id);
    }
    return 0;
}

/* A later processor wraps what the earlier ones made. Takes what `own` has. */
static void wrap(struct hf_post *p, struct hf_post *own) {
    for (size_t k = 0; k < p->before.n; k++)
        hf_ids_push(&own->before, p->before.data[k]);
    for (size_t k = 0; k < own->after.n; k++)
        hf_ids_push(&p->after, own->after.data[k]);
    hf_ids_free(&p->before);
    p->before = own->before;
    hf_ids_free(&own->after);
}

static int load_template(const char *path, const json_t *o, struct hf_post *p) {
    const json_t *single = json_object_get(o, "single");
    const json_t *table = json_object_get(o, "special_tokens");
    if (!json_is_array(single) || json_array_size(single) > MAX_AROUND)
        return cai_fail(CAI_EINPUT,
                        "%s: post_processor TemplateProcessing: single must be a list, "
                        "found %s",
                        path, hf_json_kind(single));
    struct hf_post own = {0};
    bool seen = false;
    int rc = 0;
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)single, i, v) {
        const json_t *special = json_object_get(v, "SpecialToken");
        bool text = json_is_object(json_object_get(v, "Sequence"));
        if (rc == 0 && special)
            rc = push_special(path, special, table, seen ? &own.after : &own.before);
        else if (rc == 0 && (!text || seen))
            rc = cai_fail(CAI_EINPUT,
                          "%s: post_processor TemplateProcessing: single must hold "
                          "SpecialToken items and one Sequence",
                          path);
        seen |= text;
    }
    if (rc == 0 && !seen)
        rc = cai_fail(CAI_EINPUT, "%s: post_processor TemplateProcessing: single has no Sequence",
                      path);
    wrap(p, &own);
    return rc;
}

/* "cls" text "sep", each of them [token, id]. */
static int load_pair(const char *path, const char *type, const json_t *o, struct hf_post *p) {
    static const char *const keys[] = {"cls", "sep"};
    struct hf_post own = {0};
    for (int i = 0; i < 2; i++) {
        const json_t *id = json_array_get(json_object_get(o, keys[i]), 1);
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || v >= HF_MAX_ID) {
            hf_post_free(&own);
            return cai_fail(CAI_EINPUT, "%s: post_processor %s: %s must be [token, id]", path, type,
                            keys[i]);
        }
        hf_ids_push(i ? &own.after : &own.before, (int32_t)v);
    }
    wrap(p, &own);
    return 0;
}

static int load_one(const char *path, const json_t *o, struct hf_post *p, int depth) {
    const char *type;
    if (!json_is_object(o))
        return cai_fail(CAI_EINPUT, "%s: post_processor must be an object or null, found %s", path,
                        hf_json_kind(o));
    CAI_TRY(hf_json_string(path, o, "type", &type));
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* it only moves offsets */
    if (p->before.n + p->after.n > MAX_AROUND || depth > 16)
        return cai_fail(CAI_ELIMIT, "%s: post_processor adds too many tokens", path);
    if (strcmp(type, "TemplateProcessing") == 0)
        return load_template(path, o, p);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return load_pair(path, type, o, p);
    if (strcmp(type, "Sequence") != 0)
        return cai_fail(CAI_EINPUT,
                        "%s: post_processor \"%.32s\" is not supported; expected "
                        "TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, a "
                        "Sequence of these, or null",
                        path, type);
    const json_t *list = json_object_get(o, "processors");
    if (!json_is_array(list))
        return cai_fail(CAI_EINPUT,
                        "%s: post_processor Sequence: processors must be a list, found "
                        "%s",
                        path, hf_json_kind(list));
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)list, i, v) CAI_TRY(load_one(path, v, p, depth + 1));
    return 0;
}

int hf_post_load(const char *path, const json_t *o, struct hf_post *ret) {
    return !o || json_is_null(o) ? 0 : load_one(path, o, ret, 0);
}

void hf_post_free(struct hf_post *p) {
    hf_ids_free(&p->before);
    hf_ids_free(&p->after);
}
