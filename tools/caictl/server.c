/* server.c: which daemon is meant, and with which key. Each of the three is taken from the first
 * that says it: option, environment, $XDG_CONFIG_HOME/caictl/config.yaml, /etc/caid/caictl.yaml,
 * else the local socket. Not for talking to it (client.c). */
#include "base/error.h"
#include "base/file.h"
#include "caictl.h"
#include "input/schema.h"
#include "proto/keys.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    const char *server, *key, *server_key;
};

static const struct schema_field fields[] = {
    {"server", SCHEMA_STRING, offsetof(struct settings, server), false, 0, 0, NULL},
    {"key", SCHEMA_STRING, offsetof(struct settings, key), false, 0, 0, NULL},
    {"server_key", SCHEMA_STRING, offsetof(struct settings, server_key), false, 0, 0, NULL},
};

static struct {
    bool done;
    struct settings s;
    struct cai_arena arena; /* holds what came from the files */
    struct key_file key;
} found;

static const char *filled(const char *text) { return text && *text ? text : NULL; }

/* What a person says first, holds. */
static void prefer(struct settings *io, const struct settings *later) {
    io->server = io->server ? io->server : filled(later->server);
    io->key = io->key ? io->key : filled(later->key);
    io->server_key = io->server_key ? io->server_key : filled(later->server_key);
}

/* A file that is not there says nothing. */
static int read_file(const char *path, struct settings *io) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    int rc = cai_file_read(path, YAML_BYTES_MAX, &text);
    if (rc < 0)
        return rc == CAI_ENOTFOUND ? 0 : rc;
    struct input_report report = {.file = path};
    const struct yaml_node *root = NULL;
    struct settings s = {0};
    rc = yaml_parse(text.data ? text.data : "", text.len, &report, &found.arena, &root);
    if (rc == 0 && !yaml_is_null(root))
        schema_read(root, "caictl's configuration", fields, CAI_COUNT(fields), &s, &report);
    if (rc == 0)
        rc = input_report_status(&report);
    if (rc < 0 && report.errors && report.text.len)
        rc = cai_fail(rc, "%s", report.text.data);
    input_report_free(&report);
    if (rc == 0)
        prefer(io, &s);
    return rc;
}

static int read_files(struct settings *io) {
    const char *xdg = filled(getenv("XDG_CONFIG_HOME")), *home = filled(getenv("HOME"));
    CAI_AUTO(mem) char *own = xdg    ? cai_format("%s/caictl/config.yaml", xdg)
                              : home ? cai_format("%s/.config/caictl/config.yaml", home)
                                     : cai_strdup("/nonexistent");
    CAI_TRY(read_file(own, io));
    return read_file("/etc/caid/caictl.yaml", io);
}

static const char *local_socket(void) {
    static char endpoint[256];
    const char *runtime = filled(getenv("XDG_RUNTIME_DIR"));
    if (runtime) {
        snprintf(endpoint, sizeof endpoint, "%s/caid/control", runtime);
        if (access(endpoint, F_OK) == 0 || access("/run/caid/control", F_OK) != 0) {
            snprintf(endpoint, sizeof endpoint, "ipc://%s/caid/control", runtime);
            return endpoint;
        }
    }
    return "ipc:///run/caid/control";
}

static int resolve(void) {
    struct settings *s = &found.s;
    *s = (struct settings){filled(globals.server), filled(globals.key), filled(globals.server_key)};
    prefer(s, &(struct settings){getenv("CAID_SERVER"), getenv("CAID_KEY"),
                                 getenv("CAID_SERVER_KEY")});
    /* A daemon that is named completely needs no file, be it right or wrong. */
    if (!s->server || (strncmp(s->server, "tcp://", 6) == 0 && !s->key))
        CAI_TRY(read_files(s));
    if (!s->server)
        s->server = local_socket();
    if (strncmp(s->server, "tcp://", 6) != 0)
        return 0;
    if (!s->key)
        return cai_fail(CAI_EAUTH, "%s: a daemon of another machine asks for a key: --key FILE, "
                                   "CAID_KEY, or 'key:' in caictl's configuration; its administrator "
                                   "makes one with `caictl key new`", s->server);
    CAI_TRY(key_file_load(s->key, &found.key));
    return s->server_key ? key_servers_parse(s->server_key, &found.key) : 0;
}

int server_find(const char **ret_endpoint, const struct key_file **ret_key) {
    if (!found.done)
        CAI_TRY(resolve());
    found.done = true;
    *ret_endpoint = found.s.server;
    *ret_key = strncmp(found.s.server, "tcp://", 6) == 0 ? &found.key : NULL;
    return 0;
}

const char *client_endpoint(void) {
    const char *endpoint;
    const struct key_file *key;
    return server_find(&endpoint, &key) < 0 ? "an unknown server" : endpoint;
}
