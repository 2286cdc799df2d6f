/* corpus.c: reads data files row by row. Telling forms apart is input/record.c's. */
#include "corpus.h"
#include "base/error.h"
#include "input/jsonl.h"
#include <stdlib.h>

struct pass {
    corpus_function *f;
    void *context;
};

static void read_row(struct corpus *c, size_t file, size_t line, const json_t *row,
                     struct input_report *report, const struct pass *to) {
    CAI_AUTO(record) struct input_record r = {0};
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 1024;
        c->at = cai_realloc(c->at, c->cap, sizeof *c->at);
    }
    if (input_record(row, line, report, &r) < 0) {
        c->files[file].bad++;
        return;
    }
    c->at[c->n] = (struct corpus_row){(uint32_t)file, (uint32_t)line, r.form};
    similar_add_turns(c->texts, r.turns, r.n);
    c->files[file].good++;
    if (to->f)
        to->f(to->context, c->n, &r);
    c->n++;
}

static void read_file(struct corpus *c, size_t file, const struct pass *to) {
    struct corpus_file *f = &c->files[file];
    struct input_report own = {.file = f->path};
    struct jsonl *reader;
    json_t *row;
    size_t line;
    f->first = c->n;
    if (jsonl_open(f->path, &own, &reader) == 0) {
        while (jsonl_next(reader, &row, &line) > 0) {
            read_row(c, file, line, row, &own, to);
            json_decref(row);
        }
        f->bad += jsonl_bad(reader);
        jsonl_close(reader);
        if (f->good + f->bad == 0 && own.errors == 0)
            input_report_add(&own, 0, 0, "D008", "give at least one row", "the file has no rows");
    }
    input_report_merge(&c->report, &own);
}

static int again(const struct corpus *c, size_t file, const struct pass *to) {
    struct input_report none = {.file = c->files[file].path}; /* it was reported before */
    struct jsonl *reader;
    json_t *row;
    size_t line, i = c->files[file].first, end = i + c->files[file].good;
    bool same = true;
    if (jsonl_open(c->files[file].path, &none, &reader) == 0) {
        while (same && jsonl_next(reader, &row, &line) > 0) {
            CAI_AUTO(record) struct input_record r = {0};
            if (input_record(row, line, &none, &r) == 0) {
                same = i < end && c->at[i].line == line && c->at[i].form == r.form;
                if (same)
                    to->f(to->context, i++, &r);
            }
            json_decref(row);
        }
        jsonl_close(reader);
    }
    input_report_free(&none);
    cai_error_clear();
    return same && i == end ? 0
                            : cai_fail(CAI_ESTATE, "%s has changed while it was read",
                                       c->files[file].path);
}

int corpus_again(const struct corpus *c, corpus_function *f, void *context) {
    const struct pass to = {f, context};
    for (size_t i = 0; i < c->n_files; i++)
        if (c->files[i].good)
            CAI_TRY(again(c, i, &to));
    return 0;
}

void corpus_read(struct corpus *c, const char *const *paths, size_t n, corpus_function *f,
                 void *context) {
    const struct pass to = {f, context};
    *c = (struct corpus){.n_files = n, .texts = similar_new(SIMILAR_THRESHOLD)};
    c->files = cai_alloc((n + 1) * sizeof *c->files);
    for (size_t i = 0; i < n; i++) {
        c->files[i].path = paths[i];
        read_file(c, i, &to);
    }
    similar_group(c->texts);
    cai_error_clear();
}

void corpus_free(struct corpus *c) {
    free(c->at);
    free(c->files);
    similar_free(c->texts);
    input_report_free(&c->report);
    *c = (struct corpus){0};
}

size_t corpus_bad(const struct corpus *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_files; i++)
        n += c->files[i].bad;
    return n;
}

/* A group's lowest number is of the earliest file that has one of it. */
size_t corpus_check_apart(struct corpus *c, size_t from) {
    size_t found = 0, i = from < c->n_files ? c->files[from].first : c->n;
    struct input_report own = {0};
    for (; i < c->n; i++) {
        const struct corpus_row *o = &c->at[i], *first = &c->at[similar_of(c->texts, i)];
        if (first->file >= from)
            continue;
        own.file = c->files[o->file].path;
        input_report_add(&own, o->line, 1, "D011",
                         found ? NULL
                               : "take it out of one of the two; `caictl data import FILE --out OUT "
                                 "--held-out 0.1` splits a file so that this cannot be",
                         "nearly the same as %s:%u (similarity %.2f%s)",
                         c->files[first->file].path, first->line,
                         similar_jaccard(c->texts, i, (size_t)(first - c->at)),
                         similar_jaccard(c->texts, i, (size_t)(first - c->at)) < SIMILAR_THRESHOLD
                             ? ", of one conversation or by way of others"
                             : "");
        found++;
    }
    input_report_merge(&c->report, &own);
    return found;
}
