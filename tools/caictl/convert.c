/* convert.c: data files from one form to another, and their splits. Rows keep their order and
 * their unknown members; a bad line stops all of it, unless it is to be left out. */
#include "convert.h"
#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"
#include "corpus.h"
#include "input/schema.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

struct conversion {
    enum record_style style;
    const char *out;
    double held_out;
    uint64_t seed;
    bool skip_bad, first_turn, no_duplicates, chosen_only;
    struct cai_buf text[2]; /* what is kept, and what is held out */
    size_t rows[2], left_out;
};

bool convert_style(const char *name, enum record_style *ret) {
    const char *names[STYLES];
    for (int s = 0; s < STYLES; s++) {
        names[s] = record_style_name((enum record_style)s);
        if (strcmp(names[s], name) == 0) {
            *ret = (enum record_style)s;
            return true;
        }
    }
    const char *near = cai_text_nearest(name, names, STYLES);
    complain(EXIT_USAGE, "there is no form '%s'%s%s%s; there are: trl trl-implicit trl-text messages "
                         "hh caid", name, near ? "; did you mean '" : "", near ? near : "",
             near ? "'?" : "");
    return false;
}

static int read_options(const struct args *a, struct conversion *v) {
    const char *share = args_get(a, "held-out"), *seed = args_get(a, "seed");
    int64_t number = 1;
    v->out = args_get(a, "out");
    v->skip_bad = args_has(a, "skip-bad");
    v->first_turn = args_has(a, "first-turn");
    v->no_duplicates = args_has(a, "no-duplicates");
    v->chosen_only = args_has(a, "chosen-only");
    if (share && (!schema_number(share, &v->held_out) || !(v->held_out > 0 && v->held_out < 1)))
        return complain(EXIT_USAGE, "--held-out is a share between 0 and 1, not '%s'", share);
    if (share && !v->out)
        return complain(EXIT_USAGE, "--held-out writes two files: name the first with --out");
    if (seed && !args_number("seed", seed, &number))
        return EXIT_USAGE;
    v->seed = (uint64_t)number;
    return 0;
}

/* The record without what the options take away. */
static void trim(const struct conversion *v, struct input_record *r) {
    if (v->chosen_only && r->a) {
        r->reply = r->p < 0.5 ? r->b : r->a;
        r->a = r->b = NULL;
    }
    if (!v->first_turn)
        return;
    size_t first = 0;
    while (strcmp(r->turns[first].role, "user") != 0)
        first++;
    r->n = first + 1;
    r->reply = r->a = r->b = NULL;
}

static bool goes_out(const struct conversion *v, const struct corpus *c, size_t i) {
    size_t group = similar_of(c->texts, i);
    return v->held_out > 0 &&
           cai_rng_uniform(cai_key_make(v->seed, 0, "caictl/held_out", group, 0), 0) < v->held_out;
}

static void convert_row(struct conversion *v, struct corpus *c, size_t i) {
    struct corpus_row *o = &c->at[i];
    size_t side = goes_out(v, c, i);
    if (v->no_duplicates && similar_of(c->texts, i) != i) {
        v->left_out++;
        return;
    }
    trim(v, &o->r);
    json_t *row = v->style == STYLE_MESSAGES && o->r.a ? NULL : record_write(&o->r, v->style);
    if (!row) {
        struct input_report own = {.file = c->files[o->file].path};
        input_report_add(&own, o->line, 1, "D006",
                         o->r.a ? "--chosen-only keeps the better reply alone" : NULL,
                         "cannot be written as %s: %s", record_style_name(v->style),
                         v->style == STYLE_MESSAGES && o->r.a ? "it is a pair of replies"
                                                              : cai_error_text());
        input_report_merge(&c->report, &own);
        c->files[o->file].bad++;
        return;
    }
    CAI_AUTO(mem) char *line = json_dumps(row, JSON_COMPACT);
    json_decref(row);
    CAI_CHECK(line);
    cai_buf_printf(&v->text[side], "%s\n", line);
    v->rows[side]++;
}

/* ---- files ------------------------------------------------------------------------------------ */

static int write_gzip(const char *path, const struct cai_buf *text) {
    CAI_AUTO(mem) char *part = cai_format("%s.part", path);
    gzFile f = gzopen(part, "wb9");
    if (!f)
        return cai_fail_errno("%s", part);
    size_t at = 0;
    while (at < text->len) {
        unsigned n = text->len - at > 1 << 20 ? 1 << 20 : (unsigned)(text->len - at);
        if (gzwrite(f, text->data + at, n) != (int)n)
            break;
        at += n;
    }
    if (gzclose(f) != Z_OK || at < text->len) {
        unlink(part);
        return cai_fail(CAI_EIO, "writing %s: %s", part, strerror(errno));
    }
    CAI_TRY(cai_file_sync(part));
    return cai_file_rename_durable(part, path);
}

int convert_file(const char *path, const struct cai_buf *text) {
    size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0)
        return write_gzip(path, text);
    return cai_file_write_atomic(path, text->data ? text->data : "", text->len);
}

/* pairs.jsonl.gz → pairs.held-out.jsonl.gz */
static char *held_out_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strchr(*name == '.' ? name + 1 : name, '.');
    size_t n = dot ? (size_t)(dot - path) : strlen(path);
    return cai_format("%.*s.held-out%s", (int)n, path, path + n);
}

static const char *plural(size_t n) {
    return n == 1 ? "" : "s";
}

static int write_all(struct conversion *v) {
    CAI_AUTO(mem) char *second = v->out ? held_out_name(v->out) : NULL;
    if (cai_buf_status(&v->text[0]) < 0 || cai_buf_status(&v->text[1]) < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    if (!v->out) {
        fwrite(v->text[0].data ? v->text[0].data : "", 1, v->text[0].len, stdout);
        say("%zu row%s\n", v->rows[0], plural(v->rows[0]));
        return EXIT_OK;
    }
    if (convert_file(v->out, &v->text[0]) < 0 ||
        (v->held_out > 0 && convert_file(second, &v->text[1]) < 0))
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    say("%s: %zu row%s\n", v->out, v->rows[0], plural(v->rows[0]));
    if (v->held_out > 0)
        say("%s: %zu row%s\n", second, v->rows[1], plural(v->rows[1]));
    return EXIT_OK;
}

static int convert(struct conversion *v, const char *const *paths, size_t n) {
    struct corpus c;
    corpus_read(&c, paths, n);
    for (size_t side = 0; side < 2; side++)
        v->text[side].max = (size_t)16 << 30;
    for (size_t i = 0; i < c.n; i++)
        convert_row(v, &c, i);
    size_t bad = corpus_bad(&c), good = v->rows[0] + v->rows[1];
    bool unreadable = c.report.errors > bad;
    int code = show_findings(&c.report);
    corpus_free(&c);
    if (code && (!v->skip_bad || unreadable || good == 0)) {
        say("Nothing was written%s\n",
            v->skip_bad || unreadable ? "" : "; --skip-bad leaves out the bad lines");
        return EXIT_INPUT;
    }
    if (bad)
        say("Left out %zu bad of %zu lines\n", bad, bad + good + v->left_out);
    if (v->left_out)
        say("Left out %zu rows that are nearly the same as an earlier one\n", v->left_out);
    return write_all(v);
}

static int run(const struct args *a, enum record_style style) {
    struct conversion v = {.style = style};
    int code = read_options(a, &v);
    if (code == 0)
        code = convert(&v, a->positional, a->n);
    cai_buf_free(&v.text[0]);
    cai_buf_free(&v.text[1]);
    return code;
}

int convert_import(const struct args *a) {
    return run(a, STYLE_CAID);
}

int convert_export(const struct args *a) {
    enum record_style style;
    const char *to = args_get(a, "to");
    if (!to)
        return complain(EXIT_USAGE, "name the form: --to trl, trl-implicit, trl-text, messages, hh "
                                    "or caid");
    return convert_style(to, &style) ? run(a, style) : EXIT_USAGE;
}
