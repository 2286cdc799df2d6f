/* job.c: a job file → struct job_spec: reading by the table of settings, paths, and what
 * settings must hold together. The settings themselves are in settings.c. */
#include "job/job.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "job/settings.h"
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reading {
    struct job_spec *j;
    struct input_report *report;
    const struct yaml_node *nodes[JOB_SETTINGS_MAX]; /* where a setting was given */
    const char *const *sets;                         /* assignments from the command line */
    size_t n_sets;
    bool set[JOB_SETTINGS_MAX];
};

/* ---- reading --------------------------------------------------------------------------------- */

static void read_map(struct reading *r, const char *prefix, const struct yaml_node *map);

static void unknown(struct reading *r, const char *prefix, const struct yaml_node *key) {
    char names[64][40], what[80] = "a job";
    const char *list[64];
    size_t n = setting_children(prefix, names, CAI_COUNT(names));
    for (size_t i = 0; i < n; i++)
        list[i] = names[i];
    if (*prefix)
        snprintf(what, sizeof what, "'%s'", prefix);
    schema_unknown(key, what, list, n, r->report);
}

/* `stages.sft: false` switches a stage off; a map sets its numbers. */
static void read_group(struct reading *r, const char *path, const struct yaml_node *node) {
    char name[160], found[64];
    if (yaml_is_null(node))
        return;
    if (node->kind == YAML_MAP) {
        read_map(r, path, node);
        return;
    }
    snprintf(name, sizeof name, "%s.enabled", path);
    const struct setting *s = setting_find(name, strlen(name));
    if (s && node->kind == YAML_TEXT) {
        r->j->given[s - settings] = schema_value(&s->field, path, node, r->j, r->report);
        return;
    }
    input_report_add(r->report, node->line, node->column, "C013", NULL,
                     "'%s' must be a map%s, found %s", path, s ? " or false" : "",
                     yaml_describe(node, found, sizeof found));
}

static void read_map(struct reading *r, const char *prefix, const struct yaml_node *map) {
    for (uint32_t i = 0; i < map->n; i++) {
        char path[128];
        int len =
            snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", map->keys[i].text);
        bool fits = len > 0 && (size_t)len < sizeof path && !strchr(map->keys[i].text, '.');
        const struct setting *s = fits ? setting_find(path, (size_t)len) : NULL;
        if (s) {
            bool ok = schema_value(&s->field, path, &map->values[i], r->j, r->report);
            r->j->given[s - settings] = ok && !yaml_is_null(&map->values[i]);
            r->nodes[s - settings] = &map->values[i];
        } else if (fits && setting_is_group(path)) {
            read_group(r, path, &map->values[i]);
        } else {
            unknown(r, prefix, &map->keys[i]);
        }
    }
}

static void missing(struct reading *r, const struct yaml_node *root) {
    for (size_t i = 0; i < n_settings; i++)
        if (settings[i].field.required && !r->nodes[i])
            input_report_add(r->report, root->line, root->column, "C012", settings[i].help,
                             "missing required key '%s' in a job", settings[i].field.key);
}

/* Every text setting is one line of valid, printable characters. */
static void check_texts(struct reading *r) {
    for (size_t i = 0; i < n_settings; i++) {
        const struct yaml_node *node = r->nodes[i];
        if (settings[i].field.type != SCHEMA_STRING || !node || node->kind != YAML_TEXT)
            continue;
        if (node->n == 0 || node->n >= PATH_MAX || strchr(node->text, '\n'))
            input_report_add(r->report, node->line, node->column, "C013", NULL,
                             "'%s' must be one line of text", settings[i].field.key);
    }
}

static void check_name(struct reading *r, const struct yaml_node *root) {
    const struct yaml_node *node = yaml_get(root, "name");
    const char *s = r->j->name;
    if (!s || !node)
        return;
    size_t ok = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (ok == 0 || ok > 63 || s[ok])
        input_report_add(r->report, node->line, node->column, "C013",
                         "use lower-case letters, digits and '-'; at most 63",
                         "'name' is not a name: '%.80s'", s);
}

/* ---- paths
 * ---------------------------------------------------------------------------------------- */

const char *job_stored_name(const char *text) {
    if (text && strncmp(text, "model:", 6) == 0)
        return text + 6;
    return text && strncmp(text, "data:", 5) == 0 ? text + 5 : NULL;
}

static bool is_word(const struct setting *s, const char *text) {
    if (job_stored_name(text))
        return (s->role == ROLE_MODEL && *text == 'm') || (s->role == ROLE_FILE && *text == 'd');
    if (s->role == ROLE_MODEL)
        return strcmp(s->field.key, "models.start") != 0 &&
               (strcmp(text, "start") == 0 || strcmp(text, "latest") == 0);
    if (s->role == ROLE_CONSTITUTION) {
        size_t n = strlen(text);
        bool yaml =
            n > 5 && (strcmp(text + n - 5, ".yaml") == 0 || strcmp(text + n - 4, ".yml") == 0);
        return !strchr(text, '/') && !yaml;
    }
    return false;
}

/* Absolute and without "." and "..", whether or not it exists. */
static const char *absolute(struct job_spec *j, const char *dir, const char *path) {
    char base[PATH_MAX], real[PATH_MAX];
    if (!realpath(dir, base))
        snprintf(base, sizeof base, "%s", dir);
    CAI_AUTO(mem) char *joined = path[0] == '/' ? cai_strdup(path) : cai_path_join(base, path);
    return cai_arena_strdup(&j->arena, realpath(joined, real) ? real : joined);
}

static void check_path(const struct setting *s, const char *path, const struct yaml_node *at,
                       struct input_report *report) {
    struct stat st;
    CAI_AUTO(mem) char *config = cai_path_join(path, "config.json");
    CAI_AUTO(mem) char *adapter = cai_path_join(path, "adapter_config.json");
    bool folder = s->role == ROLE_MODEL;
    if (stat(path, &st) < 0)
        input_report_add(report, at->line, at->column, "C040",
                         "paths are taken from the job file's folder", "'%s': no such %s: %s",
                         s->field.key, folder ? "folder" : "file", path);
    else if (folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))
        input_report_add(report, at->line, at->column, "C040", NULL, "'%s' must be a %s: %s",
                         s->field.key, folder ? "folder" : "file", path);
    else if (access(path, folder ? R_OK | X_OK : R_OK) < 0)
        input_report_add(report, at->line, at->column, "C040", "look at its permissions",
                         "'%s' cannot be read: %s", s->field.key, path);
    else if (folder && !cai_file_exists(config) && !cai_file_exists(adapter))
        input_report_add(
            report, at->line, at->column, "C040",
            "a model is a Hugging Face folder: config.json, model.safetensors, tokenizer.json",
            "'%s' has no config.json: %s", s->field.key, path);
}

static void resolve(struct job_spec *j, const struct setting *s, const struct yaml_node *at,
                    const char *dir, struct input_report *report) {
    const char **text = (const char **)((char *)j + s->field.offset);
    if (s->role == ROLE_PLAIN || !*text || is_word(s, *text))
        return;
    *text = absolute(j, dir, *text);
    check_path(s, *text, at, report);
}

/* ---- what must hold together
 * ------------------------------------------------------------------------ */

static void cross_error(struct input_report *report, const char *help, const char *text) {
    input_report_add(report, 0, 0, "C042", help, "%s", text);
}

bool job_value_from_policy(const struct job_spec *j) {
    return j->ppo.enabled && strcmp(j->ppo.algorithm, "ppo") == 0 &&
           strcmp(j->ppo.value_from, "policy") == 0;
}

bool job_ppo_from_labels(const struct job_spec *j) {
    return strcmp(j->ppo.algorithm, "dpo") == 0;
}

bool job_red_reinforces(const struct job_spec *j) {
    return j->red_team.enabled && j->red_team.samples > 0 && strcmp(j->red_team.method, "rl") == 0;
}

bool job_red_learns(const struct job_spec *j) {
    return job_red_reinforces(j) || (j->red_team.enabled && j->red_team.samples > 0 &&
                                     strcmp(j->red_team.method, "supervised") == 0);
}

bool job_label_reasons(const struct job_spec *j) { return strcmp(j->label.mode, "cot") == 0; }

bool job_label_debates(const struct job_spec *j) { return strcmp(j->label.mode, "debate") == 0; }

double job_label_clear(const struct job_spec *j) {
    return job_label_reasons(j) ? 0.1 * (1 - 2 * j->label.clamp) : 0.1;
}

static bool is_given(const struct job_spec *j, const char *path) {
    const struct setting *s = setting_find(path, strlen(path));
    CAI_CHECK(s);
    return j->given[s - settings];
}

static void refuse_at(const struct job_spec *j, struct input_report *report, const char *path,
                      const char *help, const char *text) {
    struct job_place at = job_place_of(j, path);
    input_report_add(report, at.line, at.column, "C042", help, "%s", text);
}

/* What belongs to one mode of labelling, or to learning from rollouts, alone. */
static void check_modes(const struct job_spec *j, struct input_report *report) {
    bool reasons = job_label_reasons(j);
    if (reasons && j->label.clamp >= 0.5)
        refuse_at(j, report, "stages.label.clamp", "Bai et al. 2022 have 0.4",
                  "stages.label.clamp: 0.5 makes every label a toss-up");
    if (!j->ppo.enabled || j->ppo.ptx_coef <= 0)
        return;
    if (job_ppo_from_labels(j))
        refuse_at(j, report, "stages.ppo.ptx.coef", "use another algorithm, or 0",
                  "algorithm dpo mixes no rows of sft in");
    else if (!(j->rounds > 0 && j->sft.enabled) && !j->data.helpful)
        refuse_at(j, report, "stages.ppo.ptx.coef", "switch sft on, or give data.helpful",
                  "there are no rows for stages.ppo.ptx: sft is off, no data.helpful");
}

unsigned job_formats(const char *list) {
    static const char *const names[JOB_FORMATS] = {"shots", "direct_shots", "step", "direct"};
    unsigned set = 0;
    if (strcmp(list, "all") == 0)
        return (1u << JOB_FORMATS) - 1;
    for (const char *s = list; *s;) {
        s += strspn(s, ", ");
        size_t n = strcspn(s, ", ");
        unsigned found = 0;
        for (unsigned i = 0; i < JOB_FORMATS; i++)
            if (n == strlen(names[i]) && strncmp(s, names[i], n) == 0)
                found = 1u << i;
        if (n && !found)
            return 0;
        set |= found;
        s += n;
    }
    return set;
}

static void check_consist(const struct job_spec *j, struct input_report *report) {
    bool on = j->rounds > 0 && j->consist.enabled;
    if (on && !j->data.questions)
        refuse_at(j, report, "stages.consist.enabled", "give data.questions, or switch it off",
                  "consist has nothing to ask: no data.questions");
    if (on && !j->sft.enabled)
        refuse_at(j, report, "stages.consist.enabled", "switch sft on",
                  "nothing learns from what consist keeps: sft is off");
    if (!job_formats(j->consist.formats))
        refuse_at(j, report, "stages.consist.formats",
                  "all, or shots, direct_shots, step, direct with commas",
                  "stages.consist.formats names what is no form of a row");
    if (!strstr(j->consist.direct, "{}"))
        refuse_at(j, report, "stages.consist.direct", "write {} where the answer stands",
                  "stages.consist.direct has no place for the answer");
}

/* Where red teaming is on and learns. */
static void check_red_team(const struct job_spec *j, struct input_report *report) {
    if (j->rounds == 0 || !job_red_reinforces(j))
        return;
    if (!j->data.classifier)
        refuse_at(j, report, "stages.red_team.method",
                  "give data.classifier, or use method: supervised",
                  "rl is rewarded by a classifier, but there is no data.classifier to train one");
    if (j->red_team.rl.rollouts < j->ppo.minibatches || j->red_team.rl.rollouts < j->workers)
        refuse_at(j, report, "stages.red_team.rl.rollouts",
                  "raise it, or lower stages.ppo.minibatches, which counts here too",
                  "stages.red_team.rl.rollouts is less than stages.ppo.minibatches or workers");
}

/* What people read must be there to be read. */
static void check_people(const struct job_spec *j, struct input_report *report) {
    bool red = j->rounds > 0 && j->red_team.enabled && j->red_team.samples > 0;
    bool judged = j->rounds > 0 && j->revise.enabled && j->revise.revisions > 0;
    if (j->human.checks > 0 && !(red && j->red_team.check > 0 && j->evaluate.enabled))
        refuse_at(j, report, "human.checks",
                  "switch stages.red_team and stages.evaluate on, with stages.red_team.check above 0",
                  "people have nothing to check: red teaming sets nothing aside, or nothing is "
                  "evaluated with it");
    if (j->human.audits > 0 && !(judged && j->audit.enabled && j->audit.passed > 0))
        refuse_at(j, report, "human.audits",
                  "switch stages.revise and stages.audit on, with stages.audit.passed above 0",
                  "people have nothing to read again: the audit sets no critique aside");
}

/* The stage skill needs something that people verified, beforehand or in the job, and somebody who
 * judges. */
static void check_skill(const struct job_spec *j, struct input_report *report) {
    if (!j->skill.enabled || j->rounds == 0)
        return;
    bool rewrites = j->human.critiques > 0 && j->revise.enabled;
    bool pairs = j->human.required > 0 && j->human.help && j->label.enabled;
    if (!j->data.critiques && !rewrites && !pairs)
        refuse_at(j, report, "stages.skill.enabled",
                  "give data.critiques, or let people judge the overseer's critiques: human.critiques "
                  "(of rewrites) or human.required (of compared replies); or switch skill off",
                  "skill has nothing to learn from: no data.critiques, and nobody reviews critiques");
    if (strcmp(j->skill.judge, "human") == 0 && j->skill.prompts > 0 && !j->data.critiques)
        refuse_at(j, report, "stages.skill.judge", "give data.critiques, or use prompts: 0",
                  "the gaps are judged by people's held-out verdicts, but there is no data.critiques");
    if (strcmp(j->skill.judge, "pm") == 0 && j->skill.prompts > 0 && !j->prefer.enabled)
        refuse_at(j, report, "stages.skill.judge", "use judge: human, or prompts: 0",
                  "the gaps are judged by a preference model, but prefer does not run");
}

static void check_stages(const struct job_spec *j, struct input_report *report) {
    check_modes(j, report);
    check_consist(j, report);
    check_red_team(j, report);
    check_people(j, report);
    check_skill(j, report);
    bool rounds = j->rounds > 0;
    bool any = (rounds && (j->red_team.enabled || j->revise.enabled || j->sft.enabled ||
                           j->label.enabled || j->prefer.enabled || j->evaluate.enabled ||
                           j->consist.enabled || j->skill.enabled ||
                           (j->audit.enabled && (j->data.canaries || j->human.audits > 0)))) ||
               j->ppo.enabled;
    if (!any)
        cross_error(report, "switch at least one on", "every stage is switched off");
    if (j->guards.tolerance > 0 && !j->evaluate.enabled)
        cross_error(report, "switch evaluate on, or set guards.tolerance: 0",
                    "guards.tolerance is to be kept, but nothing is evaluated");
    bool prompts = j->data.harmful || (rounds && j->red_team.enabled);
    if (!prompts && ((rounds && (j->revise.enabled || j->label.enabled)) || j->ppo.enabled))
        cross_error(report, "give data.harmful, or switch red_team on",
                    "there are no red-team prompts: no data.harmful, and red_team is off");
    if (rounds && j->prefer.enabled && !j->label.enabled && !j->data.human)
        cross_error(report, "switch label on, or give data.human",
                    "the preference model has nothing to learn from: label is off, no data.human");
    bool shared = rounds && j->prefer.enabled && strcmp(j->prefer.trunk, "shared") == 0;
    if (shared && j->prefer.average)
        cross_error(report, "drop one of the two",
                    "stages.prefer.average needs members with trunks of their own");
    if (shared && j->models.lora.rank > 0)
        cross_error(report, "leave stages.prefer.trunk: own; adapters share their base as it is",
                    "members that are adapters cannot share a trained trunk");
    bool dpo = job_ppo_from_labels(j);
    if (j->ppo.enabled && !dpo && !(rounds && j->prefer.enabled))
        cross_error(report, "switch prefer on, or ppo off",
                    "ppo needs a preference model, but prefer does not run");
    if (j->ppo.enabled && dpo && !(rounds && (j->label.enabled || j->data.human)))
        cross_error(report, "switch label on, or give data.human",
                    "dpo has nothing to learn from: label is off, no data.human");
    bool groups = !dpo && strcmp(j->ppo.algorithm, "ppo") != 0;
    if (j->ppo.enabled && groups && j->ppo.rollouts % j->ppo.group != 0)
        cross_error(report, "make stages.ppo.rollouts a multiple of stages.ppo.group",
                    "stages.ppo.rollouts cannot be shared out in groups");
    if (rounds && j->sft.enabled && !j->revise.enabled && !j->consist.enabled)
        cross_error(report, "switch revise on, or sft off",
                    "sft trains on revisions, but revise does not run");
    if (j->ppo.enabled && j->ppo.rollouts < j->ppo.minibatches)
        cross_error(report, "lower stages.ppo.minibatches",
                    "stages.ppo.rollouts is less than stages.ppo.minibatches");
    if (j->ppo.enabled && j->ppo.rollouts < j->workers)
        cross_error(report, "raise stages.ppo.rollouts",
                    "stages.ppo.rollouts is less than workers: a rank would have nothing to do");
}

static void check_advice(const struct job_spec *j, struct input_report *report) {
    if (!j->data.helpful)
        input_report_add(report, 0, 0, "W201", "harmless requests keep the model from evading",
                         "data.helpful is absent: the model may learn to evade");
    if (j->evaluate.enabled && !j->data.classifier)
        input_report_add(report, 0, 0, "W202",
                         "rates from it are marked unverified; labelled.jsonl would train one",
                         "data.classifier is absent: harm is judged by zero-shot options");
    if (j->ppo.enabled && (j->ppo.rollout.top_p < 1 || j->ppo.rollout.temperature <= 0))
        input_report_add(
            report, 0, 0, "W203", "use top_p: 1.0 and a temperature above 0",
            "stages.ppo.rollout is not pure sampling: the ratio is not that of the policy");
    bool used = j->prefer.average || job_ppo_from_labels(j) || j->ppo.pm_variance > 0 ||
                strcmp(j->ppo.pm_combine, "worst") == 0;
    if (j->prefer.members > 1 && j->ppo.enabled && !used)
        input_report_add(report, 0, 0, "W204", "set stages.ppo.pm_variance: 0.1",
                         "the members' disagreement is not used");
}

/* ---- assignments
 * ---------------------------------------------------------------------------------------- */

static void assign_unknown(const char *path, struct input_report *report) {
    const char *names[JOB_SETTINGS_MAX];
    for (size_t i = 0; i < n_settings; i++)
        names[i] = settings[i].field.key;
    const char *near = cai_text_nearest(path, names, n_settings);
    char help[160];
    snprintf(help, sizeof help, "did you mean '%s'?", near ? near : "");
    input_report_add(report, 0, 0, "C010", near ? help : "`caictl init` writes them all",
                     "unknown setting '%.80s'", path);
}

/* "path=value" into j; the setting and a node at no place, or NULL and a finding. */
static const struct setting *assign(struct job_spec *j, const char *assignment,
                                    struct yaml_node *ret_node, struct input_report *report) {
    const char *equals = strchr(assignment, '=');
    size_t len = equals ? (size_t)(equals - assignment) : 0;
    if (!equals || len == 0 || len >= 100) {
        input_report_add(report, 0, 0, "C013", "write it as stages.sft.lr=2e-5",
                         "'%.80s' is no assignment", assignment);
        return NULL;
    }
    char path[128];
    snprintf(path, sizeof path, "%.*s", (int)len, assignment);
    const struct setting *s = setting_find(path, len);
    if (!s) { /* stages.sft=off */
        snprintf(path, sizeof path, "%.*s.enabled", (int)len, assignment);
        s = setting_find(path, strlen(path));
        path[len] = '\0';
    }
    if (!s) {
        assign_unknown(path, report);
        return NULL;
    }
    const char *text = cai_arena_strdup(&j->arena, equals + 1);
    *ret_node = (struct yaml_node){
        .kind = YAML_TEXT, .text = text, .n = (uint32_t)strlen(text), .quoted = true};
    if (ret_node->n == 0) {
        input_report_add(report, 0, 0, "C013", NULL, "'%s' must not be empty", path);
        return NULL;
    }
    if (!schema_value(&s->field, path, ret_node, j, report))
        return NULL;
    j->given[s - settings] = true;
    return s;
}

/* ---- the whole
 * ----------------------------------------------------------------------------------------- */

static void check_version(const struct job_spec *j, const struct yaml_node *root,
                          struct input_report *report) {
    const struct yaml_node *node = yaml_get(root, "job");
    if (node && j->version > JOB_VERSION) /* a --set cannot make it known */
        input_report_add(report, node->line, node->column, "C014", "upgrade caid",
                         "schema version %lld is newer than this caid (%d)", (long long)j->version,
                         JOB_VERSION);
}

static void apply_sets(struct reading *r) {
    for (size_t i = 0; i < r->n_sets; i++) {
        struct yaml_node *node = cai_arena_alloc(&r->j->arena, sizeof *node);
        const struct setting *s = assign(r->j, r->sets[i], node, r->report);
        if (!s)
            continue;
        r->nodes[s - settings] = node;
        r->set[s - settings] = true;
    }
}

/* A setting whose default is another's value. */
static void follow(struct job_spec *j) {
    if (!is_given(j, "stages.label.helpful"))
        j->label.helpful = j->ppo.helpful;
}

static void read_job(struct reading *r, const struct yaml_node *root, const char *dir) {
    char found[64];
    if (root->kind != YAML_MAP) {
        input_report_add(r->report, root->line, root->column, "C013", NULL,
                         "a job must be a map, found %s", yaml_describe(root, found, sizeof found));
        return;
    }
    size_t errors = r->report->errors;
    read_map(r, "", root);
    apply_sets(r);
    missing(r, root);
    check_texts(r);
    check_name(r, root);
    check_version(r->j, root, r->report);
    for (size_t i = 0; i < n_settings; i++)
        if (r->nodes[i])
            r->j->place[i] = (struct job_place){r->nodes[i]->line, r->nodes[i]->column};
    if (dir)
        for (size_t i = 0; i < n_settings; i++)
            if (r->nodes[i] && r->j->given[i])
                resolve(r->j, &settings[i], r->nodes[i], r->set[i] ? "." : dir, r->report);
    if (r->report->errors > errors)
        return;
    follow(r->j);
    check_stages(r->j, r->report);
    check_advice(r->j, r->report);
}

static int parse(const char *name, const struct cai_buf *text, const char *dir,
                 const char *const *sets, size_t n_sets, struct input_report *report,
                 struct job_spec **ret) {
    struct job_spec *j = cai_alloc(sizeof *j);
    struct reading r = {.j = j, .report = report, .sets = sets, .n_sets = n_sets};
    const struct yaml_node *root;
    size_t errors = report->errors;
    if (!report->file)
        report->file = name;
    settings_default(j);
    int rc = yaml_parse(text->data, text->len, report, &j->arena, &root);
    if (rc == 0) {
        read_job(&r, root, dir);
        rc = report->errors > errors ? input_report_status(report) : 0;
    }
    report->source = NULL;
    if (rc < 0) {
        job_free(j);
        return rc;
    }
    *ret = j;
    return CAI_OK;
}

int job_parse(const char *name, const char *text, size_t len, const char *dir,
              struct input_report *report, struct job_spec **ret) {
    const struct cai_buf borrowed = {.data = (char *)text, .len = len};
    return parse(name, &borrowed, dir, NULL, 0, report, ret);
}

int job_load_set(const char *path, const char *const *sets, size_t n, struct input_report *report,
                 struct job_spec **ret) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    if (!report->file)
        report->file = path;
    CAI_TRY(input_file(path, YAML_BYTES_MAX, report, &text));
    CAI_AUTO(mem) char *copy = cai_strdup(path);
    return parse(path, &text, dirname(copy), sets, n, report, ret);
}

int job_load(const char *path, struct input_report *report, struct job_spec **ret) {
    return job_load_set(path, NULL, 0, report, ret);
}

struct job_place job_place_of(const struct job_spec *j, const char *path) {
    const struct setting *s = setting_find(path, strlen(path));
    CAI_CHECK(s);
    return j->place[s - settings];
}

void job_free(struct job_spec *j) {
    if (!j)
        return;
    cai_arena_free(&j->arena);
    free(j);
}

/* ---- changes
 * ---------------------------------------------------------------------------------------------- */

int job_set(struct job_spec *j, const char *assignment, struct input_report *report) {
    size_t errors = report->errors;
    struct yaml_node node;
    const struct setting *s = assign(j, assignment, &node, report);
    if (s) {
        resolve(j, s, &node, ".", report);
        follow(j);
        check_stages(j, report);
    }
    return report->errors > errors ? input_report_status(report) : 0;
}

static void adopt(struct job_spec *j, const char *path, int64_t value) {
    const struct setting *s = setting_find(path, strlen(path));
    CAI_CHECK(s);
    if (!j->given[s - settings])
        *(int64_t *)((char *)j + s->field.offset) = value;
}

void job_adopt(struct job_spec *j, int64_t revisions, int64_t per_comparison) {
    adopt(j, "stages.revise.revisions", revisions);
    adopt(j, "stages.label.principles", per_comparison);
}
