/* pieces: literals and trim rules found, and what cannot be taken apart refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "hf/pieces.h"
#include <string.h>

/* A little template: `open` m0 `mid` m1 `close`, each message stripped by a rule. */
static const char *strip(const char *s, enum hf_trim rule, struct cai_buf *b) {
    const char *set = rule == HF_TRIM_SPACE ? " \t\n\r" : rule == HF_TRIM_NEWLINES ? "\n" : "";
    size_t n = strlen(s);
    while (n && *set && strchr(set, *s))
        s++, n--;
    while (n && *set && strchr(set, s[n - 1]))
        n--;
    cai_buf_append(b, s, n);
    return b->data;
}

static char *render(const char *mid, const char *m0, enum hf_trim r0, const char *m1,
                    enum hf_trim r1) {
    struct cai_buf b = {0};
    cai_buf_puts(&b, "<s>");
    strip(m0, r0, &b);
    cai_buf_puts(&b, mid);
    strip(m1, r1, &b);
    cai_buf_puts(&b, "</s>\n");
    return cai_buf_detach(&b);
}

static void rules(void **state) {
    (void)state;
    static const char *const mids[] = {"", "\n", " ", "|", "\n\n", " \t\n", "</s>\n<a>\n"};
    CAI_AUTO(mem) char *p0 = hf_mark_plain(0), *p1 = hf_mark_plain(1);
    CAI_AUTO(mem) char *w0 = hf_mark_wrapped(0), *w1 = hf_mark_wrapped(1);
    for (size_t k = 0; k < CAI_COUNT(mids); k++)
        for (int r = 0; r < 9; r++) {
            enum hf_trim r0 = (enum hf_trim)(r / 3), r1 = (enum hf_trim)(r % 3);
            CAI_AUTO(mem) char *plain = render(mids[k], p0, r0, p1, r1);
            CAI_AUTO(mem) char *wrapped = render(mids[k], w0, r0, w1, r1);
            struct hf_pieces p;
            assert_int_equal(hf_pieces_build("t", 2, NULL, plain, wrapped, &p), 0);
            const char *contents[] = {"\n x y\t\n\n", " \n\nz \n"};
            CAI_AUTO(mem) char *want = render(mids[k], contents[0], r0, contents[1], r1);
            assert_int_equal(hf_pieces_check("t", &p, contents, want), 0);
            assert_int_equal(p.slot[0].left, r0);
            assert_int_equal(p.slot[1].right, r1);
            hf_pieces_free(&p);
        }
}

static void refuses(void **state) {
    (void)state;
    static const struct {
        const char *plain, *wrapped, *words;
    } cases[] = {
        {"a", "a", "leaves out or changes the text of message 0"},
        {"qzCaiMark0xq qzCaiMark0xq", "", "repeats message 0"},
        {"[qzCaiMark0xq]", "[ qzCaiMark0xq]", "whitespace around message 0"},
        {"[qzCaiMark0xq]", "(qzCaiMark0xq]", "whitespace around message 0"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct hf_pieces p;
        assert_int_equal(hf_pieces_build("t", 1, NULL, cases[i].plain, cases[i].wrapped, &p),
                         CAI_EINPUT);
        assert_non_null(strstr(cai_error_text(), cases[i].words));
    }
}

static void shows_the_difference(void **state) {
    (void)state;
    CAI_AUTO(mem) char *mark = hf_mark_plain(0);
    struct hf_pieces p;
    assert_int_equal(hf_pieces_build("t", 1, NULL, mark, mark, &p), 0);
    const char *contents[] = {"hello there"};
    assert_int_equal(hf_pieces_check("t", &p, contents, "hello where"), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "at byte 6 it writes \"hello where\" where its fixed "
                                             "parts give \"hello there\""));
    hf_pieces_free(&p);
    assert_true(hf_is_blank(" \n\xC2\xA0") && hf_is_blank("") && !hf_is_blank(" x"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rules), cmocka_unit_test(refuses),
                                       cmocka_unit_test(shows_the_difference)};
    return cmocka_run_group_tests_name("hf/pieces", tests, NULL, NULL);
}
