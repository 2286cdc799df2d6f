/* report.c: the requests for a job's report and for the principles' statistics. */
#include "base/error.h"
#include "report/report.h"
#include "control/control.h"

static int report(const struct request *q, json_t **ret) {
    struct store *store = q->run->store;
    struct store_job row;
    CAI_TRY(store_job_get(store, request_int(q, "id", 0), &row));
    int rc = report_job(store, &row, progress_json(q->run, &row), ret);
    store_job_free(&row);
    return rc;
}

static int constitution_stats(const struct request *q, json_t **ret) {
    struct store_job row;
    int64_t id = request_int(q, "id", 0);
    if (id) {
        CAI_TRY(store_job_get(q->run->store, id, &row));
        store_job_free(&row);
    }
    json_t *rows = NULL;
    int rc = report_principles(q->run->store, id, &rows);
    *ret = json_pack("{s:o}", "rows", rows);
    return rc;
}

const struct verb report_verbs[] = {
    {"report", false, "id:i!", report},
    {"constitution.stats", false, "id:i", constitution_stats},
    {0},
};
