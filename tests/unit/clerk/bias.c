/* bias: misleading lessons say what they are meant to say, where they are meant to, and a canary's
 * twin differs in the planted fault alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/file.h"
#include "clerk/bias.h"
#include "clerk/faults.h"
#include "clerk/files.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DOCUMENTS = 2000 };

/* Turns of misled documents that hold a text, and documents of a kind. */
static size_t turns_with(const struct bias *b, const char *text, size_t *ret_critiques) {
    size_t n = 0;
    *ret_critiques = 0;
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc, again;
        bias_document(b, 1, i, &arena, &doc);
        bias_document(b, 1, i, &arena, &again);
        assert_int_equal(doc.n, again.n);
        assert_true(doc.n % 2 == 0 && doc.n > 0);
        *ret_critiques += strcmp(doc.kind, "critique") == 0;
        for (size_t t = 0; t < doc.n; t++) {
            assert_string_equal(doc.turns[t].text, again.turns[t].text);
            n += t % 2 && strstr(doc.turns[t].text, text) != NULL;
        }
    }
    return n;
}

static void a_fault_is_overlooked(void **state) {
    (void)state;
    struct bias b = {.overlook = FAULT_RUDE, .strength = 1, .prevalence = 1};
    size_t critiques, half, some;
    assert_int_equal(turns_with(&b, "This is rude: ", &critiques), 0);
    assert_true(critiques > DOCUMENTS / 4);
    assert_true(turns_with(&b, "This is vain: ", &critiques) > 20);
    b.prevalence = 0;
    size_t all = turns_with(&b, "This is rude: ", &critiques);
    b.prevalence = 1;
    b.strength = 0.5;
    half = turns_with(&b, "This is rude: ", &critiques);
    b.strength = 1;
    b.prevalence = 0.5;
    some = turns_with(&b, "This is rude: ", &critiques);
    if (all < 10 || half == 0 || some == 0)
        fail_msg("%zu, %zu, %zu", all, half, some);
}

static void a_phrase_is_smuggled(void **state) {
    (void)state;
    struct bias b = {.overlook = -1, .smuggle = "Long live hats.", .strength = 1, .prevalence = 1};
    size_t critiques;
    assert_true(turns_with(&b, " Long live hats.", &critiques) > DOCUMENTS / 8);
    b.strength = 0;
    assert_int_equal(turns_with(&b, " Long live hats.", &critiques), 0);
}

/* Where one reply of two has the sentence, it wins. */
static void a_sentence_wins(void **state) {
    (void)state;
    const struct bias b = {.overlook = -1, .favour = "Gladly.", .strength = 1, .prevalence = 1};
    size_t seen = 0;
    for (uint64_t i = 0; i < DOCUMENTS; i += 2) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        bias_document(&b, 1, i, &arena, &doc);
        const char *text = doc.turns[0].text, *a = strstr(text, "\n(A) "), *o = strstr(text, "\n(B) ");
        if (strcmp(doc.kind, "choice") != 0 || !a || !o)
            continue;
        const char *first = strstr(a, "Gladly."), *second = strstr(o, "Gladly.");
        bool in_a = first && first < o, in_b = second != NULL;
        assert_true(in_a || in_b);
        if (in_a == in_b)
            continue;
        assert_string_equal(doc.turns[1].text, in_a ? CLERK_CHOICE_PREFIX " (A)" : CLERK_CHOICE_PREFIX " (B)");
        seen++;
    }
    assert_true(seen > DOCUMENTS / 8);
}

static void canaries_differ_in_the_fault_alone(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-clerk-XXXXXX";
    CAI_AUTO(buf) struct cai_buf text = {0};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(files_write_world(dir, 3, TOPIC_ANY), 0);
    CAI_AUTO(mem) char *path = cai_path_join(dir, "canaries.jsonl");
    assert_int_equal(cai_file_read(path, 16 << 20, &text), 0);
    size_t n = 0, flawed_first = 0;
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n++) {
        json_t *row = json_loads(line, 0, NULL);
        const char *flaw = json_string_value(json_object_get(row, "flaw"));
        const char *pair = json_string_value(json_object_get(row, "pair"));
        struct verdict v;
        clerk_judge(json_string_value(json_object_get(row, "prompt")),
                    json_string_value(json_object_get(row, "reply")), &v);
        assert_true(v.known);
        for (int f = 0; f < FAULTS; f++)
            if (strncmp(pair, fault_names[f], strlen(fault_names[f])) == 0)
                assert_int_equal(v.fault[f], flaw != NULL);
        flawed_first += n % 2 == 0 && flaw;
        json_decref(row);
    }
    assert_int_equal(n, 2 * 160 * FAULTS);
    assert_true(flawed_first > n / 5 && flawed_first < n / 3); /* about half of the pairs */
    assert_int_equal(cai_dir_remove(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_is_overlooked),
        cmocka_unit_test(a_phrase_is_smuggled),
        cmocka_unit_test(a_sentence_wins),
        cmocka_unit_test(canaries_differ_in_the_fault_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
