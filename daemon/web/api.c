/* api.c: what the pages' scripts may ask: one table, strict arguments, and the host's answer as
 * JSON. Nothing else of the host can be reached from a browser. */
#include "base/error.h"
#include "web/inside.h"
#include <string.h>

static const struct api table[] = {
    {"/api/jobs", "GET", "jobs", "", true},
    {"/api/workers", "GET", "workers", "", true},
    {"/api/progress", "GET", "progress", "id:i!", true},
    {"/api/report", "GET", "report", "id:i!", true},
    {"/api/curves", "GET", "curves", "id:i! after:i", true},
    {"/api/samples", "GET", "samples", "id:i! stage:s kind:s principle:s after:i limit:i", false},
    {"/api/logs", "GET", "logs", "id:i! after:i limit:i", true},
    {"/api/queue", "GET", "review.queue", "job:i", true},
    {"/api/item", "GET", "review.open", "id:i!", false},
    {"/api/review", "GET", "review.progress", "job:i", true},
    {"/api/first", "POST", "review.first", "id:i! verdict:o!", false},
    {"/api/draft", "POST", "review.draft", "id:i! version:i! draft:o!", false},
    {"/api/submit", "POST", "review.submit", "id:i! verdict:o!", false},
    {"/api/skip", "POST", "review.skip", "id:i! reason:s!", false},
    {"/api/undo", "POST", "review.undo", "", false},
    {"/api/leave", "POST", "leave", "", false},
    {0},
};

const struct api *api_find(const char *path, const char *method, bool *ret_other_method) {
    *ret_other_method = false;
    for (const struct api *a = table; a->path; a++) {
        if (strcmp(a->path, path) != 0)
            continue;
        if (strcmp(a->method, method) == 0)
            return a;
        *ret_other_method = true;
    }
    return NULL;
}

/* ---- arguments ----------------------------------------------------------------------------------- */

/* A query's words are text: those that are to be numbers are made so. */
static json_t *number_of(const char *text) {
    size_t n = strspn(text, "0123456789");
    return n > 0 && n <= 15 && text[n] == '\0' ? json_integer(atoll(text)) : json_null();
}

static bool fits(char type, const json_t *v) {
    return type == 'i'   ? json_is_integer(v) && json_integer_value(v) >= 0
           : type == 's' ? json_is_string(v)
                         : json_is_object(v);
}

/* Takes one argument of the table's words out of `given`. */
static int take(const char *name, const char *type, json_t *given, bool is_query, json_t *out) {
    json_t *v = json_object_get(given, name);
    if (!v && type[1] == '!')
        return cai_fail(CAI_EINPUT, "'%s' is missing", name);
    if (!v)
        return 0;
    v = is_query && type[0] == 'i' ? number_of(json_string_value(v)) : json_incref(v);
    if (!fits(type[0], v)) {
        json_decref(v);
        return cai_fail(CAI_EINPUT, "'%s' has the wrong type", name);
    }
    json_object_set_new(out, name, v);
    json_object_del(given, name);
    return 0;
}

static int take_all(const char *spec, json_t *given, bool is_query, json_t *out) {
    char words[128];
    CAI_CHECK(strlen(spec) < sizeof words);
    snprintf(words, sizeof words, "%s", spec);
    char *rest = words;
    for (char *word; (word = strsep(&rest, " "));) {
        char *colon = strchr(word, ':');
        if (!colon)
            continue; /* one without arguments */
        *colon = '\0';
        CAI_TRY(take(word, colon + 1, given, is_query, out));
    }
    if (json_object_size(given))
        return cai_fail(CAI_EINPUT, "there is an argument too many; known are: %s", *spec ? spec : "none");
    return 0;
}

static json_t *body_of(const struct web_request *q) {
    json_t *o = json_loadb(q->body ? q->body : "", q->len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(o))
        return o;
    json_decref(o);
    return NULL;
}

int api_args(const struct api *a, const struct web_request *q, json_t **ret) {
    bool is_query = strcmp(a->method, "GET") == 0;
    json_t *given = !is_query ? body_of(q) : q->query ? json_copy(q->query) : json_object();
    if (!given)
        return cai_fail(CAI_EINPUT, "the body is no JSON object");
    json_t *out = json_object();
    int rc = take_all(a->args, given, is_query, out);
    json_decref(given);
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}

/* ---- answers --------------------------------------------------------------------------------------- */

static int status_of(int code) {
    switch (code) {
    case CAI_EINPUT:
    case CAI_ELIMIT: return 400;
    case CAI_EAUTH: return 403;
    case CAI_ENOTFOUND: return 404;
    case CAI_ESTATE: return 409;
    case CAI_ENOSPC: return 507;
    default: return 500;
    }
}

static void put_json(struct web_reply *ret, json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text) { /* a text that is no UTF-8 cannot be JSON */
        ret->status = 500;
        text = cai_strdup("{\"error\":\"the answer cannot be written\"}");
    }
    cai_buf_puts(&ret->body, text);
    free(text);
}

static void fail(struct web_reply *ret, int code) {
    ret->status = status_of(code);
    put_json(ret, json_pack("{s:s}", "error", cai_error_text()));
}

void api_answer(struct web *w, const struct api *a, const struct web_person *who,
                const struct web_request *q, struct web_reply *ret) {
    json_t *args = NULL, *out = NULL;
    ret->status = 200;
    ret->type = "application/json";
    int rc = api_args(a, q, &args);
    if (rc < 0) {
        refusals_note(&w->refusals, REFUSED_BODY, q->method);
        fail(ret, rc);
        return;
    }
    rc = w->host.ask(w->host.of, who, a->what, args, &out);
    if (rc < 0) {
        json_decref(out);
        fail(ret, rc);
    } else {
        put_json(ret, out);
    }
    json_decref(args);
}
