/* control.c: requests of caictl: looks the verb up, checks the arguments, answers once per
 * idempotency key. The verbs are in control_*.c. */
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "proto/control.h"
#include "control/control.h"
#include "control/parts.h"
#include "run/gate.h"
#include "run/people.h"
#include <string.h>

enum { PAGE_BYTES = 700 << 10, ARGUMENTS_MAX = 16, REPLY_MAX = 1000 << 10 };

static const struct verb *const tables[] = {job_verbs, daemon_verbs, constitution_verbs,
                                            data_verbs, backup_verbs, ckpt_verbs, du_verbs,
                                            people_verbs, asset_verbs, estimate_verbs,
                                            rehearse_verbs, key_verbs, review_verbs, web_verbs,
                                            report_verbs};

static const struct verb *find_verb(const char *name) {
    for (size_t t = 0; t < CAI_COUNT(tables); t++)
        for (const struct verb *v = tables[t]; v->name; v++)
            if (strcmp(v->name, name) == 0)
                return v;
    return NULL;
}

/* ---- arguments ------------------------------------------------------------------- */

int64_t request_int(const struct request *q, const char *name, int64_t otherwise) {
    const json_t *v = json_object_get(q->args, name);
    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}
const char *request_text(const struct request *q, const char *name) {
    return json_string_value(json_object_get(q->args, name));
}
bool request_flag(const struct request *q, const char *name) {
    return json_is_true(json_object_get(q->args, name));
}

static bool type_fits(char type, const json_t *v) {
    switch (type) {
    case 'i': return json_is_integer(v) && json_integer_value(v) >= 0;
    case 'n': return json_is_integer(v);
    case 's': return json_is_string(v);
    case 'b': return json_is_boolean(v);
    case 'o': return json_is_object(v);
    case 'l': return json_is_array(v);
    default: return false;
    }
}

/* Fails with CAI_EINPUT; the caller makes that exit 2. */
static int check_one(const struct verb *v, const char *name, const char *spec, const json_t *args,
                     size_t *io_known) {
    const json_t *value = json_object_get(args, name);
    *io_known += value != NULL;
    if (!value || json_is_null(value)) {
        if (spec[1] == '!')
            return cai_fail(CAI_EINPUT, "%s: argument '%s' is missing", v->name, name);
        return 0;
    }
    if (!type_fits(spec[0], value))
        return cai_fail(CAI_EINPUT, "%s: argument '%s' has the wrong type", v->name, name);
    return 0;
}

static int check_args(const struct verb *v, const json_t *args) {
    char names[256];
    CAI_CHECK(strlen(v->args) < sizeof names);
    snprintf(names, sizeof names, "%s", v->args);
    size_t known = 0;
    char *rest = names;
    for (char *word; (word = strsep(&rest, " "));) {
        char *colon = strchr(word, ':');
        if (!colon)
            continue; /* a verb without arguments */
        *colon = '\0';
        CAI_TRY(check_one(v, word, colon + 1, args, &known));
    }
    if (known != json_object_size(args))
        return cai_fail(CAI_EINPUT, "%s: an argument is not one of: %s", v->name, v->args);
    return 0;
}

/* ---- pages ----------------------------------------------------------------------- */

void page_open(struct page *p, const struct request *q, int64_t limit) {
    int64_t wanted = request_int(q, "limit", limit);
    *p = (struct page){.rows = json_array(), .after = request_int(q, "after", 0),
                       .limit = wanted > 0 ? wanted : 1, .next = -1};
}

bool page_wants(struct page *p) { return p->seen++ >= p->after; }

bool page_add(struct page *p, json_t *row) {
    size_t bytes = json_dumpb(row, NULL, 0, JSON_COMPACT) + 2;
    bool full = json_array_size(p->rows) &&
                ((int64_t)json_array_size(p->rows) >= p->limit || p->bytes + bytes > PAGE_BYTES);
    if (full) {
        json_decref(row);
        p->next = p->seen - 1;
        return false;
    }
    json_array_append_new(p->rows, row);
    p->bytes += bytes;
    return true;
}

json_t *page_close(struct page *p) {
    json_t *next = p->next < 0 ? json_null() : json_integer(p->next);
    return json_pack("{s:o, s:o}", "rows", p->rows, "next", next);
}

/* ---- answering ------------------------------------------------------------------- */

struct answer {
    int exit;
    char *error, *json;
};

static void fail_answer(struct answer *a, int exit_code) {
    a->exit = exit_code;
    a->error = cai_strdup(cai_error_text());
    a->json = cai_strdup("{}");
}

/* Whether who asks may do it. */
static int allowed(const struct verb *v, const struct request *q) {
    if (!v->changes)
        return 0;
    int64_t id = request_int(q, "id", -1), owner = q->who->uid;
    CAI_AUTO(mem) char *what = id < 0 ? cai_strdup("this") : cai_format("job %lld", (long long)id);
    if (id >= 0) {
        struct store_job row;
        CAI_TRY(store_job_get(q->run->store, id, &row));
        owner = row.uid;
        store_job_free(&row);
    }
    return person_may(q->run, q->who, owner, what);
}

int request_note(const struct request *q, const json_t *answer) {
    if (!*q->key)
        return 0;
    CAI_AUTO(mem) char *json = json_dumps(answer, JSON_COMPACT);
    return store_request_add(q->run->store, q->key, q->verb, 0, "", json ? json : "{}");
}

int request_end(const struct request *q, int rc, const json_t *answer) {
    return store_end(q->run->store, rc == 0 ? request_note(q, answer) : rc);
}

static void run_verb(const struct verb *v, const struct request *q, struct answer *a) {
    struct run *r = q->run;
    json_t *out = NULL;
    if (v->changes)
        (void)CAI_FAILPOINT("request.change.before");
    int rc = v->f(q, &out);
    if (rc < 0) {
        fail_answer(a, control_exit_of(rc));
        json_decref(out);
        return;
    }
    a->json = json_dumps(out, JSON_COMPACT);
    json_decref(out);
    if (!a->json || strlen(a->json) > REPLY_MAX) {
        free(a->json);
        cai_fail(CAI_EINTERNAL, "%s: the answer is too long", v->name);
        fail_answer(a, EXIT_DAEMON);
        return;
    }
    a->error = cai_strdup("");
    if (v->changes)
        (void)CAI_FAILPOINT("request.key.before");
    if (v->changes && *q->key &&
        store_request_add(r->store, q->key, v->name, a->exit, a->error, a->json) < 0)
        cai_warn("a request's key was not kept: %s", cai_error_text());
}

/* True when the key was answered before (or is misused): `a` is filled. */
static bool seen_before(struct run *r, const struct verb *v, const char *key, struct answer *a) {
    if (!v->changes || !*key)
        return false;
    int rc = store_request_get(r->store, key, v->name, &a->exit, &a->error, &a->json);
    if (rc == CAI_ENOTFOUND)
        return false;
    if (rc < 0)
        fail_answer(a, control_exit_of(rc));
    return true;
}

static void answer_request(struct run *r, const struct channel_peer *peer,
                           const Cai__V1__Request *m, struct answer *a) {
    if (protocol_check(m->protocol, "who asks") < 0) {
        fail_answer(a, EXIT_PROTOCOL);
        return;
    }
    const struct verb *v = find_verb(m->verb);
    if (!v) {
        cai_fail(CAI_EPROTO, "caid %s does not know '%.40s'", CAI_VERSION, m->verb);
        fail_answer(a, EXIT_PROTOCOL);
        return;
    }
    json_error_t error;
    json_t *args = json_loads(*m->json ? m->json : "{}", JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(args)) {
        cai_fail(CAI_EINPUT, "%s: the arguments are no JSON object", v->name);
        fail_answer(a, EXIT_USAGE);
    } else if (check_args(v, args) < 0) {
        fail_answer(a, EXIT_USAGE);
    } else {
        struct request q = {r, args, v->name, m->key, peer, m->data.data, m->data.len};
        int rc = allowed(v, &q);
        if (rc < 0)
            fail_answer(a, control_exit_of(rc));
        else if (!seen_before(r, v, m->key, a))
            run_verb(v, &q, a);
    }
    json_decref(args);
}

int control_ask(struct run *r, const struct channel_peer *who, const char *verb, const json_t *args,
                json_t **ret) {
    const struct verb *v = find_verb(verb);
    CAI_CHECK(v && !v->changes);
    CAI_TRY(check_args(v, args));
    struct request q = {.run = r, .args = args, .verb = verb, .key = "", .who = who};
    return v->f(&q, ret);
}

bool control_changes(const char *verb) {
    const struct verb *v = find_verb(verb);
    return v && v->changes;
}

static void send_answer(struct run *r, const struct channel_peer *peer, const struct answer *a) {
    Cai__V1__Reply reply = CAI__V1__REPLY__INIT;
    reply.exit = a->exit;
    reply.error = a->error;
    reply.json = a->json;
    reply.protocol = PROTOCOL;
    Cai__V1__Frame out = CAI__V1__FRAME__INIT;
    out.body_case = CAI__V1__FRAME__BODY_REPLY;
    out.reply = &reply;
    if (channel_send(peer->from ? peer->from : r->control_channel, peer, &out) < 0)
        cai_debug("an answer found nobody");
}

void control_refuse(struct run *r, const struct channel_peer *peer, int exit_code,
                    const char *text) {
    struct answer a = {exit_code, (char *)text, (char *)"{}"};
    send_answer(r, peer, &a);
}

void control_frame(struct run *r, const struct channel_peer *peer, const Cai__V1__Frame *f) {
    if (f->body_case != CAI__V1__FRAME__BODY_REQUEST) {
        cai_warn("a frame that is no request came to the control socket");
        return;
    }
    struct answer a = {0};
    struct channel_peer who = *peer;
    if (*who.public_key)
        who.uid = gate_person(r, peer);
    answer_request(r, &who, f->request, &a);
    (void)CAI_FAILPOINT("request.reply.before");
    send_answer(r, peer, &a);
    (void)CAI_FAILPOINT("request.reply.after");
    free(a.error);
    free(a.json);
}
