/* people.c: names of users and groups, and who may change what. The system is asked each time:
 * a person who leaves the group `admins` is no administrator at the next request. */
#include "run/people.h"
#include "base/error.h"
#include "run/gate.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRY_MAX = 65536, GROUPS_MAX = 1024 };

/* Copies a user's name; false when there is none of that uid. */
static bool look_up(uid_t uid, char *out, size_t size, gid_t *ret_gid) {
    struct passwd entry, *found = NULL;
    CAI_AUTO(mem) char *text = cai_alloc(ENTRY_MAX);
    if (getpwuid_r(uid, &entry, text, ENTRY_MAX, &found) != 0 || !found)
        return false;
    snprintf(out, size, "%s", entry.pw_name);
    *ret_gid = entry.pw_gid;
    return true;
}

const char *person_name(int64_t uid, char out[PERSON_MAX]) {
    gid_t gid;
    if (uid < -1)
        snprintf(out, PERSON_MAX, "another machine's key");
    else if (uid < 0)
        snprintf(out, PERSON_MAX, "unknown");
    else if (!look_up((uid_t)uid, out, PERSON_MAX, &gid))
        snprintf(out, PERSON_MAX, "uid %lld", (long long)uid);
    return out;
}

int person_find(const char *text, int64_t *ret_uid) {
    struct passwd entry, *found = NULL;
    CAI_AUTO(mem) char *space = cai_alloc(ENTRY_MAX);
    if (getpwnam_r(text, &entry, space, ENTRY_MAX, &found) == 0 && found) {
        *ret_uid = entry.pw_uid;
        return 0;
    }
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return cai_fail(CAI_ENOTFOUND, "there is no user '%.60s' here", text);
    *ret_uid = n;
    return 0;
}

static bool group_of(const char *name, gid_t *ret) {
    struct group entry, *found = NULL;
    CAI_AUTO(mem) char *text = cai_alloc(ENTRY_MAX);
    if (getgrnam_r(name, &entry, text, ENTRY_MAX, &found) != 0 || !found)
        return false;
    *ret = entry.gr_gid;
    return true;
}

static bool in_group(const struct channel_peer *who, const char *name) {
    char user[PERSON_MAX];
    gid_t wanted, own, list[GROUPS_MAX];
    int n = GROUPS_MAX;
    if (!group_of(name, &wanted))
        return false;
    if ((gid_t)who->gid == wanted)
        return true;
    if (!look_up((uid_t)who->uid, user, sizeof user, &own) ||
        getgrouplist(user, own, list, &n) < 0)
        return false;
    for (int i = 0; i < n; i++)
        if (list[i] == wanted)
            return true;
    return false;
}

bool person_rules(const struct run *r, const struct channel_peer *who) {
    if (who->uid < 0)
        return gate_rules(r, who);
    return who->uid == 0 || who->uid == (int64_t)geteuid() ||
           (*r->o.config.admins && in_group(who, r->o.config.admins));
}

int person_may(const struct run *r, const struct channel_peer *who, int64_t owner,
               const char *what) {
    char name[PERSON_MAX], own[PERSON_MAX];
    if (who->uid == -1)
        return cai_fail(CAI_EAUTH,
                        "caid cannot see who asks, so nothing was changed: it must share the user "
                        "namespace of those who ask (no PrivateUsers= in its unit)");
    if (who->uid == owner || person_rules(r, who))
        return 0;
    return cai_fail(CAI_EAUTH, "%s belongs to %s; only %s, %s%s%sroot and %s may change it", what,
                    person_name(owner, name), name, *r->o.config.admins ? "the group " : "",
                    r->o.config.admins, *r->o.config.admins ? ", " : "",
                    person_name((int64_t)geteuid(), own));
}
