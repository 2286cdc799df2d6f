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
#include <fcntl.h>
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
    struct sink {
        char *path, *part; /* NULL: standard output, by way of a file without a name */
        gzFile f;
        bool broken;
    } to[2]; /* what is kept, and what is held out */
    struct corpus *corpus;
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

/* ---- where rows go ------------------------------------------------------------------------------ */

static bool is_gzip(const char *path) {
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

static int sink_open(struct sink *s, const char *path) {
    char unnamed[] = "/tmp/caictl-XXXXXX";
    if (path) {
        s->path = cai_strdup(path);
        s->part = cai_format("%s.part", path);
        int fd = open(s->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
        s->f = fd >= 0 ? gzdopen(fd, is_gzip(path) ? "wb9" : "wbT") : NULL;
    } else {
        int fd = mkstemp(unnamed);
        if (fd >= 0)
            unlink(unnamed);
        int copy = fd >= 0 ? dup(fd) : -1;
        s->f = copy >= 0 ? gzdopen(copy, "wbT") : NULL;
        s->part = s->f ? cai_format("/proc/self/fd/%d", fd) : NULL;
    }
    return s->f ? 0 : cai_fail_errno("%s", path ? s->part : unnamed);
}

static void sink_line(struct sink *s, const char *line) {
    size_t n = strlen(line);
    s->broken = s->broken || gzwrite(s->f, line, (unsigned)n) != (int)n || gzputc(s->f, '\n') < 0;
}

/* To its name, or to standard output, when `keep`; else it was never there. */
static int sink_close(struct sink *s, bool keep) {
    int rc = 0;
    if (s->f && (gzclose(s->f) != Z_OK || s->broken) && keep)
        rc = cai_fail(CAI_EIO, "writing %s: %s", s->path ? s->path : "a temporary file",
                      strerror(errno));
    if (s->path && s->f && (rc || !keep))
        unlink(s->part);
    else if (s->path && s->f && rc == 0 && (rc = cai_file_sync(s->part)) == 0)
        rc = cai_file_rename_durable(s->part, s->path);
    else if (!s->path && s->part && keep && rc == 0) {
        char chunk[64 << 10];
        FILE *f = fopen(s->part, "re");
        for (size_t n; f && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
            fwrite(chunk, 1, n, stdout);
        if (f)
            fclose(f);
    }
    if (!s->path && s->part)
        close(atoi(s->part + strlen("/proc/self/fd/")));
    free(s->path);
    free(s->part);
    *s = (struct sink){0};
    return rc;
}

static void convert_row(void *context, size_t i, struct input_record *r) {
    struct conversion *v = context;
    struct corpus *c = v->corpus;
    const struct corpus_row *o = &c->at[i];
    size_t side = goes_out(v, c, i);
    if (v->no_duplicates && similar_of(c->texts, i) != i) {
        v->left_out++;
        return;
    }
    trim(v, r);
    json_t *row = v->style == STYLE_MESSAGES && r->a ? NULL : record_write(r, v->style);
    if (!row) {
        struct input_report own = {.file = c->files[o->file].path};
        input_report_add(&own, o->line, 1, "D006",
                         r->a ? "--chosen-only keeps the better reply alone" : NULL,
                         "cannot be written as %s: %s", record_style_name(v->style),
                         v->style == STYLE_MESSAGES && r->a ? "it is a pair of replies"
                                                              : cai_error_text());
        input_report_merge(&c->report, &own);
        c->files[o->file].bad++;
        return;
    }
    CAI_AUTO(mem) char *line = json_dumps(row, JSON_COMPACT);
    json_decref(row);
    CAI_CHECK(line);
    sink_line(&v->to[side], line);
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
    if (is_gzip(path))
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

static int open_sinks(struct conversion *v) {
    CAI_AUTO(mem) char *second = v->out ? held_out_name(v->out) : NULL;
    CAI_TRY(sink_open(&v->to[0], v->out));
    return v->held_out > 0 ? sink_open(&v->to[1], second) : 0;
}

/* Says what was written; each file appears whole or not at all. */
static int close_sinks(struct conversion *v) {
    CAI_AUTO(mem) char *second = v->out ? held_out_name(v->out) : NULL;
    if (sink_close(&v->to[0], true) < 0 || (v->held_out > 0 && sink_close(&v->to[1], true) < 0))
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    if (!v->out)
        say("%zu row%s\n", v->rows[0], plural(v->rows[0]));
    else
        say("%s: %zu row%s\n", v->out, v->rows[0], plural(v->rows[0]));
    if (v->held_out > 0)
        say("%s: %zu row%s\n", second, v->rows[1], plural(v->rows[1]));
    return EXIT_OK;
}

/* Rows are read twice: which belong together is known after the first time. */
static int convert(struct conversion *v, const char *const *paths, size_t n) {
    struct corpus c;
    corpus_read(&c, paths, n, NULL, NULL);
    v->corpus = &c;
    int rc = open_sinks(v);
    if (rc == 0)
        rc = corpus_again(&c, convert_row, v);
    size_t bad = corpus_bad(&c), good = v->rows[0] + v->rows[1];
    bool unreadable = c.report.errors > bad;
    int code = show_findings(&c.report);
    corpus_free(&c);
    if (rc < 0)
        return complain(EXIT_DAEMON, "%s", cai_error_text());
    if (code && (!v->skip_bad || unreadable || good == 0)) {
        say("Nothing was written%s\n",
            v->skip_bad || unreadable ? "" : "; --skip-bad leaves out the bad lines");
        return EXIT_INPUT;
    }
    if (bad)
        say("Left out %zu bad of %zu lines\n", bad, bad + good + v->left_out);
    if (v->left_out)
        say("Left out %zu rows that are nearly the same as an earlier one\n", v->left_out);
    return close_sinks(v);
}

static int run(const struct args *a, enum record_style style) {
    struct conversion v = {.style = style};
    int code = read_options(a, &v);
    if (code == 0)
        code = convert(&v, a->positional, a->n);
    sink_close(&v.to[0], false);
    sink_close(&v.to[1], false);
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
