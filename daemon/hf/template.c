/* template.c: a checkpoint's own chat template, taken apart once per shape of conversation:
 * the roles, and in what messages say the words that the template may look for. What comes
 * out of the pieces is verified with random texts when they are made. Where a word cannot be
 * fixed, the template itself is run on the conversation, and must agree with the pieces. Not
 * for running it (template_run.c), for cutting messages (shape.c) nor for the taking apart
 * (pieces.c).
 *
 * A shape's states: unknown → (template run, pieces built and verified) → kept; the oldest
 * is forgotten when the cache is full. Failures are not kept. */
#include "hf/template.h"
#include "hf/pieces.h"
#include "hf/shape.h"
#include "hf/template_run.h"
#include "base/error.h"
#include <pthread.h>
#include <string.h>

#define MAX_KEPT 256
#define MAX_MESSAGES 512
#define NUM_RANDOM 3
#define DEFAULT_DATE 1721952000 /* 26 July 2024, which Llama 3.1's template falls back on */

struct known {
    char *key; /* hf_shape_key */
    struct hf_pieces pieces;
};

struct hf_template {
    char *path, *source;
    json_t *context;
    int64_t now;
    const struct hf_tokenizer *tokenizer;
    struct hf_words words;
    pthread_mutex_t mutex; /* of what follows */
    struct known known[MAX_KEPT];
    size_t n, next;
    int32_t end_id;
    char *lead;
};

/* ---- asking the template ---------------------------------------------------------- */

/* The renderings asked for at once: a growing list with the strings it owns. */
struct plan {
    const struct hf_shape *shape;
    const struct hf_message *messages;
    struct hf_render *renders;
    size_t n, num_messages;
    char ***texts;    /* of each, those of the shape */
    char ***contents; /* and the messages that they make */
};

static void plan_free(struct plan *p) {
    for (size_t i = 0; i < p->n; i++) {
        hf_strings_free(p->texts[i], p->shape->num_texts);
        hf_strings_free(p->contents[i], p->num_messages);
    }
    free(p->texts);
    free(p->contents);
    free(p->renders);
}

/* A rendering of the first n messages; takes the texts. */
static void plan_add(struct plan *p, char **texts, size_t n, bool generate) {
    size_t i = p->n++;
    p->renders = cai_realloc(p->renders, p->n, sizeof *p->renders);
    p->texts = cai_realloc(p->texts, p->n, sizeof *p->texts);
    p->contents = cai_realloc(p->contents, p->n, sizeof *p->contents);
    p->texts[i] = texts;
    p->contents[i] = hf_shape_contents(p->shape, p->messages, p->num_messages, texts);
    p->renders[i] = (struct hf_render){(const char *const *)p->contents[i], n, generate};
}

static char **new_texts(const struct hf_shape *shape) {
    return cai_alloc((shape->num_texts + 1) * sizeof(char *));
}

static char **plain_marks(const struct hf_shape *shape) {
    char **c = new_texts(shape);
    for (size_t i = 0; i < shape->num_texts; i++)
        c[i] = hf_mark_plain(i);
    return c;
}

/* In this order: marks, wrapped marks, random texts, each text blank in two ways, and the
 * prompt for each assistant's turn. */
static struct plan make_plan(const struct hf_shape *shape, const struct hf_message *messages,
                             size_t n, bool generate) {
    struct plan p = {.shape = shape, .messages = messages, .num_messages = n};
    size_t num = shape->num_texts;
    plan_add(&p, plain_marks(shape), n, generate);
    for (size_t kind = 1; kind < 2 + NUM_RANDOM; kind++) {
        char **c = new_texts(shape);
        for (size_t i = 0; i < num; i++)
            c[i] = kind == 1 ? hf_mark_wrapped(i) : hf_mark_random(i, (uint32_t)kind);
        plan_add(&p, c, n, generate);
    }
    for (size_t b = 0; b < 2 * num; b++) {
        char **c = new_texts(shape);
        for (size_t i = 0; i < num; i++)
            c[i] = i == b / 2 ? cai_strdup(b % 2 ? " \n" : "") : hf_mark_random(i, 99);
        plan_add(&p, c, n, generate);
    }
    for (size_t a = 0; a < n; a++)
        if (strcmp(messages[a].role, "assistant") == 0)
            plan_add(&p, plain_marks(shape), a, true);
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

/* What a prompt for a message writes after the last text before it: how much of the
 * literal before slot k, where the message begins, that is. */
static void find_opening(struct hf_pieces *p, size_t k, const char *prompt) {
    struct hf_slot *slot = &p->slot[k];
    const char *at = prompt;
    for (size_t i = 0; prompt && i < slot->text; i++) {
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

static size_t message_of(const struct hf_shape *shape, const struct hf_slot *slot) {
    return shape->parts[shape->text[slot->text]].message;
}

/* The answers from `at` are the prompts for the assistants' messages in their order. A
 * message that was cut begins at its first slot and ends at its last. */
static int find_turns(const struct hf_template *t, const struct plan *plan, const json_t *answers,
                      size_t at, struct hf_pieces *p) {
    for (size_t k = 0; k < p->n; k++) {
        size_t message = message_of(plan->shape, &p->slot[k]), before = 0;
        if (strcmp(plan->messages[message].role, "assistant") != 0)
            continue;
        for (size_t i = 0; i < message; i++)
            before += strcmp(plan->messages[i].role, "assistant") == 0;
        if (k == 0 || message_of(plan->shape, &p->slot[k - 1]) != message)
            find_opening(p, k, answer_text(answers, at + before));
        if (k + 1 == p->n || message_of(plan->shape, &p->slot[k + 1]) != message)
            CAI_TRY(find_end(t, &p->literal[k + 1], &p->slot[k]));
    }
    return 0;
}

/* ---- shapes ----------------------------------------------------------------------- */

static int verify(const struct hf_template *t, const struct plan *plan, const json_t *answers,
                  struct hf_pieces *p) {
    const char *text;
    for (size_t i = 2; i < 2 + NUM_RANDOM; i++) {
        CAI_TRY(need_text(t, answers, i, &text));
        CAI_TRY(hf_pieces_check(t->path, p, (const char *const *)plan->texts[i], text));
    }
    for (size_t i = 0; i < p->n; i++) {
        size_t at = 2 + NUM_RANDOM + 2 * p->slot[i].text;
        const char *empty = answer_text(answers, at), *spaces = answer_text(answers, at + 1);
        const char *const *none = (const char *const *)plan->texts[at];
        const char *const *white = (const char *const *)plan->texts[at + 1];
        p->slot[i].blank_ok = empty && spaces && hf_pieces_check(t->path, p, none, empty) == 0 &&
                              hf_pieces_check(t->path, p, white, spaces) == 0;
    }
    cai_error_clear();
    return 0;
}

static int build(const struct hf_template *t, const struct plan *plan, const json_t *answers,
                 struct hf_pieces *p) {
    const struct hf_shape *shape = plan->shape;
    const char *plain, *wrapped;
    CAI_TRY(need_text(t, answers, 0, &plain));
    CAI_TRY(need_text(t, answers, 1, &wrapped));
    /* A template may leave a system message out, and what stands beside a word that it looks
     * for ("…</think>"). Whatever else people and models said it may not. */
    CAI_AUTO(mem) struct hf_source *of = cai_alloc((shape->num_texts + 1) * sizeof *of);
    for (size_t i = 0; i < shape->num_texts; i++) {
        const struct hf_part *part = &shape->parts[shape->text[i]];
        bool whole = part->len == strlen(plan->messages[part->message].text);
        bool system = strcmp(plan->messages[part->message].role, "system") == 0;
        of[i] = (struct hf_source){part->message, system || !whole};
    }
    CAI_TRY(hf_pieces_build(t->path, shape->num_texts, of, plain, wrapped, p));
    CAI_TRY(verify(t, plan, answers, p));
    return find_turns(t, plan, answers, 2 + NUM_RANDOM + 2 * shape->num_texts, p);
}

static int run(const struct hf_template *t, const struct hf_message *messages, size_t n,
               const struct hf_render *renders, size_t num_renders, json_t **ret) {
    CAI_AUTO(mem) const char **roles = cai_alloc((n + 1) * sizeof *roles);
    for (size_t i = 0; i < n; i++)
        roles[i] = messages[i].role;
    return hf_template_run(t->path, t->source, t->context, t->now, roles, n, renders, num_renders,
                           ret);
}

static int make_pieces(const struct hf_template *t, const struct hf_shape *shape,
                       const struct hf_message *messages, size_t n, bool generate,
                       struct hf_pieces *ret) {
    struct plan plan = make_plan(shape, messages, n, generate);
    json_auto_t *answers = NULL;
    int rc = run(t, messages, n, plan.renders, plan.n, &answers);
    if (rc == 0)
        rc = build(t, &plan, answers, ret);
    if (rc < 0)
        hf_pieces_free(ret);
    plan_free(&plan);
    return rc;
}

/* The pieces of this shape, from the cache or made now. Called with the mutex held; they
 * stay valid until it is let go. */
static int get_pieces(struct hf_template *t, const struct hf_shape *shape,
                      const struct hf_message *messages, size_t n, bool generate,
                      const struct hf_pieces **ret) {
    CAI_AUTO(mem) char *key = hf_shape_key(shape, messages, generate);
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->known[i].key, key) == 0) {
            *ret = &t->known[i].pieces;
            return 0;
        }
    struct hf_pieces made = {0};
    CAI_TRY(make_pieces(t, shape, messages, n, generate, &made));
    struct known *k = &t->known[t->next];
    free(k->key);
    hf_pieces_free(&k->pieces);
    k->key = cai_strdup(key);
    k->pieces = made;
    t->next = (t->next + 1) % MAX_KEPT;
    t->n += t->n < MAX_KEPT;
    *ret = &k->pieces;
    return 0;
}

/* ---- one conversation ------------------------------------------------------------- */

/* Runs the template itself on these messages: equal to the pieces, or refused. */
static int check_exactly(const struct hf_template *t, const struct hf_pieces *p, char *const *texts,
                         const struct hf_message *messages, size_t n, bool generate) {
    CAI_AUTO(mem) const char **contents = cai_alloc((n + 1) * sizeof *contents);
    for (size_t i = 0; i < n; i++)
        contents[i] = messages[i].text;
    struct hf_render render = {contents, n, generate};
    json_auto_t *answers = NULL;
    const char *text;
    CAI_TRY(run(t, messages, n, &render, 1, &answers));
    CAI_TRY(need_text(t, answers, 0, &text));
    return hf_pieces_check(t->path, p, (const char *const *)texts, text);
}

/* The first blank text that the pieces do not reproduce, or NULL. */
static const struct hf_slot *find_blank(const struct hf_pieces *p, char *const *texts) {
    for (size_t i = 0; i < p->n; i++)
        if (!p->slot[i].blank_ok && hf_is_blank(texts[p->slot[i].text]))
            return &p->slot[i];
    return NULL;
}

static void fill(const struct hf_pieces *p, const struct hf_shape *shape, char *const *texts,
                 struct hf_layout *l) {
    for (size_t i = 0; i <= p->n; i++) {
        size_t literal = l->text.len;
        cai_buf_append(&l->text, p->literal[i].data ? p->literal[i].data : "", p->literal[i].len);
        if (i == p->n)
            break;
        const struct hf_slot *s = &p->slot[i];
        const char *text;
        size_t len;
        hf_pieces_trim(s, texts[s->text], &text, &len);
        struct hf_range said = hf_layout_put(l, text, len);
        struct hf_range *turn = &l->turn[message_of(shape, s)];
        if (s->opening != SIZE_MAX)
            turn->begin = literal + s->opening;
        else if (!turn->end) /* the first of its message */
            turn->begin = said.begin;
        turn->end = said.end + s->end;
    }
}

/* Lays out by one way of fixing words; `last`: there is no other to try. 1 when that other
 * is to be tried. */
static int try_layout(struct hf_template *t, const struct hf_message *messages, size_t n,
                      bool generate, enum hf_fix fix, bool last, struct hf_layout *l) {
    CAI_AUTO(shape) struct hf_shape shape = hf_shape_new(&t->words, t->tokenizer, messages, n, fix);
    const struct hf_pieces *p;
    int rc = get_pieces(t, &shape, messages, n, generate, &p);
    if (rc == CAI_EINPUT && shape.fixed && !last)
        return 1;
    CAI_TRY(rc);
    char **texts = hf_shape_texts(&shape, messages);
    const struct hf_slot *blank = find_blank(p, texts);
    if (blank && !last)
        rc = 1;
    else if (blank)
        rc = cai_fail(CAI_EINPUT,
                      "%s: message %zu is blank, and the chat template writes something else "
                      "around a blank message; give it a text",
                      t->path, message_of(&shape, blank));
    else if (shape.exact)
        rc = check_exactly(t, p, texts, messages, n, generate);
    if (rc == 0)
        fill(p, &shape, texts, l);
    hf_strings_free(texts, shape.num_texts);
    return rc;
}

/* With the template's words fixed; then blank messages too; then, when it makes of those
 * something that has no pieces, as if it did not look for them, which is checked. */
static int layout_locked(struct hf_template *t, const struct hf_message *messages, size_t n,
                         bool generate, const char *prefix, struct hf_layout *l) {
    static const enum hf_fix ways[] = {HF_FIX_WORDS, HF_FIX_WORDS_AND_BLANKS, HF_FIX_NOTHING};
    int rc = 1;
    for (size_t i = 0; rc == 1 && i < CAI_COUNT(ways); i++)
        rc = try_layout(t, messages, n, generate, ways[i], i + 1 == CAI_COUNT(ways), l);
    CAI_TRY(rc);
    prefix = generate && prefix ? prefix : "";
    hf_layout_put(l, prefix, strlen(prefix));
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
    CAI_AUTO(shape) struct hf_shape shape =
        hf_shape_new(&t->words, t->tokenizer, m, 2, HF_FIX_NOTHING);
    struct hf_pieces p = {0};
    CAI_TRY(make_pieces(t, &shape, m, 2, false, &p));
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
    t->words = hf_words_find(source, t->tokenizer);
    int rc = learn_ends(t, m->eos_id);
    if (rc < 0) {
        hf_template_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

static void forget(struct hf_template *t) {
    for (size_t i = 0; i < t->n; i++) {
        free(t->known[i].key);
        hf_pieces_free(&t->known[i].pieces);
        t->known[i].key = NULL;
    }
    t->n = t->next = 0;
}

void hf_template_set_date(struct hf_template *t, int64_t seconds) {
    pthread_mutex_lock(&t->mutex);
    if (t->now != seconds)
        forget(t);
    t->now = seconds;
    pthread_mutex_unlock(&t->mutex);
}

void hf_template_free(struct hf_template *t) {
    if (!t)
        return;
    forget(t);
    hf_words_free(&t->words);
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
