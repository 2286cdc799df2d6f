/* roles.c: what each role may do: one table. */
#include "run/gate.h"
#include <string.h>

/* A worker's key that is stolen leases tasks, and no more; a client's trains, and no more. */
static const bool may[ROLE_COUNT][ACT_COUNT] = {
    /*                 greet  look   review change administer work */
    [ROLE_NONE]     = {false, false, false, false, false, false},
    [ROLE_CLIENT]   = {true,  true,  false, true,  false, false},
    [ROLE_REVIEWER] = {true,  true,  true,  false, false, false},
    [ROLE_WORKER]   = {true,  false, false, false, false, true},
    [ROLE_ADMIN]    = {true,  true,  true,  true,  true,  false},
};

/* Verbs that are not simply looking or changing; "x.*" is every verb that begins so. */
static const struct {
    const char *verb;
    enum act act;
} verbs[] = {
    {"ping", ACT_GREET},        {"version", ACT_GREET},          {"review.*", ACT_REVIEW},
    {"key.*", ACT_ADMINISTER},  {"backup", ACT_ADMINISTER},      {"backup.*", ACT_ADMINISTER},
    {"ckpt.gc", ACT_ADMINISTER}, /* of everybody's jobs */
    {"asset.begin", ACT_CHANGE}, {"asset.chunk", ACT_CHANGE},    {"asset.finish", ACT_CHANGE},
};

const char *act_name(enum act act) {
    static const char *const names[ACT_COUNT] = {"greet", "look", "review", "change", "administer",
                                                 "work"};
    return names[act];
}

enum act act_of_verb(const char *verb, bool changes) {
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        size_t n = strlen(verbs[i].verb);
        bool group = verbs[i].verb[n - 1] == '*';
        if (group ? strncmp(verb, verbs[i].verb, n - 1) == 0 : strcmp(verb, verbs[i].verb) == 0)
            return verbs[i].act;
    }
    return changes ? ACT_CHANGE : ACT_LOOK;
}

bool role_may(enum key_role role, enum act act) {
    return role >= ROLE_NONE && role < ROLE_COUNT && act < ACT_COUNT && may[role][act];
}
