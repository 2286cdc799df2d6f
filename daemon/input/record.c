/* record.c: tells a row's form by its keys and reads it. Turns are read by turns.c. */
#include "input/record.h"
#include "base/error.h"
#include <string.h>

static const char *const form_names[FORMS] = {"prompt",   "messages", "completion", "preference",
                                              "implicit", "hh",       "red-team",   "ab"};

const char *input_form_name(enum input_form f) { return form_names[f]; }

struct reader {
    struct input_at at;
    const json_t *row;
    struct input_record *r;
};

static bool has(const struct reader *o, const char *key) {
    const json_t *v = json_object_get(o->row, key);
    return v && !json_is_null(v);
}

static bool wrong(const struct reader *o, const char *path, const char *help, const char *what) {
    input_report_add(o->at.report, o->at.line,
                     path ? input_column(o->at.report, o->at.line, path) : 1, "D006", help, "%s",
                     what);
    return false;
}

static bool missing(const struct reader *o, const char *help, const char *what) {
    input_report_add(o->at.report, o->at.line, 1, "D005", help, "%s", what);
    return false;
}

/* ---- prompts -------------------------------------------------------------------------------- */

static bool ends_with(const struct input_turns *t, const char *role) {
    return t->n && strcmp(t->at[t->n - 1].role, role) == 0;
}

/* Turns to the record; a last one of the assistant's is the reply. */
static bool keep_turns(const struct reader *o, struct input_turns t, const char *path) {
    if (ends_with(&t, "assistant"))
        o->r->reply = t.at[--t.n].text;
    if (!ends_with(&t, "user"))
        return wrong(o, path, "add the user's turn",
                     "the conversation has no user turn to reply to");
    o->r->turns = t.at;
    o->r->n = t.n;
    return true;
}

/* Sets of questions with answers call it so. */
static const char *prompt_key(const struct reader *o) {
    return !json_object_get(o->row, "prompt") && has(o, "question") ? "question" : "prompt";
}

static bool read_prompt(const struct reader *o) {
    const char *key = prompt_key(o);
    const json_t *prompt = json_object_get(o->row, key);
    struct input_turns t;
    if (json_is_array(prompt))
        return input_turns_list(&o->at, prompt, key, false, &t) && keep_turns(o, t, key);
    const char *text = input_text(o->row, key, true, o->at.line, o->at.report);
    if (!text)
        return false;
    if (input_is_transcript(text))
        return input_turns_transcript(&o->at, text, key, true, &t) && keep_turns(o, t, key);
    o->r->turns = cai_arena_array(&o->r->arena, 1, sizeof *o->r->turns);
    o->r->turns[0] = (struct input_turn){"user", text};
    o->r->n = 1;
    return true;
}

static bool read_conversation(const struct reader *o) {
    struct input_turns t;
    const json_t *prompt = json_object_get(o->row, prompt_key(o));
    if (!prompt == !json_object_get(o->row, "messages"))
        return missing(o, "give one of the two",
                       prompt
                           ? "both \"prompt\" and \"messages\""
                           : "missing member \"prompt\" or \"messages\"");
    if (!json_object_get(o->row, "messages"))
        return read_prompt(o);
    return input_turns_list(&o->at, json_object_get(o->row, "messages"), "messages", false, &t) &&
           keep_turns(o, t, "messages");
}

/* ---- replies -------------------------------------------------------------------------------- */

/* A reply after an explicit prompt: text, or a list of one message of the assistant. */
static const char *read_reply(const struct reader *o, const char *key) {
    const json_t *v = json_object_get(o->row, key);
    struct input_turns t;
    if (!json_is_array(v))
        return input_text(o->row, key, true, o->at.line, o->at.report);
    if (!input_turns_list(&o->at, v, key, true, &t))
        return NULL;
    if (t.n == 1 && ends_with(&t, "assistant"))
        return t.at[0].text;
    CAI_AUTO(mem) char *what = cai_format("\"%s\" must be one message of the assistant", key);
    wrong(o, key, "put the turns before it into \"prompt\"", what);
    return NULL;
}

static bool keep_pair(const struct reader *o, const char *a, const char *b, const char *path_b) {
    if (!a || !b)
        return false;
    if (strcmp(a, b) == 0)
        return wrong(o, path_b, "a comparison needs two replies", "the two replies are the same");
    o->r->a = a;
    o->r->b = b;
    return true;
}

static bool read_p(const struct reader *o, bool required) {
    const json_t *v = json_object_get(o->row, "p");
    o->r->p = 1;
    if (!v && !required)
        return true;
    if (!v)
        return missing(o, "p is P(a is better)", "missing member \"p\"");
    o->r->p = json_number_value(v);
    if (!json_is_number(v) || !(o->r->p >= 0 && o->r->p <= 1))
        return wrong(o, "p", "p is P(a is better)", "\"p\" must be a number from 0 to 1");
    return true;
}

static bool read_explicit(const struct reader *o) {
    bool ab = o->r->form == FORM_AB;
    if (!read_conversation(o) || !read_p(o, ab))
        return false;
    const char *a = read_reply(o, ab ? "a" : "chosen"), *b = read_reply(o, ab ? "b" : "rejected");
    return keep_pair(o, a, b, ab ? "b" : "rejected");
}

/* ---- pairs whose prompt is what both begin with ----------------------------------------------- */

static bool same_turn(const struct input_turn *x, const struct input_turn *y) {
    return strcmp(x->role, y->role) == 0 && strcmp(x->text, y->text) == 0;
}

static bool split_shared(const struct reader *o, const struct input_turns *x,
                         const struct input_turns *y) {
    size_t shared = 0;
    while (shared < x->n && shared < y->n && same_turn(&x->at[shared], &y->at[shared]))
        shared++;
    if (x->n == y->n && shared == x->n)
        return wrong(o, "rejected", "a comparison needs two replies",
                     "\"chosen\" and \"rejected\" are the same");
    if (x->n != y->n || shared + 1 != x->n) {
        CAI_AUTO(mem) char *what =
            cai_format("\"chosen\" and \"rejected\" part at turn %zu, before the last reply",
                       shared + 1);
        return wrong(o, "rejected", "two replies are compared after the same turns", what);
    }
    if (!ends_with(x, "assistant") || !ends_with(y, "assistant"))
        return wrong(o, "chosen", "end both with the assistant's reply",
                     "\"chosen\" and \"rejected\" must end with the assistant");
    o->r->a = x->at[shared].text;
    o->r->b = y->at[shared].text;
    struct input_turns prompt = {x->at, shared};
    return keep_turns(o, prompt, "chosen");
}

/* Plain texts: the prompt is what both begin with, cut back to where a word begins, so that no
 * word is torn. (TRL's extract_prompt cuts at the character.) */
static bool split_texts(const struct reader *o, const char *x, const char *y) {
    size_t same = 0;
    while (x[same] && x[same] == y[same])
        same++;
    if (!x[same] && !y[same])
        return wrong(o, "rejected", "a comparison needs two replies",
                     "\"chosen\" and \"rejected\" are the same");
    while (same > 0 && !strchr(" \t\r\n", x[same - 1]))
        same--;
    const char *a = x + same, *b = y + same;
    while (same > 0 && strchr(" \t\r\n", x[same - 1]))
        same--;
    if (same == 0)
        return missing(o, "give \"prompt\", or let both begin with it",
                       "missing member \"prompt\", and the replies begin with no common words");
    if (!a[strspn(a, " \t\r\n")] || !b[strspn(b, " \t\r\n")])
        return wrong(o, "rejected", "give \"prompt\" and two replies",
                     "one reply is only the beginning of the other");
    o->r->turns = cai_arena_array(&o->r->arena, 1, sizeof *o->r->turns);
    o->r->turns[0] = (struct input_turn){"user", cai_arena_strndup(&o->r->arena, x, same)};
    o->r->n = 1;
    return keep_pair(o, a, b, "rejected");
}

static bool read_implicit(const struct reader *o) {
    const json_t *chosen = json_object_get(o->row, "chosen");
    const json_t *rejected = json_object_get(o->row, "rejected");
    struct input_turns x, y;
    if (!read_p(o, false))
        return false;
    if (json_is_array(chosen) && json_is_array(rejected))
        return input_turns_list(&o->at, chosen, "chosen", false, &x) &&
               input_turns_list(&o->at, rejected, "rejected", false, &y) && split_shared(o, &x, &y);
    const char *a = input_text(o->row, "chosen", true, o->at.line, o->at.report);
    const char *b = input_text(o->row, "rejected", true, o->at.line, o->at.report);
    if (!a || !b)
        return false;
    if (o->r->form != FORM_HH)
        return split_texts(o, a, b);
    return input_turns_transcript(&o->at, a, "chosen", false, &x) &&
           input_turns_transcript(&o->at, b, "rejected", false, &y) && split_shared(o, &x, &y);
}

/* ---- a row -------------------------------------------------------------------------------- */

static enum input_form tell_form(const struct reader *o) {
    const json_t *chosen = json_object_get(o->row, "chosen");
    const json_t *first = json_object_get(json_array_get(chosen, 0), "role");
    const char *text = json_string_value(chosen), *role = json_string_value(first);
    if (has(o, "chosen") || has(o, "rejected")) {
        /* Some hubs' sets give the prompt, and again the whole conversation in both. */
        bool whole = json_array_size(chosen) > 1 && role && strcmp(role, "assistant") != 0;
        if (!whole && (has(o, "prompt") || has(o, "messages")))
            return FORM_PREFERENCE;
        return text && input_is_transcript(text) ? FORM_HH : FORM_IMPLICIT;
    }
    if (has(o, "a") && has(o, "b"))
        return FORM_AB;
    if (has(o, "transcript"))
        return FORM_RED_TEAM;
    if (has(o, "completion"))
        return FORM_COMPLETION;
    return json_object_get(o->row, "messages") ? FORM_MESSAGES : FORM_PROMPT;
}

static bool read_form(const struct reader *o) {
    struct input_turns t;
    switch (o->r->form) {
    case FORM_PREFERENCE:
    case FORM_AB:
        return read_explicit(o);
    case FORM_IMPLICIT:
    case FORM_HH:
        return read_implicit(o);
    case FORM_RED_TEAM: {
        const char *text = input_text(o->row, "transcript", true, o->at.line, o->at.report);
        return text && input_turns_transcript(&o->at, text, "transcript", true, &t) &&
               keep_turns(o, t, "transcript");
    }
    case FORM_COMPLETION:
        return read_conversation(o) && (o->r->reply = read_reply(o, "completion"));
    default: {
        size_t before = o->at.report->errors + o->at.report->warnings;
        const char *reply = NULL;
        if (!read_conversation(o))
            return false;
        reply = input_text(o->row, "reply", false, o->at.line, o->at.report);
        o->r->reply = reply ? reply : o->r->reply;
        return o->at.report->errors + o->at.report->warnings == before;
    }
    }
}

/* TRL's label of an unpaired completion says that it is good; a classifier's row says with the
 * same word that it is harmful. They must not be taken for each other. */
static void keep_rest(const struct reader *o) {
    static const char *const used[] = {"prompt", "messages",   "chosen",     "rejected", "a",
                                       "b",      "completion", "transcript", "reply",    "p"};
    json_t *rest = json_copy((json_t *)o->row);
    bool pair = o->r->a != NULL;
    for (size_t i = 0; i < CAI_COUNT(used); i++)
        if (pair || strcmp(used[i], "p") != 0)
            json_object_del(rest, used[i]);
    if (!json_object_get(o->row, "messages") && strcmp(prompt_key(o), "question") == 0)
        json_object_del(rest, "question");
    json_t *label = json_object_get(rest, "label");
    if (o->r->form == FORM_COMPLETION && label) {
        json_object_set(rest, "desirable", label);
        json_object_del(rest, "label");
    }
    o->r->rest = rest;
}

int input_record(const json_t *row, size_t line, struct input_report *report,
                 struct input_record *ret) {
    *ret = (struct input_record){.p = 1};
    struct reader o = {{report, line, &ret->arena}, row, ret};
    const json_t *id = json_object_get(row, "id");
    ret->form = tell_form(&o);
    bool good = !id || json_is_null(id) || json_is_string(id) || json_is_integer(id);
    if (!good)
        wrong(&o, "id", NULL, "\"id\" must be text or a whole number");
    if (good && read_form(&o)) {
        ret->id = json_string_value(id);
        keep_rest(&o);
        return CAI_OK;
    }
    input_record_free(ret);
    return cai_fail(CAI_EINPUT, "line %zu cannot be used", line);
}

void input_record_free(struct input_record *r) {
    if (!r)
        return;
    json_decref(r->rest);
    cai_arena_free(&r->arena);
    *r = (struct input_record){0};
}
