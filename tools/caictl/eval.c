/* eval.c: evaluation sets (input/evalset.h) run on one model or two, through caiprobe, which scores
 * with the engine of the workers. What comes of it is marks.c's. */
#include "base/error.h"
#include "base/file.h"
#include "convert.h"
#include "look.h"
#include "marks.h"
#include <stdlib.h>
#include <string.h>

struct sitting {
    struct target a, b;
    bool against, chat, skip_bad;
    const char *const *files;
    size_t n;
    struct evalset *sets;     /* by file */
    struct mark **by_a, **by_b; /* by file, then item; by_b's are NULL with one model */
    int64_t limit;            /* items of a file; 0 = all */
};

/* ---- reading ---------------------------------------------------------------------------------- */
static int read_sets(struct sitting *s) {
    struct input_report all = {0};
    size_t bad = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct input_report own = {.file = s->files[i], .lenient = s->skip_bad};
        (void)evalset_read(s->files[i], &own, &s->sets[i]);
        own.lenient = false;
        bad += s->sets[i].bad;
        while (s->limit > 0 && s->sets[i].n > (size_t)s->limit)
            evalset_drop(&s->sets[i]);
        input_report_merge(&all, &own);
        s->by_a[i] = cai_alloc((s->sets[i].n + 1) * sizeof **s->by_a);
        s->by_b[i] = cai_alloc((s->sets[i].n + 1) * sizeof **s->by_b);
    }
    cai_error_clear();
    int code = show_findings(&all);
    if (code && bad)
        say("--skip-bad leaves out the bad lines\n");
    return code;
}

/* ---- asking ----------------------------------------------------------------------------------- */
struct asking {
    struct mark **marks;
    struct place {
        size_t file, item;
    } *at;
    const struct evalset *sets;
    size_t n, got;
};

static void put_line(struct cai_buf *out, json_t *o) {
    CAI_AUTO(mem) char *line = json_dumps(o, JSON_COMPACT);
    cai_buf_printf(out, "%s\n", line);
    json_decref(o);
}

static json_t *options_json(const struct evalset_item *q, bool blank) {
    json_t *list = json_array();
    for (size_t i = 0; i < q->n; i++) {
        CAI_AUTO(mem) char *text = cai_format("%s%s", blank ? " " : "", q->options[i]);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* In a text, an option stands apart from what is before it. */
static json_t *question(const struct evalset_item *q, bool chat) {
    size_t len = strlen(q->text);
    bool blank = len && !strchr(" \n\t", q->text[len - 1]);
    if (chat)
        return json_pack("{s:O, s:o}", "messages", q->messages, "replies", options_json(q, false));
    if (blank || len == 0)
        return json_pack("{s:s, s:o}", "text", q->text, "options", options_json(q, true));
    /* The blank belongs to the option: tokens begin with theirs. */
    CAI_AUTO(mem) char *cut = cai_strndup(q->text, len - (q->text[len - 1] == ' '));
    return json_pack("{s:s, s:o}", "text", cut, "options",
                     options_json(q, q->text[len - 1] == ' '));
}

static int take_options(void *c, size_t i, const json_t *line) {
    struct asking *o = c;
    const json_t *logprobs = json_object_get(line, "logprobs");
    const json_t *tokens = json_object_get(line, "tokens");
    if (i >= o->n)
        return 0;
    struct place at = o->at[i];
    size_t n = json_array_size(logprobs), want = o->sets[at.file].at[at.item].n;
    o->got++;
    if (n != want || json_array_size(tokens) != n)
        return 0; /* no room */
    CAI_AUTO(mem) double *x = cai_alloc((n + 1) * sizeof *x);
    CAI_AUTO(mem) double *y = cai_alloc((n + 1) * sizeof *y);
    for (size_t k = 0; k < n; k++) {
        x[k] = json_number_value(json_array_get(logprobs, k));
        y[k] = json_number_value(json_array_get(tokens, k));
    }
    mark_set(&o->marks[at.file][at.item], x, y, n);
    return 0;
}

static int take_text(void *c, size_t i, const json_t *line) {
    struct asking *o = c;
    if (i >= o->n)
        return 0;
    struct mark *m = &o->marks[o->at[i].file][o->at[i].item];
    double logprob = number_of(line, "logprob", 0), tokens = number_of(line, "tokens", 0);
    o->got++;
    if (tokens > 0) /* else there is nothing to predict */
        mark_set(m, &logprob, &tokens, 1);
    m->bytes = number_of(line, "bytes", 0);
    return 0;
}

/* All items of one kind of work, of all files: the model is loaded once for each. */
static int ask_some(const struct sitting *s, const struct target *who, struct mark **marks,
                    bool texts) {
    CAI_AUTO(buf) struct cai_buf input = {0};
    size_t all = 0;
    for (size_t f = 0; f < s->n; f++)
        all += s->sets[f].n;
    struct asking o = {.marks = marks, .sets = s->sets};
    CAI_AUTO(mem) struct place *at = o.at = cai_alloc((all + 1) * sizeof *o.at);
    for (size_t f = 0; f < s->n; f++)
        for (size_t i = 0; i < s->sets[f].n; i++) {
            const struct evalset_item *q = &s->sets[f].at[i];
            if ((q->kind == EVALSET_TEXT) != texts)
                continue;
            at[o.n++] = (struct place){f, i};
            put_line(&input, texts ? json_pack("{s:s}", "text", q->text) : question(q, s->chat));
        }
    if (o.n == 0)
        return 0;
    const char *const arguments[] = {texts ? "text" : "options", "--model", who->path, NULL};
    say("%s: %zu %s …\n", who->name, o.n, texts ? "texts" : "questions");
    int code = child_run(arguments, &input, texts ? take_text : take_options, &o);
    if (code == 0 && o.got < o.n)
        code = complain(EXIT_PROTOCOL, "caiprobe gave fewer answers than it was asked for");
    return code;
}

static int ask(const struct sitting *s, const struct target *who, struct mark **marks) {
    int code = ask_some(s, who, marks, false);
    return code ? code : ask_some(s, who, marks, true);
}

/* ---- showing ---------------------------------------------------------------------------------- */
static void print_share(const char *what, const json_t *s) {
    printf("  %-22s %5.1f %%  (%.1f to %.1f)", what, 100 * number_of(s, "value", 0),
           100 * number_of(s, "low", 0), 100 * number_of(s, "high", 1));
}

static void print_choice(const json_t *o, const char *key, const char *how) {
    const json_t *r = json_object_get(o, key), *d = json_object_get(r, "difference");
    char title[64];
    if (!r)
        return;
    snprintf(title, sizeof title, "%s %s", d ? "A right" : "right", how);
    print_share(title, json_object_get(r, "a"));
    printf(" of %lld\n", (long long)integer_of(json_object_get(r, "a"), "n"));
    if (!d)
        return;
    snprintf(title, sizeof title, "B right %s", how);
    print_share(title, json_object_get(r, "b"));
    printf("\n  B less A               %+5.1f points (%+.1f to %+.1f); only A right %lld, only B "
           "%lld, p %.2g\n",
           100 * number_of(d, "value", 0), 100 * number_of(d, "low", 0),
           100 * number_of(d, "high", 0), (long long)integer_of(d, "only_a"),
           (long long)integer_of(d, "only_b"), number_of(d, "p", 1));
}

static void print_bits(const json_t *o, const char *key, const char *what) {
    const json_t *r = json_object_get(o, key), *d = json_object_get(r, "difference");
    if (!r)
        return;
    printf("  %-22s %.4f", what, number_of(r, "a", 0));
    if (d)
        printf(" (A), %.4f (B); B less A %+.4f (%+.4f to %+.4f)", number_of(r, "b", 0),
               number_of(d, "value", 0), number_of(d, "low", 0), number_of(d, "high", 0));
    printf(", %lld\n", (long long)integer_of(r, "n"));
}

static void print_file(const json_t *o) {
    print_text(text_of(o, "file"));
    putchar('\n');
    print_choice(o, "choice", "");
    print_choice(o, "choice_each", "per token");
    print_bits(o, "open", "bits per byte, targets");
    print_bits(o, "texts", "bits per byte, texts");
    if (integer_of(o, "too_long"))
        printf("  %lld had no room, or nothing to predict, and are left out\n",
               (long long)integer_of(o, "too_long"));
    if (integer_of(o, "bad"))
        printf("  %lld bad lines are left out\n", (long long)integer_of(o, "bad"));
}

static json_t *results(const struct sitting *s) {
    json_t *files = json_array();
    for (size_t f = 0; f < s->n; f++)
        json_array_append_new(files, marks_json(s->files[f], &s->sets[f], s->by_a[f],
                                                s->against ? s->by_b[f] : NULL));
    return json_pack("{s:s, s:s*, s:s, s:o}", "a", s->a.name, "b", s->against ? s->b.name : NULL,
                     "form", s->chat ? "chat" : "text", "files", files);
}

static int export_items(const struct sitting *s, const char *path) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    size_t n = 0;
    for (size_t f = 0; f < s->n; f++)
        for (size_t i = 0; i < s->sets[f].n; i++, n++)
            put_line(&text, mark_row(s->files[f], &s->sets[f].at[i], &s->by_a[f][i],
                                     s->against ? &s->by_b[f][i] : NULL));
    if (convert_file(path, &text) < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    say("%s: %zu rows\n", path, n);
    return EXIT_OK;
}

static int show(const struct sitting *s, const struct args *a) {
    json_t *o = results(s), *file;
    size_t i;
    if (globals.json) {
        print_json(o);
    } else {
        if (s->against)
            printf("A  %s\nB  %s\n", s->a.name, s->b.name);
        json_array_foreach(json_object_get(o, "files"), i, file) print_file(file);
    }
    json_decref(o);
    return args_has(a, "export") ? export_items(s, args_get(a, "export")) : EXIT_OK;
}

/* ---- the whole -------------------------------------------------------------------------------- */
static int prepare(struct sitting *s, const struct args *a) {
    const char *form = args_get(a, "form"), *against = args_get(a, "against");
    s->chat = !form || strcmp(form, "chat") == 0;
    s->skip_bad = args_has(a, "skip-bad");
    if (!s->chat && strcmp(form, "text") != 0)
        return complain(EXIT_USAGE, "--form is chat or text, not '%s'", form);
    if (args_has(a, "limit") && !args_number("limit", args_get(a, "limit"), &s->limit))
        return EXIT_USAGE;
    int code = read_sets(s);
    if (code == 0)
        code = target_find(a->positional[0], &s->a);
    s->against = against != NULL;
    return code || !against ? code : target_find(against, &s->b);
}

static void sitting_free(struct sitting *s) {
    for (size_t f = 0; f < s->n; f++) {
        for (size_t i = 0; i < s->sets[f].n; i++) {
            mark_free(&s->by_a[f][i]);
            mark_free(&s->by_b[f][i]);
        }
        free(s->by_a[f]);
        free(s->by_b[f]);
        evalset_free(&s->sets[f]);
    }
    free(s->sets);
    free(s->by_a);
    free(s->by_b);
    target_free(&s->a);
    target_free(&s->b);
}

static int run_eval(const struct args *a) {
    struct sitting s = {.files = a->positional + 1, .n = a->n - 1};
    s.sets = cai_alloc((s.n + 1) * sizeof *s.sets);
    s.by_a = cai_alloc((s.n + 1) * sizeof *s.by_a);
    s.by_b = cai_alloc((s.n + 1) * sizeof *s.by_b);
    int code = prepare(&s, a);
    if (code == 0)
        code = ask(&s, &s.a, s.by_a);
    if (code == 0 && s.against)
        code = ask(&s, &s.b, s.by_b);
    if (code == 0)
        code = show(&s, a);
    sitting_free(&s);
    return code;
}

const struct command eval_commands[] = {
    {"eval",
     "MODEL FILE... [--against MODEL] [--form chat|text] [--limit N]\n"
     "       [--skip-bad] [--export FILE]",
     "against form limit skip-bad export", 2, ARGS_MAX, run_eval,
     "Run evaluation sets on a model: multiple choice, bits per byte",
     "  caictl eval 1 hhh.json --against 1:0     the last model of job 1 and the one it began with\n"
     "  caictl eval ./model own.jsonl -o json\n",
     "MODEL is a job (its last model), JOB:ROUND (0 is the start), or a folder. A file is a BIG-bench\n"
     "task (JSON), or JSON Lines of these:\n"
     "  {\"input\", \"target_scores\": {option: score}}      BIG-bench, one example a line\n"
     "  {\"prompt\" or \"messages\", \"options\", \"answer\"}    one's own: text, number from 0, or letter\n"
     "  {\"question\", \"answer_matching_behavior\", \"answer_not_matching_behavior\"}\n"
     "  {\"prompt\", \"target\"}                             bits per byte of the one right text\n"
     "  {\"text\"}                                         bits per byte\n"
     "An item is right when the model gives a best option the highest probability: as a whole, and\n"
     "beside it per token, which does not favour short ones. Intervals are of 95 % (Wilson; of a\n"
     "difference paired, with McNemar's exact p; of bits per byte by resampling texts).\n\n"
     "  --against MODEL       the same items by another model, and the difference\n"
     "  --form chat|text      an option as a reply in the model's chat format, its end included\n"
     "                        (chat), or as text that goes on (text: base models)\n"
     "  --limit N             the first N items of each file\n"
     "  --skip-bad            leave out bad lines; each is shown. Else one of them stops it\n"
     "  --export FILE         every item as a row: options, log-probabilities, which was chosen\n"},
    {0}};
