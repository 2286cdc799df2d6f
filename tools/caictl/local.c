/* local.c: commands that need no daemon: init, version, doctor (its local half), job check;
 * and reading a job with everything it names, which submit shares. */
#include "local.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "caictl.h"
#include "constitution/constitution.h"
#include "hf/adapter.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* ---- a job and what it names ------------------------------------------------------------- */

void local_job_free(struct local_job *l) {
    job_free(l->job);
    constitution_free(l->constitution);
    *l = (struct local_job){0};
}

static uint32_t phases_of(const struct job_spec *j) {
    bool rounds = j->rounds > 0;
    return (rounds && j->revise.enabled ? PHASE_SFT : 0) |
           (rounds && j->label.enabled ? PHASE_RL : 0);
}

/* What the job asks of the constitution's choices. */
static void check_labels(const struct local_job *l, struct input_report *report) {
    const struct constitution *c = l->constitution;
    int64_t usable = 0, with_reasons = 0;
    if (!(phases_of(l->job) & PHASE_RL))
        return;
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct principle *p = &c->principles[i];
        usable += p->enabled && p->weight > 0 && p->phases & PHASE_RL && p->choice;
    }
    for (size_t i = 0; i < c->n_choice_examples; i++)
        with_reasons += c->choice_examples[i].reasoning != NULL;
    struct job_place at = job_place_of(l->job, "stages.label.principles");
    if (usable && l->job->label.principles > usable)
        input_report_add(report, at.line, at.column, "C043", "lower it, or write more of them",
                         "stages.label.principles is %lld, but the constitution has %lld that can "
                         "be asked about a choice", (long long)l->job->label.principles,
                         (long long)usable);
    at = job_place_of(l->job, "stages.label.mode");
    if (job_label_reasons(l->job) && with_reasons == 0)
        input_report_add(report, at.line, at.column, "W205",
                         "give choice_examples a 'reasoning', as the default constitution does",
                         "mode cot, but no choice example shows reasons: they are asked for "
                         "without an example");
}

/* A constitution that is named by a path is read here; another is the daemon's to find. */
static void read_constitution(struct local_job *l, struct input_report *report) {
    const char *path = l->job->constitution;
    if (path[0] != '/')
        return;
    struct input_report own = {.file = path};
    if (constitution_load(path, &own, &l->constitution) == 0) {
        constitution_serves(l->constitution, phases_of(l->job), &own);
        check_labels(l, report);
    }
    input_report_merge(report, &own);
}

static void refuse(const struct job_spec *j, const char *setting, struct input_report *report) {
    struct job_place at = job_place_of(j, setting);
    input_report_add(report, at.line, at.column, "C041", NULL, "'%s': %s", setting,
                     cai_error_text());
}

/* Folders that hold something else than a model fail here, not on a worker an hour later. */
static void check_models(const struct job_spec *j, struct input_report *report) {
    /* A preference model may begin with a scalar head: it is used; or is given one. */
    const struct {
        const char *setting, *path;
        bool writes;
    } models[] = {{"models.start", j->models.start, true},
                  {"models.generator", j->models.generator, true},
                  {"models.overseer", j->models.overseer, true},
                  {"models.second_overseer", j->models.second_overseer, true},
                  {"models.pm", j->models.pm, false},
                  {"models.red", j->models.red, true}};
    for (size_t i = 0; i < CAI_COUNT(models); i++) {
        bool seen = !models[i].path || models[i].path[0] != '/';
        for (size_t k = 0; k < i && !seen; k++)
            seen = models[k].path && strcmp(models[k].path, models[i].path) == 0;
        if (seen || (hf_check(models[i].path, true) == 0 &&
                     (!models[i].writes || hf_check_writes(models[i].path) == 0)))
            continue;
        refuse(j, models[i].setting, report);
    }
}

/* Score heads that transformers could not open, and adapters that do not fit. */
static void check_trained(const struct job_spec *j, struct input_report *report) {
    struct hf_adapter lora;
    if (job_stored_name(j->models.start)) /* the daemon looks at it */
        return;
    bool prefers = j->rounds > 0 && j->prefer.enabled, own = j->models.pm && j->models.pm[0] == '/';
    if (j->data.classifier && hf_check_scores(j->models.start, JOB_REMEDY_CLASSIFIER) < 0)
        refuse(j, "data.classifier", report);
    if (prefers && hf_check_scores(own ? j->models.pm : j->models.start, JOB_REMEDY_PREFER) < 0)
        refuse(j, own ? "models.pm" : "models.start", report);
    if (job_value_from_policy(j) && hf_check_scores(j->models.start, JOB_REMEDY_VALUE) < 0)
        refuse(j, "stages.ppo.value_from", report);
    if (j->models.lora.rank == 0)
        return;
    if (hf_adapter_make(j->models.lora.rank, j->models.lora.alpha, j->models.lora.targets, &lora) <
        0)
        refuse(j, "models.lora.targets", report);
    else if (hf_adapter_check(j->models.start, &lora) < 0 ||
             (prefers && own && hf_adapter_check(j->models.pm, &lora) < 0))
        refuse(j, "models.lora.rank", report);
}

int local_job_load(const char *path, const char *const *sets, size_t n, struct local_job *ret) {
    struct input_report report = {.file = path};
    *ret = (struct local_job){0};
    if (job_load_set(path, sets, n, &report, &ret->job) == 0) {
        read_constitution(ret, &report);
        size_t errors = report.errors;
        check_models(ret->job, &report);
        if (report.errors == errors) /* the folders can be read */
            check_trained(ret->job, &report);
        job_check_data(ret->job, &report, ret->rows);
        if (ret->constitution)
            job_adopt(ret->job, ret->constitution->revisions, ret->constitution->per_comparison);
    }
    int code = show_findings(&report);
    if (code)
        local_job_free(ret);
    return code;
}

size_t local_sets(const struct args *a, char **ret, size_t max) {
    static const char *const direct[] = {"constitution", "seed", "name"};
    size_t n = 0;
    for (size_t i = 0; i < a->n_options && n < max; i++) {
        if (strcmp(a->options[i].name, "set") == 0)
            ret[n++] = cai_strdup(a->options[i].value);
        for (size_t k = 0; k < CAI_COUNT(direct); k++)
            if (strcmp(a->options[i].name, direct[k]) == 0)
                ret[n++] = cai_format("%s=%s", direct[k], a->options[i].value);
    }
    return n;
}

void local_print_job(const struct local_job *l) {
    const struct job_spec *j = l->job;
    fprintf(stderr, "%s: %lld round%s, %lld worker%s, seed %llu\n", j->name, (long long)j->rounds,
            j->rounds == 1 ? "" : "s", (long long)j->workers, j->workers == 1 ? "" : "s",
            (unsigned long long)j->seed);
    if (l->constitution)
        fprintf(stderr, "constitution: %s, %zu principles, revision %.12s\n", l->constitution->name,
                l->constitution->n_principles, l->constitution->revision);
    else
        fprintf(stderr, "constitution: %s (the daemon's)\n", j->constitution);
    for (int i = 0; i < JOB_DATA_FILES; i++)
        if (l->rows[i])
            fprintf(stderr, "data.%s: %zu rows\n", job_data_name((enum job_data)i), l->rows[i]);
}

static int run_job_check(const struct args *a) {
    struct local_job l;
    char *sets[ARGS_MAX];
    size_t n = local_sets(a, sets, ARGS_MAX);
    int code = local_job_load(a->positional[0], (const char *const *)sets, n, &l);
    for (size_t i = 0; i < n; i++)
        free(sets[i]);
    if (code)
        return code;
    if (globals.json) {
        json_t *o = job_to_json(l.job);
        print_json(o);
        json_decref(o);
    } else if (!globals.quiet) {
        local_print_job(&l);
        fprintf(stderr, "%s is valid; next: caictl submit %s\n", a->positional[0],
                a->positional[0]);
    }
    local_job_free(&l);
    return EXIT_OK;
}

/* The constitution that comes with caid, so that a newcomer has one to edit. */
__asm__(".section .rodata\n"
        ".global caictl_default_constitution\ncaictl_default_constitution:\n"
        ".incbin \"" DEFAULT_CONSTITUTION "\"\n"
        ".byte 0\n"
        ".previous\n");

/* ---- init, version ------------------------------------------------------------------------- */

static int run_init(const struct args *a) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    bool principles = args_has(a, "principles");
    if (principles)
        cai_buf_puts(&text, caictl_default_constitution);
    else
        job_write_template(&text);
    if (a->n == 0) {
        fwrite(text.data, 1, text.len, stdout);
        return EXIT_OK;
    }
    const char *path = a->positional[0];
    if (cai_file_exists(path) && !args_has(a, "force"))
        return complain(EXIT_STATE, "%s is there already; --force replaces it", path);
    if (cai_file_write_atomic(path, text.data, text.len) < 0)
        return complain(EXIT_INPUT, "%s", cai_error_text());
    say("Wrote %s; edit it, then: caictl %s check %s\n", path, principles ? "constitution" : "job",
        path);
    return EXIT_OK;
}

static int run_version(const struct args *a) {
    json_t *reply = NULL;
    int code = args_has(a, "client") ? EXIT_OK : client_try("version", NULL, false, &reply);
    if (globals.json) {
        json_t *o =
            json_pack("{s:s, s:o}", "caictl", CAI_VERSION, "caid", reply ? reply : json_null());
        print_json(o);
        json_decref(o);
        return code;
    }
    printf("caictl %s\n", CAI_VERSION);
    if (reply) {
        printf("caid   ");
        print_text(text_of(reply, "version"));
        printf(" at %s, state in ", client_endpoint());
        print_text(text_of(reply, "state_dir"));
        putchar('\n');
    } else if (code) {
        complain(code, "%s", cai_error_text());
    }
    json_decref(reply);
    return code;
}

/* ---- doctor -----------------------------------------------------------------------------------
 */

static void check(json_t *rows, const char *name, bool ok, const char *help, char *text) {
    json_t *row = json_pack("{s:s, s:b, s:s}", "name", name, "ok", ok, "text", text);
    if (help && !ok)
        json_object_set_new(row, "help", json_string(help));
    json_array_append_new(rows, row);
    free(text);
}

/* A word of the first "flags" line of /proc/cpuinfo. */
static bool cpu_has(const char *flags, const char *word) {
    size_t n = strlen(word);
    for (const char *s = flags; (s = strstr(s, word)); s += n)
        if (s > flags && s[-1] == ' ' && (s[n] == ' ' || s[n] == '\n'))
            return true;
    return false;
}

static void check_cpu(json_t *rows) {
    char line[8192], flags[8192] = "";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && !*flags && fgets(line, sizeof line, f))
        if (strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0)
            memcpy(flags, line, sizeof flags);
    if (f)
        fclose(f);
    const char *best = cpu_has(flags, "amx_bf16")      ? "AMX"
                       : cpu_has(flags, "avx512_bf16") ? "AVX512-BF16"
                       : cpu_has(flags, "avx512f")     ? "AVX512"
                       : cpu_has(flags, "avx2")        ? "AVX2"
                                                       : "none";
    check(rows, "cpu", strcmp(best, "none") != 0, "training will be slow without AVX2",
          cai_format("%ld cores, best vector unit: %s", sysconf(_SC_NPROCESSORS_ONLN), best));
}

static void check_memory(json_t *rows) {
    struct sysinfo info = {0};
    sysinfo(&info);
    double gib = (double)info.totalram * info.mem_unit / (1 << 30);
    check(rows, "memory", gib >= 3, "the demonstration wants 3 GiB", cai_format("%.1f GiB", gib));
}

static void check_gpu(json_t *rows) {
    bool driver = cai_file_exists("/dev/nvidiactl");
    check(rows, "gpu", true, NULL,
          cai_format("%s", driver ? "an NVIDIA driver is here" : "none; workers use the CPU"));
}

static void check_disk(json_t *rows) {
    int64_t bytes = cai_dir_free_bytes(".");
    check(rows, "disk", bytes > ((int64_t)5 << 30), "free some space: a job keeps checkpoints",
          cai_format("%.1f GiB free in the working directory", (double)bytes / (1 << 30)));
}

static int check_daemon(json_t *rows) {
    json_t *reply;
    int code = client_try("doctor", NULL, false, &reply);
    check(rows, "daemon", code == 0, "start one: caid --spawn 2",
          code ? cai_strdup(cai_error_text()) : cai_format("answers at %s", client_endpoint()));
    if (code == 0)
        json_array_extend(rows, json_object_get(reply, "rows"));
    json_decref(reply);
    return code;
}

static int run_doctor(const struct args *a) {
    (void)a;
    json_t *o = json_object(), *rows = json_array(), *row;
    size_t i, bad = 0;
    json_object_set_new(o, "rows", rows);
    check_cpu(rows);
    check_memory(rows);
    check_gpu(rows);
    check_disk(rows);
    check_daemon(rows);
    json_array_foreach(rows, i, row) bad += !json_is_true(json_object_get(row, "ok"));
    static const struct column columns[] = {{"CHECK", "name", CELL_TEXT},
                                            {"OK", "ok", CELL_BOOL},
                                            {"FOUND", "text", CELL_TEXT},
                                            {"HELP", "help", CELL_TEXT}};
    print_reply(o, columns, CAI_COUNT(columns));
    return bad ? EXIT_NEGATIVE : EXIT_OK;
}

const struct command local_commands[] = {
    {"init", "[FILE] [--principles] [--force]", "principles force", 0, 1, run_init,
     "Write a job file with every default and its source; or the default principles",
     "  caictl init job.yaml\n  caictl init --principles constitution.yaml\n"},
    {"job check", "FILE [--set PATH=VALUE]… [--constitution REF] [--seed N] [--name NAME]",
     "set constitution seed name", 1, 1, run_job_check,
     "Check a job file, its constitution and every line of its data; no daemon needed",
     "  caictl job check job.yaml\n  caictl job check job.yaml --set stages.sft.lr=2e-5 -o json\n"},
    {"version", "[--client]", "client", 0, 0, run_version, "Versions of caictl and of the daemon",
     "  caictl version\n  caictl version --client\n"},
    {"doctor", "", "", 0, 0, run_doctor, "Say what is missing on this machine and in the daemon",
     "  caictl doctor\n  caictl doctor -o json\n"},
    {0}};
