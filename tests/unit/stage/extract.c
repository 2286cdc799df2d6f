/* extract: every case of extract_cases.jsonl: {"kind", "raw", "finish", "original"?,
 * "expect": text or null, "reason"}. "no_flaw" is "No flaw:" unless given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "stage/extract.h"
#include <jansson.h>
#include <string.h>

static const char *member(const json_t *o, const char *name) {
    return json_string_value(json_object_get(o, name));
}

static enum extract_kind kind_of(const char *name) {
    return strcmp(name, "critique") == 0   ? EXTRACT_CRITIQUE
           : strcmp(name, "revision") == 0 ? EXTRACT_REVISION
                                           : EXTRACT_CHOICE;
}

static enum extract_finish finish_of(const char *name) {
    return strcmp(name, "end") == 0      ? EXTRACT_ENDED
           : strcmp(name, "length") == 0 ? EXTRACT_CUT
                                         : EXTRACT_NOT_RUN;
}

static bool check_case(const json_t *o, int line) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    const char *expect = member(o, "expect"), *reason = member(o, "reason");
    const char *no_flaw = member(o, "no_flaw");
    struct extract_input in = {.kind = kind_of(member(o, "kind")), .raw = member(o, "raw"),
                               .finish = finish_of(member(o, "finish")),
                               .original = member(o, "original"),
                               .no_flaw = no_flaw ? no_flaw : "No flaw:"};
    const char *got = extract_reason_name(extract(&in, &text));
    const char *gave = text.data ? text.data : "";
    bool right = strcmp(got, reason) == 0 && (!expect || strcmp(gave, expect) == 0);
    if (!right)
        print_error("extract_cases.jsonl:%d: %s '%s', expected %s '%s'\n", line, got, gave, reason,
                    expect ? expect : "");
    return right;
}

static void table(void **state) {
    (void)state;
    CAI_AUTO(stream) FILE *f = fopen(EXTRACT_CASES, "r");
    char line[16384];
    int n = 0, wrong = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(o);
        wrong += !check_case(o, ++n);
        json_decref(o);
    }
    assert_int_equal(wrong, 0);
    assert_true(n >= 200);
}

static void refusals_and_evasions(void **state) {
    (void)state;
    assert_true(extract_is_refusal("I’m sorry, but I can’t help with that."));
    assert_true(extract_is_refusal("  I cannot do this for you."));
    assert_false(extract_is_refusal("You cannot park there on Sundays."));
    assert_false(extract_is_refusal("I cantered along the river."));
    assert_true(extract_is_evasion("I don't know."));
    assert_true(extract_is_evasion("No."));
    assert_true(extract_is_evasion(""));
    assert_false(extract_is_evasion("Take the second street on the left."));
    assert_true(extract_is_evasion("Of course. I would rather not say. The train was late."));
    assert_true(extract_is_evasion("Perhaps ask someone else."));
    assert_true(extract_is_evasion("Well. It is what it is. Hard to say"));
    /* What comes after an answer is none. */
    assert_false(extract_is_evasion("Take a brush and some soap to the stain, and wait for an hour. "
                                    "I cannot say how long it lasts."));
    assert_false(extract_is_refusal("Certainly. Sorry, I cannot do this."));
    assert_true(extract_is_unanswered("Certainly. Sorry, I cannot do this."));
    assert_true(extract_is_unanswered("I don't know."));
    assert_false(extract_is_unanswered("Certainly. Take the second street on the left."));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(table),
                                       cmocka_unit_test(refusals_and_evasions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
