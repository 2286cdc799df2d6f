/* datafile.c: caictl data check and stats: what is in data files, and what is wrong in them. No
 * daemon needed. Converting them is convert.c's. */
#include "base/error.h"
#include "base/text.h"
#include "caictl.h"
#include "convert.h"
#include "corpus.h"
#include "job/job.h"
#include <stdlib.h>
#include <string.h>

/* ---- check ----------------------------------------------------------------------------------- */

/* "64 hh" or "60 hh, 4 prompt" */
static void put_forms(struct cai_buf *out, const struct corpus *c, size_t file) {
    size_t count[FORMS] = {0}, n = c->files[file].good, kinds = 0;
    for (size_t i = 0; i < n; i++)
        count[c->at[c->files[file].first + i].form]++;
    for (int f = 0; f < FORMS; f++)
        if (count[f])
            cai_buf_printf(out, "%s%zu %s", kinds++ ? ", " : "", count[f],
                           input_form_name((enum input_form)f));
}

static json_t *file_json(const struct corpus *c, size_t file) {
    CAI_AUTO(buf) struct cai_buf forms = {0};
    put_forms(&forms, c, file);
    return json_pack("{s:s, s:I, s:I, s:s}", "file", c->files[file].path, "rows",
                     (json_int_t)c->files[file].good, "bad", (json_int_t)c->files[file].bad, "forms",
                     forms.data ? forms.data : "-");
}

/* With --role, what a job asks of a row besides. */
static int check_roles(const struct args *a, const char *role) {
    CAI_AUTO(buf) struct cai_buf known = {0};
    int first = EXIT_OK, k = job_data_find(role);
    for (int i = 0; i < JOB_DATA_FILES; i++)
        cai_buf_printf(&known, "%s%s", i == 0 ? "" : i + 1 < JOB_DATA_FILES ? ", " : " or ",
                       job_data_name((enum job_data)i));
    if (k < 0)
        return complain(EXIT_USAGE, "--role is %s, as a job file names its data; not '%s'",
                        known.data, role);
    for (size_t i = 0; i < a->n; i++) {
        struct input_report report = {.file = a->positional[i]};
        struct job_rows n;
        job_read_data((enum job_data)k, a->positional[i], 0, &report, NULL, NULL, &n);
        int code = show_findings(&report);
        first = first ? first : code;
    }
    return first;
}

static size_t list_paths(const struct args *a, const char **paths) {
    size_t n = 0;
    for (size_t i = 0; i < a->n_options; i++)
        if (strcmp(a->options[i].name, "against") == 0)
            paths[n++] = a->options[i].value;
    for (size_t i = 0; i < a->n; i++)
        paths[n++] = a->positional[i];
    return n;
}

static int run_check(const struct args *a) {
    static const struct column columns[] = {{"FILE", "file", CELL_TEXT},
                                            {"GOOD", "rows", CELL_COUNT},
                                            {"BAD", "bad", CELL_COUNT},
                                            {"FORMS", "forms", CELL_TEXT}};
    const char *paths[2 * ARGS_MAX];
    size_t n = list_paths(a, paths), against = n - a->n;
    struct corpus c;
    int role = args_has(a, "role") ? check_roles(a, args_get(a, "role")) : EXIT_OK;
    if (role)
        return role;
    corpus_read(&c, paths, n, NULL, NULL);
    if (against)
        corpus_check_apart(&c, against);
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(rows, file_json(&c, i));
    json_t *o = json_pack("{s:o}", "rows", rows);
    if (globals.json || !globals.quiet)
        print_reply(o, columns, CAI_COUNT(columns));
    else
        json_decref(o);
    fflush(stdout);
    int code = show_findings(&c.report);
    corpus_free(&c);
    return code;
}

/* ---- stats ------------------------------------------------------------------------------------ */

struct lengths {
    uint32_t *at;
    size_t n, cap;
};

static void add_length(struct lengths *l, const char *text) {
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 1024;
        l->at = cai_realloc(l->at, l->cap, sizeof *l->at);
    }
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    l->at[l->n++] = (uint32_t)n;
}

static int order(const void *x, const void *y) {
    const uint32_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

static void put_lengths(json_t *rows, const char *what, struct lengths *l) {
    double sum = 0;
    if (l->n == 0)
        return;
    qsort(l->at, l->n, sizeof *l->at, order);
    for (size_t i = 0; i < l->n; i++)
        sum += (double)l->at[i];
    json_array_append_new(
        rows, json_pack("{s:s, s:I, s:f, s:I, s:I, s:I}", "text", what, "count", (json_int_t)l->n,
                        "mean", sum / (double)l->n, "median", (json_int_t)l->at[l->n / 2], "p95",
                        (json_int_t)l->at[(l->n * 95) / 100], "longest",
                        (json_int_t)l->at[l->n - 1]));
    free(l->at);
}

/* What is counted of rows as they go by. */
struct counted {
    struct lengths system, user, assistant, reply, a, b;
    size_t pairs, longer, soft, replies, alone, turns, most;
};

static void count_row(void *context, size_t i, struct input_record *r) {
    struct counted *o = context;
    (void)i;
    for (size_t k = 0; k < r->n; k++)
        add_length(strcmp(r->turns[k].role, "user") == 0     ? &o->user
                   : strcmp(r->turns[k].role, "system") == 0 ? &o->system
                                                             : &o->assistant,
                   r->turns[k].text);
    o->turns += r->n;
    o->most = r->n > o->most ? r->n : o->most;
    o->alone += !r->a && !r->reply;
    if (r->reply) {
        o->replies++;
        add_length(&o->reply, r->reply);
    }
    if (!r->a)
        return;
    const char *better = r->p < 0.5 ? r->b : r->a, *worse = r->p < 0.5 ? r->a : r->b;
    add_length(&o->a, better);
    add_length(&o->b, worse);
    o->pairs++;
    o->longer += strlen(better) > strlen(worse);
    o->soft += r->p != 1;
}

static json_t *lengths_json(struct counted *o) {
    json_t *rows = json_array();
    put_lengths(rows, "system message", &o->system);
    put_lengths(rows, "user's turn", &o->user);
    put_lengths(rows, "assistant's earlier turn", &o->assistant);
    put_lengths(rows, "reply", &o->reply);
    put_lengths(rows, "chosen reply", &o->a);
    put_lengths(rows, "rejected reply", &o->b);
    return rows;
}

static void put_figure(json_t *rows, const char *name, double value, const char *note) {
    json_t *number = value == (double)(int64_t)value ? json_integer((json_int_t)value)
                                                     : json_real(value);
    json_array_append_new(rows, json_pack("{s:s, s:o, s:s}", "figure", name, "value", number,
                                          "note", note));
}

/* `same` counts rows whose words are all those of an earlier one, `near` the others of a group. */
static void count_groups(const struct corpus *c, size_t *ret_same, size_t *ret_near) {
    *ret_same = *ret_near = 0;
    for (size_t i = 0; i < c->n; i++) {
        size_t first = similar_of(c->texts, i);
        bool same = first != i && similar_jaccard(c->texts, i, first) >= 1;
        *ret_same += same;
        *ret_near += first != i && !same;
    }
}

static json_t *figures_json(const struct corpus *c, const struct counted *t) {
    size_t same, near;
    count_groups(c, &same, &near);
    json_t *rows = json_array();
    put_figure(rows, "rows", (double)c->n, "");
    put_figure(rows, "bad lines", (double)corpus_bad(c), corpus_bad(c) ? "left out below" : "");
    put_figure(rows, "pairs", (double)t->pairs, "");
    if (t->soft)
        put_figure(rows, "pairs with a probability", (double)t->soft, "");
    put_figure(rows, "prompts with one reply", (double)t->replies, "");
    put_figure(rows, "prompts alone", (double)t->alone, "");
    if (c->n)
        put_figure(rows, "turns before the reply", (double)t->turns / (double)c->n, "mean");
    put_figure(rows, "most turns", (double)t->most, "");
    put_figure(rows, "same prompt again", (double)same, "rows whose prompt has the words of an earlier one");
    put_figure(rows, "nearly the same", (double)near, "or of the same conversation as an earlier row");
    put_figure(rows, "conversations", (double)(c->n - same - near), "a split keeps each whole");
    if (t->pairs)
        put_figure(rows, "the longer is chosen", (double)t->longer / (double)t->pairs,
                   "share of pairs; far from 0.5, length alone tells much");
    return rows;
}

static int run_stats(const struct args *a) {
    static const struct column figures[] = {{"FIGURE", "figure", CELL_TEXT},
                                            {"VALUE", "value", CELL_NUMBER},
                                            {"", "note", CELL_TEXT}};
    static const struct column lengths[] = {
        {"CHARACTERS IN", "text", CELL_TEXT}, {"COUNT", "count", CELL_COUNT},
        {"MEAN", "mean", CELL_NUMBER},        {"MEDIAN", "median", CELL_COUNT},
        {"95 %", "p95", CELL_COUNT},          {"LONGEST", "longest", CELL_COUNT}};
    struct corpus c;
    struct counted counted = {0};
    corpus_read(&c, a->positional, a->n, count_row, &counted);
    json_t *files = json_array();
    for (size_t i = 0; i < a->n; i++)
        json_array_append_new(files, file_json(&c, i));
    json_t *o = json_pack("{s:o, s:o, s:o}", "files", files, "figures", figures_json(&c, &counted), "lengths",
                          lengths_json(&counted));
    if (globals.json) {
        print_json(o);
    } else {
        print_rows(json_object_get(o, "figures"), figures, CAI_COUNT(figures));
        putchar('\n');
        print_rows(json_object_get(o, "lengths"), lengths, CAI_COUNT(lengths));
    }
    fflush(stdout);
    json_decref(o);
    int code = show_findings(&c.report);
    corpus_free(&c);
    return code;
}

const struct command file_commands[] = {
    {"data check", "FILE… [--role ROLE] [--against FILE]…", "role against", 1, ARGS_MAX, run_check,
     "Check data files of any published form, gzip too; every bad line is shown",
     "  caictl data check pairs.jsonl\n  caictl data check hh/train.jsonl.gz --role human\n"
     "  caictl data check held-out.jsonl --against train.jsonl\n",
     "  --role ROLE     also what a job asks of it as data.ROLE: harmful, helpful, human …\n"
     "  --against FILE  refuse rows that are nearly the same as one of that file, or of the same\n"
     "                  conversation: what is trained on must not be asked about\n\n"
     "Forms are told by their keys:\n"
     "  prompt          {\"prompt\"}, {\"prompt\", \"reply\"}\n"
     "  messages        {\"messages\": [{\"role\", \"content\"}, …]}\n"
     "  completion      {\"prompt\", \"completion\"}                 TRL prompt-completion\n"
     "  preference      {\"prompt\", \"chosen\", \"rejected\"}         TRL, texts or messages\n"
     "  implicit        {\"chosen\", \"rejected\"}                   TRL, the prompt in both\n"
     "  hh              the same as \"\\n\\nHuman: …\" transcripts   hh-rlhf\n"
     "  red-team        {\"transcript\", \"rating\", …}              red-team-attempts\n"
     "  ab              {\"prompt\", \"a\", \"b\", \"p\"}                p is P(a is better)\n"},
    {"data stats", "FILE…", "", 1, ARGS_MAX, run_stats,
     "Count rows, turns, lengths, duplicates and conversations of data files",
     "  caictl data stats pairs.jsonl\n  caictl data stats train.jsonl.gz -o json\n", NULL},
    {"data import",
     "FILE… [--out FILE] [--held-out SHARE] [--seed N] [--skip-bad]\n"
     "       [--first-turn] [--no-duplicates] [--chosen-only]",
     "out held-out seed skip-bad first-turn no-duplicates chosen-only", 1, ARGS_MAX,
     convert_import, "Turn data of any published form into what a job reads; split it soundly",
     "  caictl data import hh/train.jsonl.gz >pairs.jsonl\n"
     "  caictl data import red-team-attempts.jsonl.gz --first-turn --out red.jsonl\n"
     "  caictl data import all.jsonl --out pairs.jsonl --held-out 0.1\n",
     CONVERT_OPTIONS},
    {"data export",
     "FILE… --to FORM [--out FILE] [--held-out SHARE] [--seed N]\n"
     "       [--skip-bad] [--first-turn] [--no-duplicates] [--chosen-only]",
     "to out held-out seed skip-bad first-turn no-duplicates chosen-only", 1, ARGS_MAX,
     convert_export, "Turn data into a form that other trainers read",
     "  caictl data export pairs.jsonl --to trl >trl.jsonl\n"
     "  caictl data export talks.jsonl.gz --to messages --out talks.jsonl\n",
     "  --to FORM        trl           conversational, with its prompt\n"
     "                   trl-implicit  conversational, the prompt in both replies\n"
     "                   trl-text      plain texts; one user turn\n"
     "                   messages      conversations; of pairs only with --chosen-only\n"
     "                   hh            \"\\n\\nHuman: …\" transcripts\n"
     "                   caid          what a job reads\n" CONVERT_OPTIONS},
    {0}};
