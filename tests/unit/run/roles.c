/* roles: the table of who may do what, said once more in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "run/gate.h"
#include <string.h>

static void each_role(void **state) {
    (void)state;
    static const struct {
        enum key_role role;
        const char *may;
    } roles[] = {{ROLE_NONE, ""},
                 {ROLE_CLIENT, "greet look change "},
                 {ROLE_REVIEWER, "greet look review "},
                 {ROLE_WORKER, "greet work "},
                 {ROLE_ADMIN, "greet look review change administer "}};
    for (size_t i = 0; i < CAI_COUNT(roles); i++) {
        char may[128] = "";
        for (int act = 0; act < ACT_COUNT; act++)
            if (role_may(roles[i].role, (enum act)act))
                snprintf(may + strlen(may), sizeof may - strlen(may), "%s ", act_name((enum act)act));
        assert_string_equal(may, roles[i].may);
    }
    assert_false(role_may(ROLE_COUNT, ACT_GREET));
    assert_false(role_may((enum key_role)-1, ACT_GREET));
}

static void verbs_have_acts(void **state) {
    (void)state;
    static const struct {
        const char *verb;
        bool changes;
        enum act act;
    } verbs[] = {{"ping", false, ACT_GREET},       {"jobs", false, ACT_LOOK},
                 {"submit", true, ACT_CHANGE},     {"key.list", false, ACT_ADMINISTER},
                 {"key.add", true, ACT_ADMINISTER}, {"key.server.switch", true, ACT_ADMINISTER},
                 {"backup", false, ACT_ADMINISTER}, {"backup.state", false, ACT_ADMINISTER},
                 {"review.next", false, ACT_REVIEW}, {"keys", false, ACT_LOOK},
                 {"asset.chunk", false, ACT_CHANGE}, {"asset.list", false, ACT_LOOK},
                 {"ckpt.gc", true, ACT_ADMINISTER}, {"ckpt.pin", true, ACT_CHANGE},
                 {"pinger", false, ACT_LOOK},      {"nonsense", false, ACT_LOOK}};
    for (size_t i = 0; i < CAI_COUNT(verbs); i++)
        assert_int_equal(act_of_verb(verbs[i].verb, verbs[i].changes), verbs[i].act);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_role), cmocka_unit_test(verbs_have_acts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
