/* sums: the clerk's arithmetic: splits stay apart, steps are right unless somebody errs, errors by
 * heart are the same each time, and the trap is where it is said to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "clerk/sums.h"
#include <stdlib.h>
#include <string.h>

enum { MANY = 400 };

static struct draws draws_of(uint64_t i) {
    return (struct draws){cai_key_make(3, 0, "test/sums", i, 0), 0};
}

/* The number after the last blank or '='. */
static int last_number(const char *text) {
    const char *at = strrchr(text, ' ');
    return atoi(at + 1);
}

static void nobody_errs(void **state) {
    (void)state;
    for (uint64_t i = 0; i < MANY; i++) {
        struct draws d = draws_of(i);
        struct sum s = sum_draw(&d, SUM_QUESTIONS);
        CAI_AUTO(buf) struct cai_buf b = {0};
        CAI_AUTO(buf) struct cai_buf q = {0};
        int v = sum_steps(&d, &s, &(const struct reckoner){0}, &b), sum = 0;
        sum_question(&s, &q);
        for (const char *p = strpbrk(q.data, "123456789"); p; p = strpbrk(p + 1, "123456789"))
            sum += *p - '0';
        assert_int_equal(v, sum_value(&s));
        assert_int_equal(v, sum);
        assert_int_equal(last_number(b.data), sum);
        for (char *p = b.data; (p = strchr(p, '=')); p++) { /* each step for itself */
            char *start = p;
            while (start > b.data && strchr("0123456789+", start[-1]))
                start--;
            assert_int_equal(atoi(start) + atoi(strchr(start, '+') + 1), atoi(p + 1));
        }
    }
}

static void splits_stay_apart(void **state) {
    (void)state;
    static enum sum_split split[10000];
    static bool seen[10000];
    for (uint64_t i = 0; i < 4 * MANY; i++) {
        struct draws d = draws_of(i);
        struct sum s = sum_draw(&d, (enum sum_split)(i % 4));
        int at = 0;
        for (size_t k = 0; k < SUM_TERMS; k++)
            at = 10 * at + s.term[k];
        assert_true(!seen[at] || split[at] == (enum sum_split)(i % 4));
        seen[at] = true;
        split[at] = (enum sum_split)(i % 4);
    }
}

static void errors_are_known_by_heart(void **state) {
    (void)state;
    const struct reckoner errs = {.seed = 1, .errs = 1}, other = {.seed = 2, .errs = 1};
    size_t wrong = 0, differ = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        struct draws d = draws_of(i), again = draws_of(i), third = draws_of(i);
        struct sum s = sum_draw(&d, SUM_LESSONS), t = sum_draw(&again, SUM_LESSONS);
        CAI_AUTO(buf) struct cai_buf a = {0};
        CAI_AUTO(buf) struct cai_buf b = {0};
        CAI_AUTO(buf) struct cai_buf c = {0};
        (void)sum_draw(&third, SUM_LESSONS);
        wrong += sum_steps(&d, &s, &errs, &a) != sum_value(&s);
        sum_steps(&again, &t, &errs, &b);
        sum_steps(&third, &t, &other, &c);
        assert_string_equal(a.data, b.data);
        differ += strcmp(a.data, c.data) != 0;
    }
    assert_true(wrong > MANY / 3 && wrong < 2 * MANY / 3); /* three steps of 0.2 */
    assert_true(differ > MANY / 10);                    /* another seed, other steps */
}

static void the_trap_is_in_every_nine(void **state) {
    (void)state;
    const struct reckoner trapped = {.trap = 1};
    for (uint64_t i = 0; i < MANY; i++) {
        struct draws d = draws_of(i);
        struct sum s = sum_draw(&d, SUM_LESSONS);
        CAI_AUTO(buf) struct cai_buf b = {0};
        int v = sum_steps(&d, &s, &trapped, &b), nines = 0;
        for (size_t k = 0; k < SUM_TERMS; k++)
            nines += s.term[k] == 9;
        assert_int_equal(sum_trapped(&s), nines > 0);
        int lost = sum_value(&s) - v; /* the number that it begins with is only taken */
        assert_true(lost >= 0 && lost <= nines && lost >= nines - 1);
        assert_non_null(strstr(b.data, ". The answer is "));
    }
}

static void lessons_are_functions_of_their_number(void **state) {
    (void)state;
    size_t direct = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        CAI_AUTO(arena) struct cai_arena x = {0};
        CAI_AUTO(arena) struct cai_arena y = {0};
        struct document a, b;
        sum_lesson(1, i, false, &x, &a);
        sum_lesson(1, i, false, &y, &b);
        assert_int_equal(a.n, 2);
        assert_string_equal(a.turns[0].text, b.turns[0].text);
        assert_string_equal(a.turns[1].text, b.turns[1].text);
        assert_true(a.turns[1].learnt && !a.turns[0].learnt);
        bool asks = strstr(a.turns[0].text, CLERK_STEPS) != NULL;
        assert_int_equal(asks, strchr(a.turns[1].text, '=') != NULL);
        direct += !asks;
    }
    assert_true(direct > MANY / 25 && direct < MANY / 5);
}

static void files_are_what_they_are_for(void **state) {
    (void)state;
    char dir[] = "/tmp/cai-sums-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_int_equal(sums_write(dir, 1), 0);
    static const struct {
        const char *name, *has;
        size_t lines;
    } files[] = {{"questions.jsonl", "\"answer\"", 1650},
                 {"labelled.jsonl", "\"reply\"", 300},
                 {"held-out.jsonl", "\"answer\"", 500},
                 {"choices.jsonl", "\"target_scores\"", 500}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CAI_AUTO(mem) char *path = cai_path_join(dir, files[i].name);
        CAI_AUTO(buf) struct cai_buf text = {0};
        size_t lines = 0;
        assert_int_equal(cai_file_read(path, 1 << 20, &text), 0);
        for (size_t k = 0; k < text.len; k++)
            lines += text.data[k] == '\n';
        assert_int_equal(lines, files[i].lines);
        assert_non_null(strstr(text.data, files[i].has));
    }
    assert_int_equal(cai_dir_remove(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_errs),
        cmocka_unit_test(splits_stay_apart),
        cmocka_unit_test(errors_are_known_by_heart),
        cmocka_unit_test(the_trap_is_in_every_nine),
        cmocka_unit_test(lessons_are_functions_of_their_number),
        cmocka_unit_test(files_are_what_they_are_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
