/* Any bytes as a job file, and after a NUL an assignment of --set: refused with a place, or a
 * specification whose JSON reads back as the same. */
#include "folder.h"
#include "base/error.h"
#include "job/job.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a job names must be there: a folder m with a config.json, and a file d.jsonl. */
static void open_all(void) {
    folder_make("/tmp");
    CAI_AUTO(mem) char *model = cai_path_join(folder, "m");
    CAI_AUTO(mem) char *config = cai_path_join(model, "config.json");
    CAI_AUTO(mem) char *data = cai_path_join(folder, "d.jsonl");
    CAI_CHECK(cai_dir_make(model) == 0 && cai_file_write_atomic(config, "{}", 2) == 0);
    CAI_CHECK(cai_file_write_atomic(data, "{}", 2) == 0);
}

static void same_again(const struct job_spec *j) {
    json_t *first = job_to_json(j), *second;
    struct job_spec *again = NULL;
    CAI_CHECK(job_from_json(first, &again) == 0);
    second = job_to_json(again);
    CAI_CHECK(json_equal(first, second));
    json_decref(first);
    json_decref(second);
    job_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!folder[0])
        open_all();
    struct input_report report = {.file = "fuzz"};
    struct job_spec *j = NULL;
    const char *text = (const char *)data, *nul = memchr(text, 0, size);
    size_t len = nul ? (size_t)(nul - text) : size, rest = nul ? size - len - 1 : 0;
    if (job_parse("fuzz", text, len, folder, &report, &j) == 0) {
        same_again(j);
        char *assignment = cai_alloc(rest + 1);
        if (rest)
            memcpy(assignment, nul + 1, rest);
        if (nul && job_set(j, assignment, &report) == 0)
            same_again(j);
        free(assignment);
    } else {
        CAI_CHECK(report.errors > 0);
    }
    job_free(j);
    input_report_free(&report);
    return 0;
}
