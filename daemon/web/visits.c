/* visits.c: links and the sessions that they begin.
 *
 *   link      made → used (once) | older than five minutes
 *   session   begun by a link → used … → idle too long, left, or pushed out by a newer one
 *
 * Secrets are 32 random bytes; only hashes are kept, here and in STATE/web/sessions.json, so that a
 * restart of caid keeps people at their work and the file lets nobody in. Links do not outlive
 * caid. Not for whom a request is refused (entry.c). */
#include "base/error.h"
#include "base/file.h"
#include "web/inside.h"
#include <sodium.h>
#include <string.h>

enum { FILE_MAX = 256 << 10, WRITE_S = 60 };

static void hash_of(const char *secret, unsigned char ret[HASH_BYTES]) {
    crypto_generichash(ret, HASH_BYTES, (const unsigned char *)secret, strlen(secret), NULL, 0);
}

static void make_secret(char ret[SECRET_SIZE]) {
    unsigned char bytes[SECRET_BYTES];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2base64(ret, SECRET_SIZE, bytes, sizeof bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof bytes);
}

/* ---- the file ---------------------------------------------------------------------------------- */

static json_t *visit_json(const struct visit *s) {
    char cookie[2 * HASH_BYTES + 1], secret[2 * HASH_BYTES + 1];
    sodium_bin2hex(cookie, sizeof cookie, s->cookie, HASH_BYTES);
    sodium_bin2hex(secret, sizeof secret, s->secret, HASH_BYTES);
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I}", "cookie", cookie, "secret", secret, "name",
                     s->who.name, "uid", (json_int_t)s->who.uid, "gid", (json_int_t)s->who.gid, "key",
                     s->who.key, "used_s", (json_int_t)s->used_s);
}

static int save(struct visits *s, int64_t now_s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(list, visit_json(&s->at[i]));
    CAI_AUTO(mem) char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    if (!text)
        return cai_fail(CAI_EINTERNAL, "sessions cannot be written");
    CAI_TRY(cai_file_write_atomic(s->path, text, strlen(text)));
    s->written_s = now_s;
    s->changed = false;
    return 0;
}

static bool read_hash(const json_t *o, const char *name, unsigned char ret[HASH_BYTES]) {
    const char *hex = json_string_value(json_object_get(o, name));
    size_t n = 0;
    return hex && sodium_hex2bin(ret, HASH_BYTES, hex, strlen(hex), NULL, &n, NULL) == 0 &&
           n == HASH_BYTES;
}

static bool visit_read(const json_t *o, struct visit *ret) {
    *ret = (struct visit){0};
    const char *name = json_string_value(json_object_get(o, "name"));
    const char *key = json_string_value(json_object_get(o, "key"));
    if (!name || !key || !read_hash(o, "cookie", ret->cookie) || !read_hash(o, "secret", ret->secret))
        return false;
    snprintf(ret->who.name, sizeof ret->who.name, "%s", name);
    snprintf(ret->who.key, sizeof ret->who.key, "%s", key);
    ret->who.uid = json_integer_value(json_object_get(o, "uid"));
    ret->who.gid = json_integer_value(json_object_get(o, "gid"));
    ret->used_s = json_integer_value(json_object_get(o, "used_s"));
    return true;
}

static bool is_idle(const struct visits *s, const struct visit *one, int64_t now_s) {
    return now_s - one->used_s > s->idle_s;
}

/* A file that cannot be read ends the sessions in it, and nothing else. */
int visits_load(struct visits *s, const char *path, int64_t idle_s, int64_t now_s) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    *s = (struct visits){.path = cai_strdup(path), .idle_s = idle_s, .written_s = now_s};
    int rc = cai_file_read(path, FILE_MAX, &text);
    if (rc == CAI_ENOTFOUND)
        return 0;
    CAI_TRY(rc);
    json_t *list = json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES, NULL), *o;
    size_t i;
    if (!json_is_array(list)) {
        json_decref(list);
        return cai_fail(CAI_EINPUT, "%s: is not what caid wrote", path);
    }
    json_array_foreach(list, i, o) {
        struct visit one;
        if (s->n < VISITS_MAX && visit_read(o, &one) && !is_idle(s, &one, now_s))
            s->at[s->n++] = one;
    }
    json_decref(list);
    return 0;
}

void visits_free(struct visits *s) {
    free(s->path);
    sodium_memzero(s, sizeof *s);
}

/* ---- links ---------------------------------------------------------------------------------------- */

static void drop_link(struct visits *s, size_t i) { s->links[i] = s->links[--s->n_links]; }

void visits_invite(struct visits *s, const struct web_person *who, int64_t now_s,
                     char ret_token[SECRET_SIZE]) {
    size_t oldest = 0;
    for (size_t i = 1; i < s->n_links; i++)
        if (s->links[i].until_s < s->links[oldest].until_s)
            oldest = i;
    if (s->n_links == LINKS_MAX)
        drop_link(s, oldest);
    struct link *l = &s->links[s->n_links++];
    *l = (struct link){.who = *who, .until_s = now_s + WEB_LINK_S};
    make_secret(ret_token);
    hash_of(ret_token, l->hash);
}

/* True and who it was for; it is gone then. */
static bool take_link(struct visits *s, const char *token, int64_t now_s,
                      struct web_person *ret) {
    unsigned char hash[HASH_BYTES];
    hash_of(token, hash);
    for (size_t i = 0; i < s->n_links; i++) {
        if (sodium_memcmp(s->links[i].hash, hash, HASH_BYTES) != 0)
            continue;
        bool holds = now_s <= s->links[i].until_s;
        *ret = s->links[i].who;
        drop_link(s, i);
        return holds;
    }
    return false;
}

/* ---- sessions ------------------------------------------------------------------------------------- */

void visits_leave(struct visits *s, struct visit *one) {
    *one = s->at[--s->n];
    s->changed = true;
    s->written_s = 0;
}

int visits_enter(struct visits *s, const char *token, int64_t now_s,
                   char ret_cookie[SECRET_SIZE], char ret_secret[SECRET_SIZE]) {
    struct web_person who;
    if (!take_link(s, token, now_s, &who))
        return cai_fail(CAI_EAUTH, "%s", refusal_kinds[REFUSED_LINK].says);
    size_t longest = 0;
    for (size_t i = 1; i < s->n; i++)
        if (s->at[i].used_s < s->at[longest].used_s)
            longest = i;
    if (s->n == VISITS_MAX)
        visits_leave(s, &s->at[longest]);
    struct visit *one = &s->at[s->n++];
    *one = (struct visit){.who = who, .used_s = now_s};
    make_secret(ret_cookie);
    make_secret(ret_secret);
    hash_of(ret_cookie, one->cookie);
    hash_of(ret_secret, one->secret);
    int rc = save(s, now_s);
    if (rc < 0)
        s->n--;
    return rc;
}

struct visit *visits_find(struct visits *s, const char *cookie, int64_t now_s) {
    unsigned char hash[HASH_BYTES];
    hash_of(cookie, hash);
    for (size_t i = 0; i < s->n; i++)
        if (sodium_memcmp(s->at[i].cookie, hash, HASH_BYTES) == 0)
            return is_idle(s, &s->at[i], now_s) ? NULL : &s->at[i];
    return NULL;
}

bool visit_knows(const struct visit *s, const char *secret) {
    unsigned char hash[HASH_BYTES];
    if (!secret || strlen(secret) != SECRET_SIZE - 1)
        return false;
    hash_of(secret, hash);
    return sodium_memcmp(s->secret, hash, HASH_BYTES) == 0;
}

void visits_use(struct visits *s, struct visit *one, int64_t now_s) {
    s->changed = s->changed || one->used_s != now_s;
    one->used_s = now_s;
}

void visits_beat(struct visits *s, int64_t now_s) {
    for (size_t i = s->n; i-- > 0;)
        if (is_idle(s, &s->at[i], now_s))
            visits_leave(s, &s->at[i]);
    /* A clock that was set back writes too. */
    if (s->changed && (now_s - s->written_s >= WRITE_S || now_s < s->written_s) && save(s, now_s) < 0)
        s->written_s = now_s; /* again in a minute; nothing but idleness is forgotten */
}
