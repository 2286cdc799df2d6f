/* sample.c: see sample.h. A file is read twice: to count its rows, and to write those drawn. */
#include "job/sample.h"

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include <stdlib.h>
#include <string.h>

struct taking {
    struct job_sample *count;
    const bool *taken; /* by a row's place among the good ones; NULL: counting */
    size_t n;
    struct cai_buf text;
};

static void count_kind(struct job_sample *s, const struct input_record *r) {
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    const char *kind = json_string_value(json_object_get(r->rest, "kind"));
    for (size_t i = 0; kind && i < 3; i++)
        s->kinds[i] += strcmp(kind, kinds[i]) == 0;
}

static int count_row(void *c, size_t line, const struct input_record *r) {
    struct taking *t = c;
    (void)line;
    t->count->rows++;
    count_kind(t->count, r);
    return 0;
}

static int write_row(void *c, size_t line, const struct input_record *r) {
    struct taking *t = c;
    (void)line;
    if (!t->taken[t->n++])
        return 0;
    json_t *row = record_write(r, STYLE_CAID);
    if (!row)
        return cai_error_code();
    CAI_AUTO(mem) char *text = json_dumps(row, JSON_COMPACT);
    json_decref(row);
    cai_buf_puts(&t->text, text);
    cai_buf_putc(&t->text, '\n');
    return 0;
}

static bool *draw(size_t rows, size_t most, uint64_t seed) {
    bool *taken = cai_alloc(rows + 1);
    CAI_AUTO(mem) uint32_t *order = cai_realloc(NULL, rows + 1, sizeof *order);
    cai_rng_permutation(cai_key_make(seed, 0, "sample/rows", 0, 0), rows, order);
    for (size_t i = 0; i < rows && i < most; i++)
        taken[order[i]] = true;
    return taken;
}

int job_sample_data(enum job_data role, const char *path, double skip, size_t most, uint64_t seed,
                    const char *to, struct job_sample *ret) {
    *ret = (struct job_sample){0};
    struct taking t = {.count = ret};
    struct input_report report = {.file = path};
    struct job_rows rows;
    int rc = job_read_data(role, path, skip, &report, count_row, &t, &rows);
    CAI_AUTO(mem) bool *taken = NULL;
    if (rc == 0 && to) {
        t.taken = taken = draw(ret->rows, most, seed);
        rc = job_read_data(role, path, skip, &report, write_row, &t, &rows);
    }
    if (rc == 0 && to)
        rc = cai_file_write_atomic(to, t.text.data ? t.text.data : "", t.text.len);
    cai_buf_free(&t.text);
    input_report_free(&report);
    return rc == CAI_EINPUT && !*cai_error_text()
               ? cai_fail(CAI_EINPUT, "%s has bad rows; see 'caictl data check'", path)
               : rc;
}

int job_sample_all(struct job_spec *j, size_t most, const char *dir) {
    CAI_TRY(cai_dir_make(dir));
    for (int role = 0; role < JOB_DATA_FILES; role++) {
        const char **path = job_data_at(j, (enum job_data)role);
        struct job_sample s;
        if (!*path || role == JOB_DATA_CANARIES) /* pairs stay whole; the audit draws from them */
            continue;
        char *to = cai_arena_printf(&j->arena, "%s/%d.jsonl", dir, role);
        CAI_TRY(job_sample_data((enum job_data)role, *path, j->data.skip, most, j->seed, to, &s));
        *path = to;
    }
    return 0;
}
