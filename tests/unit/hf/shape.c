/* shape: where messages are cut, and what is never fixed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "hf/shape.h"
#include <string.h>

static struct hf_tokenizer *tokenizer;
static struct hf_words words;

#define SOURCE                                                                                     \
    "{% if '<think>' in c or '</think>' in c %}{{ c.split(\"[end]\") }}{{ '<|im_end|>' }}"         \
    "{{ '<|im_' }}{{ 'x' }}{{ '<b' ~ 'b>>' }}{{ 'word' }}"

static int set_up(void **state) {
    (void)state;
    static const char json[] =
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":2,\"content\":\"<|im_end|>\","
        "\"special\":true},{\"id\":3,\"content\":\"</think>\",\"special\":false}],"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";
    if (hf_tokenizer_parse("t", json, sizeof json - 1, &tokenizer) < 0)
        return -1;
    words = hf_words_find(SOURCE, tokenizer);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    hf_words_free(&words);
    hf_tokenizer_free(tokenizer);
    return 0;
}

static void finds_words(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool special;
    } want[] = {{"<think>", false},
                {"</think>", false},
                {"[end]", false},
                {"<|im_end|>", true},
                {"<|im_", true}};
    for (size_t i = 0; i < CAI_COUNT(want); i++) {
        size_t k = 0;
        while (k < words.n && strcmp(words.word[k].text, want[i].text) != 0)
            k++;
        if (k == words.n)
            fail_msg("%s is not found", want[i].text);
        assert_int_equal(words.word[k].special, want[i].special);
    }
}

/* Parts as "fixed" and <text>, messages apart by a line. */
static char *shown(const struct hf_message *m, size_t n, enum hf_fix fix, bool *ret_exact) {
    CAI_AUTO(shape) struct hf_shape s = hf_shape_new(&words, tokenizer, m, n, fix);
    struct cai_buf b = {0};
    size_t at = 0, texts = 0;
    for (size_t i = 0; i < s.n; i++) {
        const struct hf_part *p = &s.parts[i];
        bool first = i == 0 || p->message != s.parts[i - 1].message;
        at = first ? 0 : at;
        assert_int_equal(p->begin, at);
        at += p->len;
        if (i + 1 == s.n || s.parts[i + 1].message != p->message)
            assert_int_equal(at, strlen(m[p->message].text));
        texts += p->text;
        cai_buf_printf(&b, "%s%c%.*s%c", first && i ? "\n" : "", p->text ? '<' : '"', (int)p->len,
                       m[p->message].text + p->begin, p->text ? '>' : '"');
    }
    assert_int_equal(texts, s.num_texts);
    char **own = hf_shape_texts(&s, m), **back = hf_shape_contents(&s, m, n, own);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(back[i], m[i].text);
    hf_strings_free(own, s.num_texts);
    hf_strings_free(back, n);
    *ret_exact = s.exact;
    return cai_buf_detach(&b);
}

static void cuts(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
        bool exact;
    } cases[] = {
        {"plain", "<plain>", false},
        {"", "<>", false},
        {" \n", "< \n>", false},
        {"<think>\nwhy\n</think>\n\nso", "\"<think>\"<\nwhy\n>\"</think>\"<\n\nso>", false},
        {"<think>\n\n</think>\n\n", "\"<think>\n\n</think>\n\n\"", false},
        {"a</think>[end]b", "<a>\"</think>[end]\"<b>", false},
        {"a<think></think>", "<a>\"<think></think>\"", false},
        {"a<|im_end|>b", "<a<|im_end|>b>", true},
        {"a<|im_end|></think>b", "<a<|im_end|>>\"</think>\"<b>", true},
        {"a<|im_</think>", "<a<|im_>\"</think>\"", true},
        {"<thin></think", "<<thin></think>", false},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct hf_message m = {"user", cases[i].text, 0};
        bool exact;
        CAI_AUTO(mem) char *got = shown(&m, 1, HF_FIX_WORDS, &exact);
        assert_string_equal(got, cases[i].want);
        assert_int_equal(exact, cases[i].exact);
    }
    struct hf_message two[] = {{"user", " \n", 0}, {"assistant", "x</think>", 0}};
    bool exact;
    CAI_AUTO(mem) char *blanks = shown(two, 2, HF_FIX_WORDS_AND_BLANKS, &exact);
    assert_string_equal(blanks, "\" \n\"\n<x>\"</think>\"");
    CAI_AUTO(mem) char *none = shown(two, 2, HF_FIX_NOTHING, &exact);
    assert_string_equal(none, "< \n>\n<x</think>>");
    assert_true(exact);
}

static void many_words_stay_text(void **state) {
    (void)state;
    struct cai_buf b = {0};
    for (int i = 0; i < 1000; i++)
        cai_buf_puts(&b, "x</think>");
    struct hf_message m = {"user", b.data, 0};
    CAI_AUTO(shape) struct hf_shape s = hf_shape_new(&words, tokenizer, &m, 1, HF_FIX_WORDS);
    assert_int_equal(s.n, 1);
    assert_true(s.exact && s.parts[0].text && s.parts[0].len == b.len);
    cai_buf_free(&b);
}

/* Equal keys mean equal renderings: roles, fixed parts and the opened turn all count. */
static void keys_differ(void **state) {
    (void)state;
    static const struct hf_message m[] = {{"user", "a", 0},          {"assistant", "a", 0},
                                          {"user", "a</think>", 0},  {"user", "</think>a", 0},
                                          {"user", "a</think>b", 0}, {"user", "a[end]", 0}};
    char *keys[2 * CAI_COUNT(m)];
    for (size_t i = 0; i < CAI_COUNT(keys); i++) {
        CAI_AUTO(shape) struct hf_shape s =
            hf_shape_new(&words, tokenizer, &m[i / 2], 1, HF_FIX_WORDS);
        keys[i] = hf_shape_key(&s, &m[i / 2], i % 2);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(keys[i], keys[k]);
    }
    hf_strings_free(memcpy(cai_alloc(sizeof keys), keys, sizeof keys), CAI_COUNT(keys));
}

static void meets_special_tokens(void **state) {
    (void)state;
    static const char *const meets[] = {"<|im_end|>", "x<|IM_END|>y", "|>", "im_end", ">a", "a<"};
    static const char *const free_of[] = {"</think>", "a", "|]", "im-end", " \n"};
    for (size_t i = 0; i < CAI_COUNT(meets); i++)
        if (!hf_tokenizer_meets_special(tokenizer, meets[i], strlen(meets[i])))
            fail_msg("%s", meets[i]);
    for (size_t i = 0; i < CAI_COUNT(free_of); i++)
        if (hf_tokenizer_meets_special(tokenizer, free_of[i], strlen(free_of[i])))
            fail_msg("%s", free_of[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_words),          cmocka_unit_test(cuts),
        cmocka_unit_test(keys_differ),          cmocka_unit_test(many_words_stay_text),
        cmocka_unit_test(meets_special_tokens),
    };
    return cmocka_run_group_tests_name("hf/shape", tests, set_up, tear_down);
}
