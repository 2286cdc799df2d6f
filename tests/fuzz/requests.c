/* Frames to a coordinator with a finished job in its store, as caictl and workers send them:
 * each frame is two bytes for its length and its bytes. Nothing a peer says may end caid, and
 * what it answers is asked of every verb by name in the corpus. */
#include "folder.h"
#include "base/error.h"
#include "base/log.h"
#include "control/parts.h"
#include "control/front.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char house[] =
    "constitution: 1\nname: house\nprinciples:\n  - id: kind\n    critique: Say what is unkind.\n"
    "    revision: Rewrite it kindly.\n    choice: Which is kinder?\n";
static const char job_text[] = "job: 1\nname: done\nmodels: {start: ./m}\nconstitution: house\n"
                               "data: {harmful: ./d.jsonl}\nrounds: 1\n";
static char state_dir[80], runtime_dir[80];
static struct run *run;

static void close_run(void) { run_close(run); }

static void add_constitution(struct store *s, char revision[65]) {
    struct input_report report = {.file = "house"};
    struct constitution *c = NULL;
    struct cai_buf canonical = {0};
    CAI_CHECK(constitution_parse("house", house, strlen(house), NULL, &report, &c) == 0);
    constitution_canonical(c, &canonical);
    memcpy(revision, c->revision, 65);
    CAI_CHECK(store_constitution_add(s, "house", revision, canonical.data, "first") == 0);
    CAI_CHECK(store_constitution_set_current(s, "house", revision) == 0);
    cai_buf_free(&canonical);
    constitution_free(c);
    input_report_free(&report);
}

static void add_texts(struct store *s, int64_t job, const char *revision) {
    static const char *const kinds[] = {"reply", "critique", "revision"};
    for (uint32_t item = 0; item < 3; item++)
        for (uint32_t k = 0; k < 3; k++) {
            struct store_example e = {.job = job, .round = 1, .stage = "revise", .item = item,
                                      .k = k, .kind = kinds[k], .text = "a text", .principle = "kind",
                                      .revision = revision, .model = "", .detail = "{}"};
            CAI_CHECK(store_example_add(s, &e) == 0);
        }
    struct store_label l = {.job = job, .round = 1, .item = 1, .principle = "kind",
                            .revision = revision, .model = "", .source = "ai", .p = 0.75,
                            .p_ab = 0.75, .p_ba = 0.25, .mass_ab = 1, .mass_ba = 1};
    CAI_CHECK(store_label_add(s, &l) == 0);
    CAI_CHECK(store_job_set_stage(s, job, 2, "ppo", true) == 0);
    for (uint64_t step = 0; step < 4; step++)
        CAI_CHECK(store_metric_add(s, job, 2, "ppo", step, "reward", (double)step) == 0);
    CAI_CHECK(store_metric_add(s, job, 1, "evaluate", 0, "harmful_rate", 0.5) == 0);
    CAI_CHECK(store_event_add(s, job, CAI_LOG_INFO, "starts") == 0);
}

static void add_job(struct store *s) {
    struct input_report report = {.file = "job"};
    struct job_spec *j = NULL;
    char revision[65];
    int64_t id;
    add_constitution(s, revision);
    CAI_CHECK(job_parse("job", job_text, strlen(job_text), folder, &report, &j) == 0);
    json_t *o = job_to_json(j);
    char *spec = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    CAI_CHECK(store_job_add(s, "done", spec, revision, 0, "", &id) == 0);
    CAI_CHECK(store_job_set_state(s, id, JOB_COMPLETED, "", "") == 0);
    add_texts(s, id, revision);
    free(spec);
    job_free(j);
    input_report_free(&report);
}

static void put(const char *name) {
    CAI_AUTO(mem) char *path = cai_path_join(folder, name);
    CAI_CHECK(cai_file_write_atomic(path, "{}", 2) == 0);
}

static void open_all(void) {
    folder_make("/dev/shm"); /* no disk waits for fsync */
    CAI_AUTO(mem) char *model = cai_path_join(folder, "m");
    CAI_CHECK(cai_dir_make(model) == 0);
    put("m/config.json");
    put("d.jsonl");
    cai_log_open("fuzz", (enum cai_log_level)0);
    snprintf(state_dir, sizeof state_dir, "%s/state", folder);
    snprintf(runtime_dir, sizeof runtime_dir, "%s/run", folder);
    struct run_options o = {.spawner_fd = -1, .front = &control_front, .state_dir = state_dir, .runtime_dir = runtime_dir};
    run_config_default(&o.config);
    CAI_CHECK(run_open(&o, &run) == 0);
    atexit(close_run); /* before the folder goes */
    memset(run->nonce, '0', sizeof run->nonce - 1); /* what the corpus's workers say */
    add_job(run->store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!run)
        open_all();
    const struct channel_peer peer = {.len = 4, .id = "peer"};
    for (size_t at = 0; at + 2 <= size;) {
        size_t n = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        n = n < size - at ? n : size - at;
        Cai__V1__Frame *f = cai__v1__frame__unpack(NULL, n, data + at);
        at += n;
        if (!f)
            continue;
        if (f->body_case == CAI__V1__FRAME__BODY_REQUEST)
            control_frame(run, &peer, f);
        else if (f->body_case != CAI__V1__FRAME__BODY__NOT_SET)
            workers_frame(run, &peer, f);
        cai__v1__frame__free_unpacked(f, NULL);
        schedule(run);
    }
    workers_beat(run);
    Cai__V1__Bye bye = CAI__V1__BYE__INIT;
    Cai__V1__Frame last = CAI__V1__FRAME__INIT;
    last.body_case = CAI__V1__FRAME__BODY_BYE;
    last.bye = &bye;
    workers_frame(run, &peer, &last);
    return 0;
}
