/* compare.c: two models on the same prompts: both reply through caiprobe, an overseer is asked in
 * both orders which reply is better under a principle. What comes of it is versus.c's. */
#include "base/error.h"
#include "base/rng.h"
#include "constitution/render.h"
#include "convert.h"
#include "corpus.h"
#include "look.h"
#include "versus.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 100, SAMPLES_MAX = 64 };

struct match {
    struct target a, b, overseer;
    struct constitution *constitution;
    const char *principle; /* NULL = drawn by weight */
    int64_t seed, samples, limit, shown;
    const char *heat, *most;
    json_t *prompts; /* [[{"role", "content"}, …], …] */
    size_t *conversations;
    struct bout *at;
    size_t n, cut[2];
};

/* ---- prompts ---------------------------------------------------------------------------------------- */

static void take_row(void *context, size_t i, struct input_record *r) {
    struct match *m = context;
    if ((int64_t)i >= m->limit)
        return;
    json_t *list = json_array();
    for (size_t k = 0; k < r->n; k++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", r->turns[k].role, "content",
                                              r->turns[k].text));
    json_array_append_new(m->prompts, list);
}

static int prompts_of_file(struct match *m, const char *path) {
    struct corpus c;
    corpus_read(&c, &path, 1, take_row, m);
    int code = show_findings(&c.report);
    corpus_free(&c);
    return code;
}

/* The held-out prompts of a job, each once, in the order of its first round. */
static int take_prompt(void *c, const json_t *row) {
    struct match *m = c;
    size_t i;
    json_t *seen, *messages = json_object_get(row, "messages");
    if (integer_of(row, "k") != 0 || (int64_t)json_array_size(m->prompts) >= m->limit)
        return 0;
    json_array_foreach(m->prompts, i, seen) if (json_equal(seen, messages))
        return 0;
    json_array_append(m->prompts, messages);
    return 0;
}

static int prompts_of_job(struct match *m, const json_t *show) {
    return data_pages("export",
                      json_pack("{s:O, s:s}", "id", json_object_get(show, "id"), "what", "replies"),
                      -1, take_prompt, m);
}

/* Prompts that are nearly the same, or of one conversation, are one observation. */
static void group_prompts(struct match *m) {
    struct similar *texts = similar_new(SIMILAR_THRESHOLD);
    size_t n = json_array_size(m->prompts);
    m->conversations = cai_alloc((n + 1) * sizeof *m->conversations);
    for (size_t i = 0; i < n; i++) {
        const json_t *list = json_array_get(m->prompts, i);
        struct input_turn turns[64];
        size_t k = 0;
        for (; k < json_array_size(list) && k < CAI_COUNT(turns); k++)
            turns[k] = (struct input_turn){text_of(json_array_get(list, k), "role"),
                                           text_of(json_array_get(list, k), "content")};
        similar_add_turns(texts, turns, k);
    }
    similar_group(texts);
    for (size_t i = 0; i < n; i++)
        m->conversations[i] = similar_of(texts, i);
    similar_free(texts);
}

static int find_prompts(struct match *m, const struct args *a) {
    const char *file = args_get(a, "prompts");
    const json_t *show = m->b.show ? m->b.show : m->a.show;
    m->prompts = json_array();
    if (!file && !show)
        return complain(EXIT_USAGE, "neither is a job: name prompts with --prompts FILE");
    int code = file ? prompts_of_file(m, file) : prompts_of_job(m, show);
    if (code == 0 && json_array_size(m->prompts) == 0)
        return complain(EXIT_NOT_FOUND, "there are no prompts: the job kept none for evaluation; "
                                        "name some with --prompts FILE");
    group_prompts(m);
    return code;
}

/* ---- who judges, and by what ------------------------------------------------------------------------- */

static int find_overseer(struct match *m, const struct args *a) {
    const json_t *show = m->b.show ? m->b.show : m->a.show;
    const char *named = args_get(a, "overseer");
    const char *own = text_of(json_object_get(json_object_get(show, "spec"), "models"), "overseer");
    if (named)
        return target_find(named, &m->overseer);
    if (!show)
        return complain(EXIT_USAGE, "neither is a job: name who judges with --overseer FOLDER");
    if (own[0] == '/')
        return target_find(own, &m->overseer);
    CAI_AUTO(mem) char *start = cai_format("%lld:0", (long long)integer_of(show, "id"));
    return target_find(start, &m->overseer);
}

static int find_constitution(struct match *m, const struct args *a) {
    const json_t *show = m->b.show ? m->b.show : m->a.show;
    const char *named = args_get(a, "constitution");
    int code = named  ? constitution_find_any(named, &m->constitution)
               : show ? constitution_find_any(text_of(show, "revision"), &m->constitution)
                      : constitution_find_any(NULL, &m->constitution);
    m->principle = args_get(a, "principle");
    if (code || !m->principle)
        return code;
    const struct principle *p = constitution_find(m->constitution, m->principle);
    if (p && p->choice)
        return 0;
    return complain(EXIT_NOT_FOUND, "constitution %s has no principle '%s' with a choice; "
                                    "`caictl constitution show … --list` lists them",
                    m->constitution->name, m->principle);
}

static const struct principle *draw(const struct match *m, size_t prompt, size_t sample) {
    const struct constitution *c = m->constitution;
    CAI_AUTO(mem) double *weight = cai_alloc((c->n_principles + 1) * sizeof *weight);
    double sum = 0;
    if (m->principle)
        return constitution_find(c, m->principle);
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct principle *p = &c->principles[i];
        bool usable = p->enabled && (p->phases & PHASE_RL) && p->choice && p->weight > 0;
        weight[i] = usable ? p->weight : 0;
        sum += weight[i];
    }
    struct cai_key key =
        cai_key_make((uint64_t)m->seed, 0, "caictl/compare", prompt, (uint32_t)sample);
    return sum > 0 ? &c->principles[cai_rng_weighted(key, 0, weight, c->n_principles)] : NULL;
}

/* ---- replies ------------------------------------------------------------------------------------------ */

static void put_line(struct cai_buf *out, json_t *o) {
    CAI_AUTO(mem) char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
    cai_buf_printf(out, "%s\n", line);
    json_decref(o);
}

struct writing {
    struct match *m;
    const char *key; /* "a" or "b" */
};

static int take_reply(void *c, size_t i, const json_t *line) {
    struct writing *w = c;
    if (i < w->m->n)
        json_object_set(w->m->at[i].row, w->key, json_object_get(line, "text"));
    w->m->cut[w->key[0] == 'b'] += strcmp(text_of(line, "stop"), "length") == 0;
    return 0;
}

static int ask_replies(struct match *m, const struct target *who, const char *key) {
    CAI_AUTO(buf) struct cai_buf input = {0};
    CAI_AUTO(mem) char *seed = cai_format("%lld", (long long)m->seed);
    const char *const arguments[] = {"generate", "--model", who->path, "--temperature", m->heat,
                                     "--max-new-tokens", m->most, "--seed", seed, NULL};
    struct writing w = {m, key};
    for (size_t i = 0; i < m->n; i++)
        put_line(&input, json_pack("{s:O}", "messages", json_object_get(m->at[i].row, "messages")));
    say("%s: %zu replies of %s …\n", key[0] == 'a' ? "A" : "B", m->n, who->name);
    int code = child_run(arguments, &input, take_reply, &w);
    for (size_t i = 0; i < m->n && code == 0; i++)
        if (!json_object_get(m->at[i].row, key))
            code = complain(EXIT_PROTOCOL, "caiprobe gave fewer replies than it was asked for");
    return code;
}

/* ---- choices -------------------------------------------------------------------------------------------- */

static void put_question(struct cai_buf *out, const struct match *m, const struct bout *b,
                         bool swapped) {
    const json_t *messages = json_object_get(b->row, "messages");
    size_t n = json_array_size(messages);
    CAI_AUTO(mem) struct turn *turns = cai_alloc((n + 1) * sizeof *turns);
    for (size_t i = 0; i < n; i++)
        turns[i] = (struct turn){text_of(json_array_get(messages, i), "role"),
                                 text_of(json_array_get(messages, i), "content")};
    struct rendering r;
    render_choice(m->constitution, constitution_find(m->constitution, text_of(b->row, "principle")),
                  turns, n, text_of(b->row, swapped ? "b" : "a"),
                  text_of(b->row, swapped ? "a" : "b"), &r);
    json_t *list = json_array();
    for (size_t i = 0; i < r.n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", r.messages[i].role, "content",
                                              r.messages[i].text));
    put_line(out, json_pack("{s:o, s:s, s:[s, s]}", "messages", list, "prefix", r.prefix, "options",
                            r.options[0], r.options[1]));
    rendering_free(&r);
}

struct asking {
    struct match *m;
    size_t *which; /* bout of each two lines */
};

static int take_choice(void *c, size_t i, const json_t *line) {
    struct asking *o = c;
    struct bout *b = &o->m->at[o->which[i / 2]];
    const json_t *logprobs = json_object_get(line, "logprobs");
    double x = json_number_value(json_array_get(logprobs, 0));
    double y = json_number_value(json_array_get(logprobs, 1));
    double first = 1 / (1 + exp(y - x)), mass = fmin(1, exp(x) + exp(y));
    b->asked = true;
    if (json_array_size(logprobs) != 2)
        b->lost = true;
    *(i % 2 ? &b->p_ba : &b->p_ab) = first;
    *(i % 2 ? &b->mass_ba : &b->mass_ab) = mass;
    json_object_set_new(b->row, i % 2 ? "p_ba" : "p_ab", json_real(first));
    return 0;
}

static int ask_choices(struct match *m) {
    CAI_AUTO(buf) struct cai_buf input = {0};
    CAI_AUTO(mem) size_t *which = cai_alloc((m->n + 1) * sizeof *which);
    const char *const arguments[] = {"options", "--model", m->overseer.path, NULL};
    struct asking o = {m, which};
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(text_of(m->at[i].row, "a"), text_of(m->at[i].row, "b")) == 0)
            continue; /* the same reply is never better */
        put_question(&input, m, &m->at[i], false);
        put_question(&input, m, &m->at[i], true);
        which[n++] = i;
    }
    if (n == 0)
        return 0;
    say("overseer: %zu pairs in both orders, by %s …\n", n, m->overseer.name);
    return child_run(arguments, &input, take_choice, &o);
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

static int set_bouts(struct match *m) {
    size_t prompts = json_array_size(m->prompts), k = (size_t)m->samples;
    m->at = cai_alloc((prompts * k + 1) * sizeof *m->at);
    for (; m->n < prompts * k; m->n++) {
        size_t prompt = m->n / k;
        const struct principle *p = draw(m, prompt, m->n % k);
        if (!p)
            return complain(EXIT_INPUT, "constitution %s has no enabled principle with a choice",
                            m->constitution->name);
        m->at[m->n] = (struct bout){
            .prompt = prompt, .conversation = m->conversations[prompt],
            .row = json_pack("{s:O, s:s}", "messages", json_array_get(m->prompts, prompt),
                             "principle", p->id)};
    }
    return 0;
}

static char *full_name(const struct target *t) {
    return t->show ? cai_format("%s  (%s)", t->name, t->path) : cai_strdup(t->name);
}

static json_t *about(const struct match *m) {
    CAI_AUTO(mem) char *a = full_name(&m->a);
    CAI_AUTO(mem) char *b = full_name(&m->b);
    CAI_AUTO(mem) char *c =
        cai_format("%s, revision %.12s", m->constitution->name, m->constitution->revision);
    bool own = strcmp(m->overseer.path, m->a.path) == 0 || strcmp(m->overseer.path, m->b.path) == 0;
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "a", a, "b", b, "overseer",
                     m->overseer.name, "constitution", c, "prompts",
                     (json_int_t)json_array_size(m->prompts), "seed", (json_int_t)m->seed, "cut_a",
                     (json_int_t)m->cut[0], "cut_b", (json_int_t)m->cut[1], "own", own);
}

static int report(struct match *m, const struct args *a) {
    struct score s = versus_score(m->at, m->n);
    const char *out = args_get(a, "out");
    json_t *o = versus_json(m->at, m->n, &s, about(m));
    int code = EXIT_OK;
    if (globals.json)
        print_json(o);
    else
        versus_print(m->at, m->n, &s, o, (size_t)m->shown);
    if (out) {
        CAI_AUTO(buf) struct cai_buf text = {0};
        size_t i;
        json_t *row;
        json_array_foreach(json_object_get(o, "rows"), i, row)
            put_line(&text, json_incref(row));
        if (convert_file(out, &text) < 0)
            code = complain(EXIT_DAEMON, "%s", cai_error_text());
        else
            say("%s: %zu rows, pairs as `caictl data` reads them\n", out, m->n);
    }
    json_decref(o);
    return code;
}

static int read_numbers(struct match *m, const struct args *a) {
    struct {
        const char *name;
        int64_t *at;
    } numbers[] = {{"seed", &m->seed}, {"samples", &m->samples}, {"limit", &m->limit},
                   {"show", &m->shown}};
    for (size_t i = 0; i < CAI_COUNT(numbers); i++)
        if (args_has(a, numbers[i].name) &&
            !args_number(numbers[i].name, args_get(a, numbers[i].name), numbers[i].at))
            return EXIT_USAGE;
    if (m->samples < 1 || m->samples > SAMPLES_MAX || m->limit < 1)
        return complain(EXIT_USAGE, "--samples is 1 to %d, and --limit at least 1", SAMPLES_MAX);
    m->heat = args_has(a, "temperature") ? args_get(a, "temperature") : "1";
    m->most = args_has(a, "max-new-tokens") ? args_get(a, "max-new-tokens") : "128";
    return 0;
}

static int prepare(struct match *m, const struct args *a) {
    int code = read_numbers(m, a);
    if (code == 0)
        code = target_find(a->positional[0], &m->a);
    if (code == 0)
        code = target_find(a->positional[1], &m->b);
    if (code == 0)
        code = find_overseer(m, a);
    if (code == 0)
        code = find_constitution(m, a);
    if (code == 0)
        code = find_prompts(m, a);
    return code ? code : set_bouts(m);
}

int run_compare(const struct args *a) {
    struct match m = {.seed = 1, .samples = 1, .limit = LIMIT, .shown = 3};
    int code = prepare(&m, a);
    if (code == 0)
        code = ask_replies(&m, &m.a, "a");
    if (code == 0)
        code = ask_replies(&m, &m.b, "b");
    if (code == 0)
        code = ask_choices(&m);
    if (code == 0)
        code = report(&m, a);
    for (size_t i = 0; i < m.n; i++)
        json_decref(m.at[i].row);
    free(m.at);
    free(m.conversations);
    json_decref(m.prompts);
    constitution_free(m.constitution);
    target_free(&m.a);
    target_free(&m.b);
    target_free(&m.overseer);
    return code;
}

const struct command look_commands[] = {
    {"compare",
     "A B [--prompts FILE] [--overseer MODEL] [--constitution REF]\n"
     "       [--principle ID] [--samples N] [--limit N] [--temperature T]\n"
     "       [--max-new-tokens N] [--seed N] [--show N] [--out FILE]",
     "prompts overseer constitution principle samples limit temperature max-new-tokens seed show out",
     2, 2, run_compare, "Let two models answer the same prompts, and an overseer choose",
     "  caictl compare 1:0 1                     the start of job 1, and its last model\n"
     "  caictl compare 1 2 --show 10             the last models of two jobs\n"
     "  caictl compare ./old ./new --prompts help.jsonl --overseer ./judge\n",
     "A and B are jobs (their last model), JOB:ROUND (0 is the start), or folders of models. Every\n"
     "pair is asked in both orders; a choice that turns with the order counts as undecided. The\n"
     "interval counts conversations, not replies.\n\n"
     "  --prompts FILE        of any form of `caictl data`; else the job's held-out prompts\n"
     "  --overseer MODEL      who chooses; else the job's. It should be neither of the two\n"
     "  --constitution REF    a file, name or revision; else the job's, else the one of caid\n"
     "  --principle ID        always this one; else drawn by weight for each pair\n"
     "  --samples N           replies to each prompt (1)\n"
     "  --limit N             prompts at most (100)\n"
     "  --temperature T       of the replies (1); 0 is greedy\n"
     "  --max-new-tokens N    of a reply (128)\n"
     "  --seed N              of replies and principles (1)\n"
     "  --show N              pairs shown side by side (3)\n"
     "  --out FILE            every pair as a row: messages, a, b, p\n"},
    {"diff", "A B", "", 2, 2, run_diff,
     "What differs between two jobs: settings, constitution, figures",
     "  caictl diff 1 2\n  caictl diff 1 2 -o json\n", "Ends with 1 when something differs.\n"},
    {"chat",
     "MODEL [--system TEXT] [--temperature T] [--max-new-tokens N] [--seed N]\n"
     "       [--threads N]",
     "system temperature max-new-tokens seed threads", 1, 1, run_chat,
     "Talk with a model in the terminal",
     "  caictl chat 1                  the last model of job 1\n"
     "  caictl chat 1:0                the model it began with\n"
     "  caictl chat ./model --system 'Be brief.'\n",
     "Ctrl-C ends a reply, Ctrl-D the talk; /help says what else there is.\n\n"
     "  --system TEXT         before all else\n"
     "  --temperature T       (0.7); 0 is greedy\n"
     "  --max-new-tokens N    of a reply (512)\n"
     "  --seed N              the same words and seed give the same reply (1)\n"
     "  --threads N           CPU threads (all)\n"},
    {0}};
