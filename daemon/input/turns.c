/* turns.c: messages and transcripts → turns. Which members hold them is record.c's. */
#include "input/turns.h"
#include "base/error.h"
#include <string.h>

enum { TURNS_MAX = 10000 };

static bool blank(const char *s) { return s[strspn(s, " \t\r\n")] == '\0'; }

const char *input_text_value(const json_t *v, const char *path, size_t line,
                             struct input_report *report) {
    const char *text = json_string_value(v);
    if (text && !blank(text))
        return text;
    input_report_add(report, line, input_column(report, line, path), "D006", NULL,
                     "\"%s\" must be %stext", path, text ? "non-empty " : "");
    return NULL;
}

const char *input_text(const json_t *row, const char *key, bool required, size_t line,
                       struct input_report *report) {
    const json_t *v = json_object_get(row, key);
    if (v && !json_is_null(v))
        return input_text_value(v, key, line, report);
    if (required)
        input_report_add(report, line, 1, "D005", NULL, "missing member \"%s\"", key);
    return NULL;
}

static bool wrong(const struct input_at *o, const char *path, const char *help, const char *what) {
    input_report_add(o->report, o->line, input_column(o->report, o->line, path), "D006", help, "%s",
                     what);
    return false;
}

/* ---- lists of messages ------------------------------------------------------------------ */

static bool read_message(const struct input_at *o, const json_t *m, const char *path, size_t i,
                         struct input_turn *ret) {
    const char *role = json_string_value(json_object_get(m, "role"));
    const char *key = json_object_get(m, "content") ? "content" : "text";
    const json_t *v = json_object_get(m, key);
    bool known = role && (!strcmp(role, "user") || !strcmp(role, "assistant") ||
                          (!strcmp(role, "system") && i == 0));
    CAI_AUTO(mem) char *of_role = cai_format("%s.%zu.role", path, i);
    CAI_AUTO(mem) char *of_text = cai_format("%s.%zu.%s", path, i, key);
    if (!known) {
        CAI_AUTO(mem) char *what = cai_format("message %zu has %s%.40s", i + 1,
                                              role ? "the role " : "no role", role ? role : "");
        return wrong(o, of_role, "roles are user, assistant, and system for the first", what);
    }
    if (!v) {
        input_report_add(o->report, o->line, input_column(o->report, o->line, of_text), "D005",
                         "write {\"role\": …, \"content\": …}", "message %zu has no \"content\"",
                         i + 1);
        return false;
    }
    *ret = (struct input_turn){role, input_text_value(v, of_text, o->line, o->report)};
    return ret->text != NULL;
}

static bool check_order(const struct input_at *o, const struct input_turns *t, const char *path,
                        bool reply) {
    size_t start = t->n && strcmp(t->at[0].role, "system") == 0;
    for (size_t i = start; i < t->n; i++)
        if (strcmp(t->at[i].role, (i - start + reply) % 2 ? "assistant" : "user") != 0) {
            CAI_AUTO(mem) char *at = cai_format("%s.%zu", path, i);
            CAI_AUTO(mem) char *what =
                cai_format("message %zu is out of turn: %s", i + 1, t->at[i].role);
            return wrong(o, at, "begin with the user, then alternate", what);
        }
    return true;
}

bool input_turns_list(const struct input_at *o, const json_t *list, const char *path, bool reply,
                      struct input_turns *ret) {
    size_t n = json_array_size(list);
    *ret = (struct input_turns){0};
    if (n == 0 || n > TURNS_MAX) {
        CAI_AUTO(mem) char *what =
            cai_format("\"%s\" must be a list of 1 to 10,000 messages", path);
        return wrong(o, path, "write [{\"role\": …, \"content\": …}, …]", what);
    }
    ret->at = cai_arena_array(o->arena, n, sizeof *ret->at);
    for (; ret->n < n; ret->n++)
        if (!read_message(o, json_array_get(list, ret->n), path, ret->n, &ret->at[ret->n]))
            return false;
    return check_order(o, ret, path, reply);
}

/* ---- transcripts ------------------------------------------------------------------------ */

static const struct speaker {
    const char *mark, *role;
} speakers[] = {{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}};

/* The next mark at or after s, or NULL. */
static const char *next_mark(const char *s, const struct speaker **ret) {
    const char *first = NULL;
    for (size_t i = 0; i < CAI_COUNT(speakers); i++) {
        const char *at = strstr(s, speakers[i].mark);
        if (at && (!first || at < first)) {
            first = at;
            *ret = &speakers[i];
        }
    }
    return first;
}

bool input_is_transcript(const char *text) {
    for (size_t i = 0; i < CAI_COUNT(speakers); i++)
        if (strncmp(text, speakers[i].mark, strlen(speakers[i].mark)) == 0)
            return true;
    return false;
}

static const char *trimmed(struct cai_arena *a, const char *s, const char *end) {
    s += strspn(s, " \t\r\n");
    while (end > s && strchr(" \t\r\n", end[-1]))
        end--;
    return cai_arena_strndup(a, s, end > s ? (size_t)(end - s) : 0);
}

static size_t count_marks(const char *s) {
    const struct speaker *who;
    size_t n = 0;
    for (; (s = next_mark(s, &who)); s += strlen(who->mark))
        n++;
    return n;
}

static bool check_turns(const struct input_at *o, const struct input_turns *t, const char *path) {
    size_t start = t->n && strcmp(t->at[0].role, "system") == 0;
    for (size_t i = start; i < t->n; i++) {
        bool user = strcmp(t->at[i].role, "user") == 0;
        CAI_AUTO(mem) char *what =
            cai_format(*t->at[i].text ? "\"%s\": turn %zu is out of turn: %s again"
                                      : "\"%s\": turn %zu, of the %s, is empty",
                       path, i + 1 - start, user ? "Human" : "Assistant");
        if (!*t->at[i].text || user != ((i - start) % 2 == 0))
            return wrong(o, path, "turns alternate, and the Human begins", what);
    }
    return true;
}

bool input_turns_transcript(const struct input_at *o, const char *text, const char *path, bool open,
                            struct input_turns *ret) {
    const struct speaker *who = NULL, *then = NULL;
    size_t marks = count_marks(text);
    const char *at = next_mark(text, &who);
    *ret = (struct input_turns){0};
    if (!at || marks > TURNS_MAX) {
        CAI_AUTO(mem) char *what =
            cai_format(at ? "\"%s\" has more than 10,000 turns" : "\"%s\" is no transcript", path);
        return wrong(o, path, "write \"\\n\\nHuman: …\\n\\nAssistant: …\"", what);
    }
    ret->at = cai_arena_array(o->arena, marks + 1, sizeof *ret->at);
    const char *system = trimmed(o->arena, text, at);
    if (*system)
        ret->at[ret->n++] = (struct input_turn){"system", system};
    while (at) {
        const char *from = at + strlen(who->mark), *end = next_mark(from, &then);
        ret->at[ret->n++] = (struct input_turn){
            who->role, trimmed(o->arena, from, end ? end : from + strlen(from))};
        at = end;
        who = then;
    }
    const struct input_turn *last = &ret->at[ret->n - 1];
    if (open && ret->n > 1 && !*last->text && strcmp(last->role, "assistant") == 0)
        ret->n--;
    return check_turns(o, ret, path);
}
