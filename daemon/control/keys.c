/* keys.c: verbs about keys: who may speak to caid from other machines. Secrets never
 * come here: caictl makes a pair and sends its public half. */
#include "base/clock.h"
#include "base/error.h"
#include "control/control.h"
#include "run/gate.h"
#include <string.h>

static int key_server(const struct request *q, json_t **ret) {
    const char *next = gate_next_key(q->run);
    *ret = json_pack("{s:s, s:s?, s:s}", "public", gate_server_key(q->run), "next",
                     *next ? next : NULL, "listen", q->run->o.config.listen);
    return 0;
}

static int key_rotate_server(const struct request *q, json_t **ret) {
    CAI_TRY(gate_make_next(q->run));
    return key_server(q, ret);
}

static int key_switch_server(const struct request *q, json_t **ret) {
    CAI_TRY(gate_take_next(q->run));
    return key_server(q, ret);
}

static int key_list(const struct request *q, json_t **ret) {
    const struct keyring *k = gate_keyring(q->run);
    int64_t now = cai_wall_ms() / 1000;
    struct page p;
    page_open(&p, q, 500);
    for (size_t i = 0; i < k->n; i++) {
        const struct key_entry *e = &k->entries[i];
        if (!page_wants(&p))
            continue;
        const char *state = !e->ends_s ? "accepted" : e->ends_s > now ? "ends" : "revoked";
        json_t *o = json_pack(
            "{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "name", e->name, "role", key_role_name(e->role),
            "state", state, "public", e->public_key, "made_ms", (json_int_t)e->made_s * 1000,
            "ends_ms", (json_int_t)e->ends_s * 1000, "connections",
            (json_int_t)gate_connections(q->run, e->public_key));
        if (!e->ends_s)
            json_object_set_new(o, "ends_ms", json_null());
        if (!page_add(&p, o))
            break;
    }
    *ret = page_close(&p);
    return 0;
}

static int key_add(const struct request *q, json_t **ret) {
    const char *name = request_text(q, "name"), *role = request_text(q, "role");
    enum key_role given = key_role_of(role);
    if (!given)
        return cai_fail(CAI_EINPUT, "'%.32s' is no role: client, reviewer, worker or admin", role);
    CAI_TRY(gate_add_key(q->run, given, name, request_text(q, "public"), -1));
    *ret = json_pack("{s:s, s:s, s:s}", "name", name, "role", role, "server",
                     gate_server_key(q->run));
    return 0;
}

/* The role of the name's newest key that is accepted. */
static enum key_role role_now(const struct run *r, const char *name) {
    const struct keyring *k = gate_keyring(r);
    enum key_role role = ROLE_NONE;
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->entries[i].name, name) == 0 && gate_accepts(r, k->entries[i].public_key))
            role = k->entries[i].role;
    return role;
}

static int key_rotate(const struct request *q, json_t **ret) {
    const char *name = request_text(q, "name");
    enum key_role role = role_now(q->run, name);
    int64_t overlap = request_int(q, "overlap", 86400);
    if (!role)
        return cai_fail(CAI_ENOTFOUND, "%.64s has no key that is accepted; `caictl key new` makes one",
                        name);
    if (overlap > 366 * 86400)
        return cai_fail(CAI_EINPUT, "the old key may stay for a year at most");
    CAI_TRY(gate_add_key(q->run, role, name, request_text(q, "public"), overlap));
    *ret = json_pack("{s:s, s:s, s:s}", "name", name, "role", key_role_name(role), "server",
                     gate_server_key(q->run));
    return 0;
}

static int key_revoke(const struct request *q, json_t **ret) {
    size_t closed = 0;
    CAI_TRY(gate_revoke_key(q->run, request_text(q, "name"), &closed));
    *ret = json_pack("{s:s, s:I}", "name", request_text(q, "name"), "closed", (json_int_t)closed);
    return 0;
}

const struct verb key_verbs[] = {
    {"key.server", false, "", key_server},
    {"key.server.rotate", true, "", key_rotate_server},
    {"key.server.switch", true, "", key_switch_server},
    {"key.list", false, "after:i limit:i", key_list},
    {"key.add", true, "name:s! role:s! public:s!", key_add},
    {"key.rotate", true, "name:s! public:s! overlap:i", key_rotate},
    {"key.revoke", true, "name:s!", key_revoke},
    {0},
};
