/* evalset.c: see evalset.h. */
#include "input/evalset.h"

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "input/jsonl.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 256 << 20, OPTIONS_MAX = 1000 };

/* How a BIG-bench task writes its questions. */
struct form {
    const char *task, *in, *out, *choice;
    bool append;
};
static const struct form as_it_is = {"", "", "", "", false};

struct reader {
    struct evalset *set;
    struct input_report *report;
    const struct form *form;
    size_t line;
};

static bool wrong(const struct reader *r, const char *key, const char *help, const char *what) {
    input_report_add(r->report, r->line, key ? input_column(r->report, r->line, key) : 1,
                     key ? "D006" : "D005", help, "%s", what);
    return false;
}

static const char *first_of(const json_t *row, const char *const *keys, const json_t **ret) {
    for (; *keys; keys++)
        if ((*ret = json_object_get(row, *keys)))
            return *keys;
    return NULL;
}

/* ---- the question -------------------------------------------------------------------------- */
static bool is_text(const json_t *v) {
    return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

static json_t *one_turn(const char *text) {
    return json_pack("[{s:s, s:s}]", "role", "user", "content", text);
}

static bool turns_good(const json_t *list) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) if (!is_text(json_object_get(m, "role")) ||
                                       !is_text(json_object_get(m, "content"))) return false;
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    return last && strcmp(json_string_value(json_object_get(last, "role")), "user") == 0;
}

static bool read_question(const struct reader *r, const json_t *row, struct evalset_item *q) {
    static const char *const keys[] = {"prompt", "input", "question", "messages", NULL};
    const json_t *v = NULL;
    const char *key = first_of(row, keys, &v);
    if (!key)
        return wrong(r, NULL, "or \"input\", \"question\", \"messages\"; or \"text\" alone",
                     "missing member \"prompt\"");
    if (json_is_array(v) && turns_good(v)) {
        const json_t *last = json_array_get(v, json_array_size(v) - 1);
        q->messages = json_deep_copy(v);
        q->text = cai_strdup(json_string_value(json_object_get(last, "content")));
        return true;
    }
    if (!is_text(v) || !json_string_length(v))
        return wrong(r, key, "messages are {\"role\", \"content\"} and end with the user",
                     "the question must be a text, or messages");
    q->messages = one_turn(json_string_value(v));
    q->text = cai_strdup(json_string_value(v));
    return true;
}

/* ---- the options --------------------------------------------------------------------------- */
static void add_option(struct evalset_item *q, const char *text, double score) {
    q->options = cai_realloc(q->options, q->n + 1, sizeof *q->options);
    q->scores = cai_realloc(q->scores, q->n + 1, sizeof *q->scores);
    q->options[q->n] = cai_strdup(text);
    q->scores[q->n++] = score;
}

static bool read_scores(const struct reader *r, const json_t *scores, struct evalset_item *q) {
    const char *option;
    json_t *score;
    if (!json_is_object(scores))
        return wrong(r, "target_scores", "{option: score}", "\"target_scores\" must be an object");
    json_object_foreach((json_t *)scores, option, score) {
        if (!json_is_number(score) || !*option)
            return wrong(r, "target_scores", "1 is right, 0 is wrong",
                         "\"target_scores\" must give each option a number");
        add_option(q, option, json_number_value(score));
    }
    return true;
}

static bool read_behaviours(const json_t *row, struct evalset_item *q) {
    const json_t *a = json_object_get(row, "answer_matching_behavior");
    const json_t *b = json_object_get(row, "answer_not_matching_behavior");
    if (!is_text(a) || !is_text(b))
        return false;
    add_option(q, json_string_value(a), 1);
    add_option(q, json_string_value(b), 0);
    return true;
}

/* The option that an answer names: by its text, by its number from 0, by its letter. */
static size_t named(const json_t *answer, const json_t *list) {
    size_t n = json_array_size(list);
    const char *text = json_string_value(answer);
    for (size_t i = 0; text && i < n; i++)
        if (strcmp(text, json_string_value(json_array_get(list, i))) == 0)
            return i;
    if (json_is_integer(answer) && json_integer_value(answer) >= 0)
        return (size_t)json_integer_value(answer);
    bool letter = text && isupper((unsigned char)text[0]) && !text[1];
    return letter ? (size_t)(text[0] - 'A') : n;
}

static bool read_list(const struct reader *r, const json_t *list, const char *key,
                      const json_t *answer, struct evalset_item *q) {
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o) if (!is_text(o) || !json_string_length(o)) return wrong(
        r, key, NULL, "each option must be a text");
    size_t right = named(answer, list);
    if (right >= json_array_size(list))
        return wrong(r, "answer", "the option's text, its number from 0, or its letter",
                     "the answer is none of the options");
    json_array_foreach(list, i, o) add_option(q, json_string_value(o), i == right);
    return true;
}

/* One right text, or a list of texts that are: the first is taken. */
static bool read_open(const struct reader *r, const json_t *answer, struct evalset_item *q) {
    const json_t *one = json_is_array(answer) ? json_array_get(answer, 0) : answer;
    if (!is_text(one) || !json_string_length(one))
        return wrong(r, json_is_array(answer) ? "target" : NULL,
                     "\"target_scores\", or \"options\" with \"answer\", or \"target\"",
                     "there is nothing to choose from, and no text as target");
    add_option(q, json_string_value(one), 1);
    q->kind = EVALSET_OPEN;
    return true;
}

static bool check_options(const struct reader *r, const struct evalset_item *q) {
    double best = 0;
    if (q->kind != EVALSET_CHOICE)
        return true;
    if (q->n < 2 || q->n > OPTIONS_MAX)
        return wrong(r, NULL, "give two at least", "there is nothing to choose from");
    for (size_t i = 0; i < q->n; i++)
        best = q->scores[i] > best ? q->scores[i] : best;
    if (best <= 0)
        return wrong(r, NULL, "give the right one a score above 0", "no option is right");
    for (size_t i = 0; i < q->n; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(q->options[i], q->options[j]) == 0)
                return wrong(r, NULL, "options must differ", "two options are the same");
    return true;
}

static bool read_options(const struct reader *r, const json_t *row, struct evalset_item *q) {
    static const char *const lists[] = {"options", "choices", NULL};
    static const char *const answers[] = {"target", "answer", NULL};
    const json_t *scores = json_object_get(row, "target_scores"), *list = NULL, *answer = NULL;
    const char *key = first_of(row, lists, &list);
    first_of(row, answers, &answer);
    bool good = scores                                       ? read_scores(r, scores, q)
                : json_object_get(row, "answer_matching_behavior")
                    ? read_behaviours(row, q) ||
                          wrong(r, "answer_matching_behavior", NULL, "both answers must be texts")
                : json_is_array(list) ? read_list(r, list, key, answer, q)
                                      : read_open(r, answer, q);
    return good && check_options(r, q);
}

/* ---- one row ------------------------------------------------------------------------------- */
static void item_free(struct evalset_item *q) {
    for (size_t i = 0; i < q->n; i++)
        free(q->options[i]);
    free(q->options);
    free(q->scores);
    free(q->text);
    json_decref(q->messages);
    *q = (struct evalset_item){0};
}

/* The question as the task's own words have it. */
static void put_form(const struct form *f, struct evalset_item *q) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    if (f == &as_it_is)
        return;
    cai_buf_printf(&b, "%s%s%s", f->task, f->in, q->text);
    for (size_t i = 0; f->append && i < q->n; i++)
        cai_buf_printf(&b, "%s%s", f->choice, q->options[i]);
    cai_buf_puts(&b, f->out);
    free(q->text);
    q->text = cai_buf_detach(&b);
}

static void read_row(struct reader *r, const json_t *row) {
    struct evalset *s = r->set;
    struct evalset_item q = {.kind = EVALSET_CHOICE, .line = r->line};
    const json_t *text = json_object_get(row, "text");
    bool good;
    if (json_object_size(row) && is_text(text) && json_string_length(text) &&
        !json_object_get(row, "options")) {
        q.kind = EVALSET_TEXT;
        q.text = cai_strdup(json_string_value(text));
        good = true;
    } else {
        good = read_question(r, row, &q) && read_options(r, row, &q);
        if (good)
            put_form(r->form, &q);
    }
    if (!good) {
        s->bad++;
        item_free(&q);
        return;
    }
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 256;
        s->at = cai_realloc(s->at, s->cap, sizeof *s->at);
    }
    s->at[s->n++] = q;
}

/* ---- a JSON file ---------------------------------------------------------------------------- */
static const char *text_or(const json_t *o, const char *key, const char *otherwise) {
    const json_t *v = json_object_get(o, key);
    return is_text(v) ? json_string_value(v) : otherwise;
}

/* Where each element of "examples" begins: one pass over a text that is known to be JSON. */
static void lines_of(const char *s, size_t len, size_t *line, size_t n) {
    size_t depth = 0, found = 0, at = 1;
    bool quoted = false;
    const char *list = memmem(s, len, "\"examples\"", 10);
    for (const char *p = s; p < s + len && found < n; p++) {
        at += *p == '\n';
        if (p < list)
            continue;
        if (quoted) {
            p += *p == '\\';
            quoted = *p != '"';
        } else if (*p == '"') {
            quoted = true;
        } else if (strchr("[{", *p) && *p) {
            if (*p == '{' && depth == 1)
                line[found++] = at;
            depth++;
        } else if (strchr("]}", *p) && *p) {
            depth--;
        }
    }
}

static void read_task(struct reader *r, const json_t *task, const struct cai_buf *text) {
    const json_t *examples = json_object_get(task, "examples"), *append;
    size_t n = json_array_size(examples);
    CAI_AUTO(mem) size_t *line = cai_alloc((n + 1) * sizeof *line);
    append = json_object_get(task, "append_choices_to_input");
    const struct form form = {text_or(task, "task_prefix", ""),
                              text_or(task, "example_input_prefix", "\nQ: "),
                              text_or(task, "example_output_prefix", "\nA: "),
                              text_or(task, "choice_prefix", "\n  choice: "),
                              !append || json_is_true(append)};
    r->form = &form;
    lines_of(text->data, text->len, line, n);
    for (size_t i = 0; i < n; i++) {
        r->line = line[i];
        read_row(r, json_array_get(examples, i));
    }
}

/* The file as one JSON object with examples; NULL when it is none. */
static json_t *whole_task(const char *path, struct cai_buf *ret) {
    if (cai_file_read(path, FILE_MAX, ret) < 0) {
        cai_error_clear();
        return NULL;
    }
    json_t *o = json_loadb(ret->data ? ret->data : "", ret->len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_array(json_object_get(o, "examples")))
        return o;
    json_decref(o);
    return NULL;
}

int evalset_read(const char *path, struct input_report *report, struct evalset *ret) {
    CAI_AUTO(buf) struct cai_buf text = {.max = FILE_MAX};
    *ret = (struct evalset){0};
    struct reader r = {ret, report, &as_it_is, 0};
    json_t *task = whole_task(path, &text), *row;
    if (task) {
        read_task(&r, task, &text);
        json_decref(task);
    } else {
        struct jsonl *lines;
        CAI_TRY(jsonl_open(path, report, &lines));
        while (jsonl_next(lines, &row, &r.line) > 0) {
            read_row(&r, row);
            json_decref(row);
        }
        ret->bad += jsonl_bad(lines);
        jsonl_close(lines);
    }
    if (ret->n + ret->bad == 0 && report->errors == 0)
        input_report_add(report, 0, 0, "D008", "give at least one row", "the file has no rows");
    cai_error_clear();
    return 0;
}

void evalset_drop(struct evalset *s) {
    CAI_CHECK(s->n > 0);
    item_free(&s->at[--s->n]);
}

void evalset_free(struct evalset *s) {
    for (size_t i = 0; i < s->n; i++)
        item_free(&s->at[i]);
    free(s->at);
    *s = (struct evalset){0};
}

size_t evalset_best(const struct evalset_item *q) {
    size_t best = 0;
    for (size_t i = 1; i < q->n; i++)
        if (q->scores[i] > q->scores[best])
            best = i;
    return best;
}
