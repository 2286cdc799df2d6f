/* labels.c: preferences between two replies. */
#include "base/error.h"
#include "store/sql.h"
#include <math.h>

int store_label_add(struct store *s, const struct store_label *l) {
    CAI_CHECK(l->item <= INT64_MAX);
    if (!isfinite(l->p) || l->p < 0 || l->p > 1)
        return cai_fail(CAI_ENUMERIC, "label of item %llu: probability %g is outside [0, 1]",
                        (unsigned long long)l->item, l->p);
    int rc = sql_do(s,
                    "INSERT INTO labels(job, round, item, k, source, principle, revision, model,"
                    " p, p_ab, p_ba, mass_ab, mass_ba, held_out)"
                    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    "iiiissssdddddi", l->job, (int64_t)l->round, (int64_t)l->item, (int64_t)l->k,
                    l->source, l->principle ? l->principle : "", l->revision ? l->revision : "",
                    l->model ? l->model : "", l->p, l->p_ab, l->p_ba, l->mass_ab, l->mass_ba,
                    (int64_t)l->held_out);
    if (rc == CAI_ESTATE)
        return cai_fail(CAI_ESTATE, "label %u/%llu/%u (%s) is there already", l->round,
                        (unsigned long long)l->item, l->k, l->source);
    return rc;
}

static struct store_label label_of_row(sqlite3_stmt *q, int64_t job) {
    return (struct store_label){
        .job = job,
        .round = (uint32_t)sql_int(q, 0),
        .item = (uint64_t)sql_int(q, 1),
        .k = (uint32_t)sql_int(q, 2),
        .source = sql_text(q, 3),
        .principle = sql_text(q, 4),
        .revision = sql_text(q, 5),
        .model = sql_text(q, 6),
        .p = sql_real(q, 7),
        .p_ab = sql_real(q, 8),
        .p_ba = sql_real(q, 9),
        .mass_ab = sql_real(q, 10),
        .mass_ba = sql_real(q, 11),
        .held_out = sql_int(q, 12) != 0,
    };
}

int store_labels_each(struct store *s, int64_t job, uint32_t round,
                      int (*f)(void *c, const struct store_label *l), void *c) {
    sqlite3_stmt *q = sql_start(s,
                                "SELECT round, item, k, source, principle, revision, model, p,"
                                " p_ab, p_ba, mass_ab, mass_ba, held_out FROM labels"
                                " WHERE job = ?1 AND (?2 = 0 OR round = ?2)"
                                " ORDER BY round, item, k, source",
                                "ii", job, (int64_t)round);
    int rc;
    while ((rc = sql_step(s, q)) > 0) {
        struct store_label l = label_of_row(q, job);
        int stop = f(c, &l);
        if (stop) {
            rc = stop;
            break;
        }
    }
    sql_end(s, q);
    return rc;
}
