/* template.c: a checkpoint's own chat template, taken apart once per sequence of roles.
 * What comes out of the pieces is verified with random messages when they are made, and
 * again by running the template itself on messages that hold its own marker words.
 * Not for running it (template_run.c) nor for the taking apart (pieces.c).
 *
 * A sequence's states: unknown → (template run, pieces built and verified) → kept; the
 * oldest is forgotten when the cache is full. Failures are not kept. */
#include "hf/template.h"
#include "hf/pieces.h"
#include "hf/template_run.h"
#include "base/error.h"
#include <pthread.h>
#include <string.h>

#define MAX_SEQUENCES 256
#define MAX_MESSAGES 512
#define NUM_RANDOM 3
#define DEFAULT_DATE 1721952000 /* 26 July 2024, which Llama 3.1's template falls back on */

struct sequence {
    char *key; /* one letter per role, then '+' when a turn is opened */
    struct hf_pieces pieces;
};

struct hf_template {
    char *path, *source;
    json_t *context;
    int64_t now;
    const struct hf_tokenizer *tokenizer;
    char **markers; /* words of the template's own that it may look for in messages */
    size_t num_markers;
    pthread_mutex_t mutex; /* of what follows */
    struct sequence sequences[MAX_SEQUENCES];
    size_t n, next;
    int32_t end_id;
    char *lead;
};

/* ---- asking the template ---------------------------------------------------------- */

/* The renderings asked for at once: a growing list with the strings it owns. */
struct plan {
    struct hf_render *renders;
    size_t n;
    char ***contents; /* of each, `messages` strings */
    size_t messages;
};

static void plan_free(struct plan *p) {
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; k < p->messages; k++)
            free(p->contents[i][k]);
        free(p->contents[i]);
    }
    free(p->contents);
    free(p->renders);
}

static char **plan_add(struct plan *p, size_t n, bool generate) {
    size_t i = p->n++;
    p->renders = cai_realloc(p->renders, p->n, sizeof *p->renders);
    p->contents = cai_realloc(p->contents, p->n, sizeof *p->contents);
    p->contents[i] = cai_alloc((p->messages + 1) * sizeof *p->contents[i]);
    p->renders[i] = (struct hf_render){(const char *const *)p->contents[i], n, generate};
    return p->contents[i];
}

/* In this order: marks, wrapped marks, random messages, each message blank in two ways,
 * and the prompt for each assistant's turn. */
static struct plan make_plan(const struct hf_message *messages, size_t n, bool generate) {
    struct plan p = {.messages = n};
    for (size_t kind = 0; kind < 2 + NUM_RANDOM; kind++) {
        char **c = plan_add(&p, n, generate);
        for (size_t i = 0; i < n; i++)
            c[i] = kind == 0   ? hf_mark_plain(i)
                   : kind == 1 ? hf_mark_wrapped(i)
                               : hf_mark_random(i, (uint32_t)kind);
    }
    for (size_t b = 0; b < 2 * n; b++) {
        char **c = plan_add(&p, n, generate);
        for (size_t i = 0; i < n; i++)
            c[i] = i == b / 2 ? cai_strdup(b % 2 ? " \n" : "") : hf_mark_random(i, 99);
    }
    for (size_t a = 0; a < n; a++) {
        if (strcmp(messages[a].role, "assistant") != 0)
            continue;
        char **c = plan_add(&p, a, true);
        for (size_t i = 0; i < a; i++)
            c[i] = hf_mark_plain(i);
    }
    return p;
}

static const char *answer_text(const json_t *answers, size_t i) {
    return json_string_value(json_object_get(json_array_get(answers, i), "text"));
}

static int need_text(const struct hf_template *t, const json_t *answers, size_t i,
                     const char **ret) {
    *ret = answer_text(answers, i);
    if (*ret)
        return 0;
    const char *error = json_string_value(json_object_get(json_array_get(answers, i), "error"));
    return cai_fail(CAI_EINPUT, "%s: the chat template refuses this conversation: %s", t->path,
                    error ? error : "no text");
}

/* ---- turns ------------------------------------------------------------------------ */

/* The first special token in a literal: its id and where it ends; -1 without. */
static int first_special(const struct hf_template *t, const struct cai_buf *literal,
                         int32_t *ret_id, size_t *ret_end) {
    struct hf_ids ids = {0};
    CAI_AUTO(mem) size_t *ends = NULL;
    *ret_id = -1;
    int rc = hf_tokenizer_encode_marked(t->tokenizer, literal->data ? literal->data : "",
                                        literal->len, NULL, 0, &ids, &ends);
    for (size_t i = 0; rc == 0 && i < ids.n && *ret_id < 0; i++)
        if (hf_tokenizer_is_special(t->tokenizer, ids.data[i])) {
            *ret_id = ids.data[i];
            *ret_end = ends[i];
        }
    hf_ids_free(&ids);
    return rc;
}

static int find_end(const struct hf_template *t, const struct cai_buf *literal,
                    struct hf_slot *slot) {
    int32_t id;
    size_t end = 0;
    CAI_TRY(first_special(t, literal, &id, &end));
    slot->end = id >= 0 && id == t->end_id ? end : 0;
    return 0;
}

/* What a prompt for message i writes after the last message before it: how much of the
 * literal before slot k, where message i stands, that is. */
static void find_opening(struct hf_pieces *p, size_t k, const char *prompt) {
    struct hf_slot *slot = &p->slot[k];
    const char *at = prompt;
    for (size_t i = 0; prompt && i < slot->message; i++) {
        CAI_AUTO(mem) char *mark = hf_mark_plain(i);
        const char *hit = strstr(prompt, mark);
        if (!hit)
            continue; /* left out */
        at = hit + strlen(mark) > at ? hit + strlen(mark) : at;
    }
    size_t n = at ? strlen(at) : 0;
    const struct cai_buf *l = &p->literal[k];
    if (at && n <= l->len && (n == 0 || memcmp(l->data, at, n) == 0))
        slot->opening = n;
}

/* The answers from `at` are the prompts for the assistants' messages in their order. */
static int find_turns(const struct hf_template *t, const struct hf_message *messages,
                      const json_t *answers, size_t at, struct hf_pieces *p) {
    for (size_t k = 0; k < p->n; k++) {
        size_t message = p->slot[k].message, before = 0;
        if (strcmp(messages[message].role, "assistant") != 0)
            continue;
        for (size_t i = 0; i < message; i++)
            before += strcmp(messages[i].role, "assistant") == 0;
        find_opening(p, k, answer_text(answers, at + before));
        CAI_TRY(find_end(t, &p->literal[k + 1], &p->slot[k]));
    }
    return 0;
}

/* ---- sequences -------------------------------------------------------------------- */

static int verify(const struct hf_template *t, const struct plan *plan, const json_t *answers,
                  struct hf_pieces *p) {
    const char *text;
    for (size_t i = 2; i < 2 + NUM_RANDOM; i++) {
        CAI_TRY(need_text(t, answers, i, &text));
        CAI_TRY(hf_pieces_check(t->path, p, plan->renders[i].contents, text));
    }
    for (size_t i = 0; i < p->n; i++) {
        size_t at = 2 + NUM_RANDOM + 2 * p->slot[i].message;
        const char *empty = answer_text(answers, at), *spaces = answer_text(answers, at + 1);
        p->slot[i].blank_ok =
            empty && spaces &&
            hf_pieces_check(t->path, p, plan->renders[at].contents, empty) == 0 &&
            hf_pieces_check(t->path, p, plan->renders[at + 1].contents, spaces) == 0;
    }
    cai_error_clear();
    return 0;
}

static int build(const struct hf_template *t, const struct hf_message *messages, size_t n,
                 const struct plan *plan, const json_t *answers, struct hf_pieces *p) {
    const char *plain, *wrapped;
    CAI_TRY(need_text(t, answers, 0, &plain));
    CAI_TRY(need_text(t, answers, 1, &wrapped));
    /* A template may leave a system message out; what people and models said it may not. */
    CAI_AUTO(mem) bool *optional = cai_alloc((n + 1) * sizeof *optional);
    for (size_t i = 0; i < n; i++)
        optional[i] = strcmp(messages[i].role, "system") == 0;
    CAI_TRY(hf_pieces_build(t->path, n, optional, plain, wrapped, p));
    CAI_TRY(verify(t, plan, answers, p));
    return find_turns(t, messages, answers, 2 + NUM_RANDOM + 2 * n, p);
}

static int run(const struct hf_template *t, const struct hf_message *messages, size_t n,
               const struct hf_render *renders, size_t num_renders, json_t **ret) {
    CAI_AUTO(mem) const char **roles = cai_alloc((n + 1) * sizeof *roles);
    for (size_t i = 0; i < n; i++)
        roles[i] = messages[i].role;
    return hf_template_run(t->path, t->source, t->context, t->now, roles, n, renders, num_renders,
                           ret);
}

static int make_pieces(const struct hf_template *t, const struct hf_message *messages, size_t n,
                       bool generate, struct hf_pieces *ret) {
    struct plan plan = make_plan(messages, n, generate);
    json_auto_t *answers = NULL;
    int rc = run(t, messages, n, plan.renders, plan.n, &answers);
    if (rc == 0)
        rc = build(t, messages, n, &plan, answers, ret);
    if (rc < 0)
        hf_pieces_free(ret);
    plan_free(&plan);
    return rc;
}

static char *key_of(const struct hf_message *messages, size_t n, bool generate) {
    char *key = cai_alloc(n + 2);
    for (size_t i = 0; i < n; i++)
        key[i] = messages[i].role[0];
    key[n] = generate ? '+' : '\0';
    return key;
}

/* The pieces of these roles, from the cache or made now. Called with the mutex held; they
 * stay valid until it is let go. */
static int get_pieces(struct hf_template *t, const struct hf_message *messages, size_t n,
                      bool generate, const struct hf_pieces **ret) {
    CAI_AUTO(mem) char *key = key_of(messages, n, generate);
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->sequences[i].key, key) == 0) {
            *ret = &t->sequences[i].pieces;
            return 0;
        }
    struct hf_pieces made = {0};
    CAI_TRY(make_pieces(t, messages, n, generate, &made));
    struct sequence *s = &t->sequences[t->next];
    free(s->key);
    hf_pieces_free(&s->pieces);
    s->key = cai_strdup(key);
    s->pieces = made;
    t->next = (t->next + 1) % MAX_SEQUENCES;
    t->n += t->n < MAX_SEQUENCES;
    *ret = &s->pieces;
    return 0;
}

/* ---- messages that the template may look into ------------------------------------- */

static void add_marker(struct hf_template *t, const char *s, size_t len) {
    bool odd = false;
    for (size_t i = 0; i < len; i++)
        odd |= strchr("<>[]|/#", s[i]) != NULL && s[i];
    if (!odd || len < 3 || len > 64)
        return;
    t->markers = cai_realloc(t->markers, t->num_markers + 1, sizeof *t->markers);
    t->markers[t->num_markers++] = cai_strndup(s, len);
}

/* Quoted words of the template such as '</think>': it may search messages for them.
 * Those inside longer ones are found with the longer ones' quotes. */
static void find_markers(struct hf_template *t) {
    for (const char *s = t->source; *s && t->num_markers < 1000; s++) {
        if (*s != '\'' && *s != '"')
            continue;
        const char *end = s + 1;
        while (*end && *end != *s && *end != '\\')
            end++;
        add_marker(t, s + 1, (size_t)(end - s - 1));
    }
}

static bool holds_marker(const struct hf_template *t, const char *text) {
    for (size_t i = 0; i < t->num_markers; i++)
        if (strstr(text, t->markers[i]))
            return true;
    return false;
}

/* Runs the template itself on these messages: equal to the pieces, or refused. */
static int check_exactly(const struct hf_template *t, const struct hf_pieces *p,
                         const struct hf_message *messages, size_t n, bool generate) {
    CAI_AUTO(mem) const char **contents = cai_alloc((n + 1) * sizeof *contents);
    for (size_t i = 0; i < n; i++)
        contents[i] = messages[i].text;
    struct hf_render render = {contents, n, generate};
    json_auto_t *answers = NULL;
    const char *text;
    CAI_TRY(run(t, messages, n, &render, 1, &answers));
    CAI_TRY(need_text(t, answers, 0, &text));
    return hf_pieces_check(t->path, p, contents, text);
}

static int check_messages(const struct hf_template *t, const struct hf_pieces *p,
                          const struct hf_message *messages, size_t n, bool generate) {
    bool suspicious = false;
    for (size_t i = 0; i < n; i++)
        suspicious |= holds_marker(t, messages[i].text);
    for (size_t i = 0; i < p->n; i++) {
        size_t message = p->slot[i].message;
        if (!p->slot[i].blank_ok && hf_is_blank(messages[message].text))
            return cai_fail(CAI_EINPUT,
                            "%s: message %zu is blank, and the chat template writes "
                            "something else around a blank message; give it a text",
                            t->path, message);
    }
    return suspicious ? check_exactly(t, p, messages, n, generate) : 0;
}

/* ---- laying out ------------------------------------------------------------------- */

static void fill(const struct hf_pieces *p, const struct hf_message *messages, bool generate,
                 const char *prefix, struct hf_layout *l) {
    for (size_t i = 0; i <= p->n; i++) {
        size_t literal = l->text.len;
        cai_buf_append(&l->text, p->literal[i].data ? p->literal[i].data : "", p->literal[i].len);
        if (i == p->n)
            break;
        const struct hf_slot *s = &p->slot[i];
        const char *text;
        size_t len, begin = l->text.len;
        hf_pieces_trim(s, messages[s->message].text, &text, &len);
        cai_buf_append(&l->text, text, len);
        struct hf_range *turn = &l->turn[s->message];
        l->content[s->message] = *turn = (struct hf_range){begin, begin + len};
        if (s->opening != SIZE_MAX)
            turn->begin = literal + s->opening;
        turn->end += s->end;
    }
    size_t begin = l->text.len;
    cai_buf_puts(&l->text, generate && prefix ? prefix : "");
    l->content[p->messages] = (struct hf_range){begin, l->text.len};
}

static int layout_locked(struct hf_template *t, const struct hf_message *messages, size_t n,
                         bool generate, const char *prefix, struct hf_layout *l) {
    const struct hf_pieces *p;
    CAI_TRY(get_pieces(t, messages, n, generate, &p));
    CAI_TRY(check_messages(t, p, messages, n, generate));
    fill(p, messages, generate, prefix, l);
    return 0;
}

int hf_template_layout(struct hf_template *t, const struct hf_message *messages, size_t n,
                       bool generate, const char *prefix, struct hf_layout *l) {
    if (n > MAX_MESSAGES)
        return cai_fail(CAI_ELIMIT, "a conversation of %zu messages, the limit is %d", n,
                        MAX_MESSAGES);
    pthread_mutex_lock(&t->mutex);
    int rc = layout_locked(t, messages, n, generate, prefix, l);
    pthread_mutex_unlock(&t->mutex);
    return rc;
}

/* ---- making ----------------------------------------------------------------------- */

/* One exchange shows the end marker and what a reply begins with; a template that does
 * not work at all is refused here. */
static int learn_ends(struct hf_template *t, int32_t eos_id) {
    struct hf_message m[] = {{.role = "user", .text = "a"}, {.role = "assistant", .text = "b"}};
    struct hf_pieces p = {0};
    CAI_TRY(make_pieces(t, m, 2, false, &p));
    size_t end = 0, opening = p.slot[1].opening; /* of the assistant: nothing puts it first */
    int rc = first_special(t, &p.literal[2], &t->end_id, &end);
    if (t->end_id < 0)
        t->end_id = eos_id;
    t->lead = opening == SIZE_MAX
                  ? cai_strdup("")
                  : cai_strndup(p.literal[1].data ? p.literal[1].data + opening : "",
                                p.literal[1].len - opening);
    hf_pieces_free(&p);
    return rc;
}

int hf_template_new(const char *path, const char *source, const json_t *context,
                    const struct hf_chat_model *m, struct hf_template **ret) {
    struct hf_template *t = cai_alloc(sizeof *t);
    pthread_mutex_init(&t->mutex, NULL);
    t->path = cai_strdup(path);
    t->source = cai_strdup(source);
    t->context = json_deep_copy(context);
    t->now = DEFAULT_DATE;
    t->tokenizer = m->tokenizer;
    t->end_id = -1;
    find_markers(t);
    int rc = learn_ends(t, m->eos_id);
    if (rc < 0) {
        hf_template_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

static void forget_sequences(struct hf_template *t) {
    for (size_t i = 0; i < t->n; i++) {
        free(t->sequences[i].key);
        hf_pieces_free(&t->sequences[i].pieces);
        t->sequences[i].key = NULL;
    }
    t->n = t->next = 0;
}

void hf_template_set_date(struct hf_template *t, int64_t seconds) {
    pthread_mutex_lock(&t->mutex);
    if (t->now != seconds)
        forget_sequences(t);
    t->now = seconds;
    pthread_mutex_unlock(&t->mutex);
}

void hf_template_free(struct hf_template *t) {
    if (!t)
        return;
    forget_sequences(t);
    for (size_t i = 0; i < t->num_markers; i++)
        free(t->markers[i]);
    free(t->markers);
    json_decref(t->context);
    pthread_mutex_destroy(&t->mutex);
    free(t->path);
    free(t->source);
    free(t->lead);
    free(t);
}

int32_t hf_template_end_id(const struct hf_template *t) {
    return t->end_id;
}

const char *hf_template_lead(const struct hf_template *t) {
    return t->lead ? t->lead : "";
}
