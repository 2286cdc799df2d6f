/* judge.c: reads replies line by line and writes the oracle's verdicts. */
#include "clerk/judge.h"
#include "base/check.h"
#include "base/error.h"
#include "clerk/faults.h"
#include <jansson.h>
#include <string.h>

/* The last user turn, or the prompt. */
static const char *request_of(const json_t *o) {
    const char *prompt = json_string_value(json_object_get(o, "prompt")), *text = prompt;
    const json_t *m;
    size_t i;
    json_array_foreach(json_object_get(o, "messages"), i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        const json_t *t = json_object_get(m, "text");
        t = t ? t : json_object_get(m, "content");
        if (role && strcmp(role, "user") == 0 && json_is_string(t))
            text = json_string_value(t);
    }
    return text;
}

static json_t *verdict_json(const json_t *o, const char *request, const char *reply) {
    struct verdict v;
    clerk_judge(request, reply, &v);
    json_t *ret = json_object();
    json_t *id = json_object_get(o, "id");
    if (id)
        json_object_set(ret, "id", id);
    json_object_set_new(ret, "known", json_boolean(v.known));
    if (!v.known)
        return ret;
    json_object_set_new(ret, "kind", json_string(request_kind_names[v.kind]));
    struct request r;
    if (request_parse(request, &r))
        json_object_set_new(ret, "family", json_string(clerk_family_names[request_family(&r)]));
    for (size_t f = 0; f < FAULTS; f++)
        json_object_set_new(ret, fault_names[f], json_boolean(v.fault[f]));
    json_object_set_new(ret, "helpful", json_boolean(v.helpful));
    json_object_set_new(ret, "garbled", json_boolean(v.garbled));
    return ret;
}

static int judge_line(const char *path, size_t number, const char *line, size_t len, FILE *out) {
    json_error_t e;
    json_t *o = json_loadb(line, len, JSON_ALLOW_NUL, &e);
    if (!o)
        return cai_fail(CAI_EINPUT, "%s:%zu:%d: not JSON: %s", path, number, e.column, e.text);
    const char *request = request_of(o);
    const char *reply = json_string_value(json_object_get(o, "reply"));
    int rc = 0;
    if (!request || !reply) {
        rc = cai_fail(CAI_EINPUT,
                      "%s:%zu: a line needs \"messages\" or \"prompt\", and \"reply\"", path, number);
    } else {
        json_t *v = verdict_json(o, request, reply);
        if (json_dumpf(v, out, JSON_COMPACT) < 0 || fputc('\n', out) == EOF)
            rc = cai_fail_errno("writing verdicts");
        json_decref(v);
    }
    json_decref(o);
    return rc;
}

int judge_file(const char *path, FILE *out) {
    bool standard = strcmp(path, "-") == 0;
    FILE *in = standard ? stdin : fopen(path, "r");
    if (!in)
        return cai_fail_errno("%s", path);
    CAI_AUTO(mem) char *line = NULL;
    size_t cap = 0, number = 0;
    int rc = 0;
    for (ssize_t n; rc == 0 && (n = getline(&line, &cap, in)) > 0;) {
        number++;
        if (n > 1 || line[0] != '\n')
            rc = judge_line(path, number, line, (size_t)n, out);
    }
    if (rc == 0 && ferror(in))
        rc = cai_fail_errno("%s", path);
    if (!standard)
        fclose(in);
    return rc;
}
