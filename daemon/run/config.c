/* config.c: caid's own small configuration file; every key has a default. Read at start
 * and at SIGHUP. Job files are job/job.h. */
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "input/schema.h"
#include "proto/channel.h"
#include "run/run.h"
#include "web/web.h"
#include <string.h>

void run_config_default(struct run_config *c) {
    *c = (struct run_config){.min_free_mb = 64, .drain_s = 30, .late_s = 10,
                             .half_life_min = 120, .slice_s = 600,
                             .upload_mb = 102400, .quota_mb = 204800,
                             .interface = "lo", .web = "auto", .web_idle_min = 480,
                             .log_level = CAI_LOG_INFO};
}

static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

struct raw {
    int64_t min_free_mb, drain_s, late_s;
    const char *interface, *listen, *log, *admins;
    int64_t half_life_min, slice_s, upload_mb, quota_mb;
    const char *web, *web_host;
    int64_t web_idle_min;
};

static const struct schema_field fields[] = {
    {"min_free_mb", SCHEMA_INT, offsetof(struct raw, min_free_mb), false, 1, 1e9, NULL},
    {"drain_s", SCHEMA_INT, offsetof(struct raw, drain_s), false, 1, 110, NULL},
    {"late_s", SCHEMA_INT, offsetof(struct raw, late_s), false, 1, 86400, NULL},
    {"interface", SCHEMA_STRING, offsetof(struct raw, interface), false, 0, 0, NULL},
    {"listen", SCHEMA_STRING, offsetof(struct raw, listen), false, 0, 0, NULL},
    {"log", SCHEMA_CHOICE, offsetof(struct raw, log), false, 0, 0, levels},
    {"admins", SCHEMA_STRING, offsetof(struct raw, admins), false, 0, 0, NULL},
    {"half_life_min", SCHEMA_INT, offsetof(struct raw, half_life_min), false, 1, 525600, NULL},
    {"slice_s", SCHEMA_INT, offsetof(struct raw, slice_s), false, 0, 525600, NULL},
    {"upload_mb", SCHEMA_INT, offsetof(struct raw, upload_mb), false, 1, 1e9, NULL},
    {"quota_mb", SCHEMA_INT, offsetof(struct raw, quota_mb), false, 1, 1e9, NULL},
    {"web", SCHEMA_STRING, offsetof(struct raw, web), false, 0, 0, NULL},
    {"web_host", SCHEMA_STRING, offsetof(struct raw, web_host), false, 0, 0, NULL},
    {"web_idle_min", SCHEMA_INT, offsetof(struct raw, web_idle_min), false, 1, 525600, NULL},
};

/* Beside `fields`: what each one is for, and its default as it is written. */
static const struct {
    const char *fallback, *help;
} told[] = {
    {"64", "megabytes; with less free space in the state folder jobs pause, and go on by "
           "themselves when there is space again"},
    {"30", "seconds that stopping waits for workers to save their work"},
    {"10", "seconds after which, at the latest, a rank that the others of its gang wait for is "
           "named in the job's log; once its steps are known, after three of them, 3 s at least"},
    {"lo", "network interface of the gangs' own sockets, which have no authentication"},
    {"\"\"", "where other machines reach caid: tcp://INTERFACE:PORT or tcp://ADDRESS:PORT, never "
             "every interface; who has no key gets no further; read at start alone"},
    {"info", "the least important messages that are logged"},
    {"\"\"", "group whose members may change everybody's jobs, as root and caid's own user may"},
    {"120", "minutes after which worker time that a person has used counts half when it is "
            "decided whose task is next"},
    {"600", "seconds after which training that keeps workers from a person who has used less saves "
           "its state and gives way; 0: it never does"},
    {"102400", "megabytes of one model or data file that `caictl model add` or `data add` stores"},
    {"204800", "megabytes that one person may store"},
    {"auto", "where the dashboard and the review page are served, to this machine alone: auto (a free "
             "port of 127.0.0.1, the same after a restart), 127.0.0.1:PORT, unix (the socket 'web' in "
             "the runtime folder, for a TLS proxy) or off. From another machine: `ssh -L "
             "8420:127.0.0.1:PORT`, then the link that `caictl web` prints, with that port"},
    {"\"\"", "the name under which a TLS proxy on this machine serves the pages; without it, requests "
             "that name another host than 127.0.0.1 or localhost are refused"},
    {"480", "minutes after which a browser's session that nobody uses ends; a dashboard that only "
            "looks again by itself is no use"},
};
_Static_assert(CAI_COUNT(told) == CAI_COUNT(fields), "each setting is told once");

static void write_range(const struct schema_field *f, struct cai_buf *ret) {
    for (size_t i = 0; f->choices && f->choices[i]; i++)
        cai_buf_printf(ret, "%s%s", i ? ", " : "", f->choices[i]);
    if (f->type == SCHEMA_INT)
        cai_buf_printf(ret, "%.0f to %.0f", f->min, f->max);
}

void run_config_template(struct cai_buf *ret) {
    cai_buf_puts(ret, "# Configuration of caid; see caid.conf(5). Every setting is here with its "
                      "default.\n# `caid --check-config --config FILE` checks this file, "
                      "`systemctl reload caid` reads it again.\n");
    for (size_t i = 0; i < CAI_COUNT(fields); i++) {
        cai_buf_printf(ret, "\n# %s", told[i].help);
        cai_buf_puts(ret, fields[i].type == SCHEMA_STRING ? "" : "; ");
        write_range(&fields[i], ret);
        cai_buf_printf(ret, "\n#%s: %s\n", fields[i].key, told[i].fallback);
    }
}

void run_config_manual(struct cai_buf *ret) {
    for (size_t i = 0; i < CAI_COUNT(fields); i++) {
        cai_buf_printf(ret, "*%s*: %s\n\t%s", fields[i].key, told[i].fallback, told[i].help);
        cai_buf_puts(ret, fields[i].type == SCHEMA_STRING ? "" : " (");
        write_range(&fields[i], ret);
        cai_buf_puts(ret, fields[i].type == SCHEMA_STRING ? ".\n\n" : ").\n\n");
    }
}

static int level_of(const char *name, int otherwise) {
    static const int level[] = {CAI_LOG_ERROR, CAI_LOG_WARN, CAI_LOG_INFO, CAI_LOG_DEBUG};
    for (size_t i = 0; name && levels[i]; i++)
        if (strcmp(name, levels[i]) == 0)
            return level[i];
    return otherwise;
}

/* The shipped file is comments alone: every default. */
static bool says_nothing(const char *text) {
    while (*text) {
        text += strspn(text, " \r\n");
        if (*text && *text != '#')
            return false;
        text += strcspn(text, "\n");
    }
    return true;
}

static int check_network(const struct raw *raw) {
    if (strlen(raw->interface) >= sizeof ((struct run_config *)0)->interface)
        return cai_fail(CAI_EINPUT, "interface: at most %zu characters",
                        sizeof ((struct run_config *)0)->interface - 1);
    if (!*raw->interface || strspn(raw->interface, "*0.:") == strlen(raw->interface))
        return cai_fail(CAI_EINPUT, "interface: must name one, such as lo or eth1, never all of them");
    CAI_TRY(web_listen_check(raw->web));
    CAI_TRY(web_host_check(raw->web_host));
    int rc = *raw->listen ? channel_endpoint_check(raw->listen) : 0;
    return rc < 0 ? cai_fail_in("listen") : 0;
}

static int read_into(const char *text, size_t len, struct input_report *report,
                     struct cai_arena *arena, struct run_config *c) {
    const struct yaml_node *root = NULL;
    if (says_nothing(text))
        return 0;
    CAI_TRY(yaml_parse(text, len, report, arena, &root));
    struct raw raw = {c->min_free_mb, c->drain_s, c->late_s, c->interface, c->listen, NULL, c->admins,
                      c->half_life_min, c->slice_s, c->upload_mb, c->quota_mb, c->web,
                      c->web_host, c->web_idle_min};
    if (!yaml_is_null(root))
        schema_read(root, "the configuration", fields, CAI_COUNT(fields), &raw, report);
    CAI_TRY(input_report_status(report));
    CAI_TRY(check_network(&raw));
    if (strlen(raw.admins) >= sizeof c->admins)
        return cai_fail(CAI_EINPUT, "admins: at most %zu characters", sizeof c->admins - 1);
    struct run_config out = {.min_free_mb = raw.min_free_mb, .drain_s = raw.drain_s,
                             .late_s = raw.late_s, .half_life_min = raw.half_life_min,
                             .slice_s = raw.slice_s, .upload_mb = raw.upload_mb,
                             .quota_mb = raw.quota_mb, .web_idle_min = raw.web_idle_min,
                             .log_level = level_of(raw.log, c->log_level)};
    snprintf(out.interface, sizeof out.interface, "%s", raw.interface);
    snprintf(out.admins, sizeof out.admins, "%s", raw.admins);
    snprintf(out.listen, sizeof out.listen, "%s", raw.listen);
    snprintf(out.web, sizeof out.web, "%s", raw.web);
    snprintf(out.web_host, sizeof out.web_host, "%s", raw.web_host);
    *c = out;
    return 0;
}

int run_config_load(const char *path, struct run_config *ret) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_TRY(cai_file_read(path, YAML_BYTES_MAX, &text));
    CAI_AUTO(arena) struct cai_arena arena = {0};
    struct input_report report = {.file = path};
    struct run_config c;
    run_config_default(&c);
    int rc = read_into(text.data ? text.data : "", text.len, &report, &arena, &c);
    if (rc < 0 && report.errors && report.text.len) /* with the line, the place and what helps */
        rc = cai_fail(rc, "%s", report.text.data);
    input_report_free(&report);
    if (rc == 0)
        *ret = c;
    return rc;
}
