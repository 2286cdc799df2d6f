/* record_write.c: a record as a row of a published form. What a form cannot say is refused, so
 * that nothing is lost on the way. */
#include "input/record.h"
#include "base/error.h"
#include <string.h>

static const char *const style_names[STYLES] = {"caid", "trl", "trl-implicit", "trl-text",
                                                "messages", "hh"};

const char *record_style_name(enum record_style s) { return style_names[s]; }

static json_t *message(const char *role, const char *text) {
    return json_pack("{s:s, s:s}", "role", role, "content", text);
}

/* The prompt, followed by the reply unless it is NULL. */
static json_t *messages(const struct input_record *r, const char *reply) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(list, message(r->turns[i].role, r->turns[i].text));
    if (reply)
        json_array_append_new(list, message("assistant", reply));
    return list;
}

static json_t *completion(const char *reply) {
    json_t *list = json_array();
    json_array_append_new(list, message("assistant", reply));
    return list;
}

/* White space around a turn is not its text in this form: readers drop it. */
static void put_turn(struct cai_buf *out, const char *mark, const char *text) {
    size_t n;
    text += strspn(text, " \t\r\n");
    for (n = strlen(text); n > 0 && strchr(" \t\r\n", text[n - 1]);)
        n--;
    cai_buf_printf(out, "%s%s%.*s", mark, *mark && n ? " " : "", (int)n, text);
}

static json_t *transcript(const struct input_record *r, const char *reply) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    for (size_t i = 0; i < r->n; i++) {
        const char *role = r->turns[i].role;
        put_turn(&text,
                 strcmp(role, "system") == 0 ? ""
                 : strcmp(role, "user") == 0 ? "\n\nHuman:"
                                             : "\n\nAssistant:",
                 r->turns[i].text);
    }
    put_turn(&text, "\n\nAssistant:", reply);
    return cai_buf_status(&text) == 0 ? json_stringn(text.data, text.len) : NULL;
}

/* Whether a text stays one turn inside a transcript. */
static bool fits_transcript(const char *text) {
    return !strstr(text, "\n\nHuman:") && !strstr(text, "\n\nAssistant:") &&
           text[strspn(text, " \t\r\n")];
}

static bool all_fit(const struct input_record *r) {
    bool fit = (!r->a || fits_transcript(r->a)) && (!r->b || fits_transcript(r->b)) &&
               (!r->reply || fits_transcript(r->reply));
    for (size_t i = 0; i < r->n && fit; i++)
        fit = fits_transcript(r->turns[i].text);
    return fit;
}

static json_t *write_hh(const struct input_record *r, const char *a, const char *b) {
    if (!all_fit(r)) {
        cai_fail(CAI_EINPUT, "a turn is empty, or holds a speaker's mark, which a transcript cannot "
                             "carry");
        return NULL;
    }
    if (a)
        return json_pack("{s:o*, s:o*}", "chosen", transcript(r, a), "rejected", transcript(r, b));
    return json_pack("{s:o*}", "transcript", transcript(r, r->reply ? r->reply : ""));
}

static json_t *write_text(const struct input_record *r, const char *a, const char *b) {
    if (r->n != 1) {
        cai_fail(CAI_EINPUT, "it has %zu turns, and plain texts hold one; --to trl holds them all",
                 r->n);
        return NULL;
    }
    if (a)
        return json_pack("{s:s, s:s, s:s}", "prompt", r->turns[0].text, "chosen", a, "rejected", b);
    return json_pack("{s:s, s:s*}", "prompt", r->turns[0].text, "completion", r->reply);
}

static json_t *write_trl(const struct input_record *r, const char *a, const char *b) {
    json_t *prompt = messages(r, NULL);
    if (a)
        return json_pack("{s:o, s:o, s:o}", "prompt", prompt, "chosen", completion(a), "rejected",
                         completion(b));
    return json_pack("{s:o, s:o*}", "prompt", prompt, "completion",
                     r->reply ? completion(r->reply) : NULL);
}

static json_t *write_messages(const struct input_record *r, const char *a) {
    const char *reply = a ? a : r->reply;
    if (!reply)
        cai_fail(CAI_EINPUT, "it has no reply; --to trl and --to caid hold prompts alone");
    return reply ? json_pack("{s:o}", "messages", messages(r, reply)) : NULL;
}

static json_t *write_implicit(const struct input_record *r, const char *a, const char *b) {
    if (!a)
        return write_messages(r, NULL);
    return json_pack("{s:o, s:o}", "chosen", messages(r, a), "rejected", messages(r, b));
}

static json_t *write_caid(const struct input_record *r, const char *a, const char *b) {
    json_t *o = r->n == 1 ? json_pack("{s:s}", "prompt", r->turns[0].text)
                          : json_pack("{s:o}", "messages", messages(r, NULL));
    if (a) {
        json_object_set_new(o, "chosen", json_string(a));
        json_object_set_new(o, "rejected", json_string(b));
    } else if (r->reply) {
        json_object_set_new(o, "reply", json_string(r->reply));
    }
    return o;
}

/* Unknown members behind the form's own. */
static void add_rest(const struct input_record *r, enum record_style s, json_t *o) {
    const char *key;
    json_t *v;
    json_object_foreach(r->rest, key, v) {
        bool label = strcmp(key, "desirable") == 0 && (s == STYLE_TRL || s == STYLE_TEXT) && !r->a;
        if (!json_object_get(o, key))
            json_object_set(o, label ? "label" : key, v);
    }
}

json_t *record_write(const struct input_record *r, enum record_style s) {
    bool turned = r->a && r->p < 0.5;
    const char *a = turned ? r->b : r->a, *b = turned ? r->a : r->b;
    double p = turned ? 1 - r->p : r->p;
    json_t *o = NULL;
    switch (s) {
    case STYLE_HH: o = write_hh(r, a, b); break;
    case STYLE_TEXT: o = write_text(r, a, b); break;
    case STYLE_TRL: o = write_trl(r, a, b); break;
    case STYLE_IMPLICIT: o = write_implicit(r, a, b); break;
    case STYLE_MESSAGES: o = write_messages(r, a); break;
    default: o = write_caid(r, a, b); break;
    }
    if (!o)
        return NULL;
    if (a && p != 1 && s != STYLE_MESSAGES)
        json_object_set_new(o, "p", json_real(p));
    add_rest(r, s, o);
    return o;
}
