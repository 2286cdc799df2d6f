/* tokenizer and chat on a small tokenizer made here: special tokens only where they may
 * be, offsets, the plain form, templates, what a hostile template can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "hf/hf.h"
#include "hf/tokenizer.h"
#include "hf/unicode.h"
#include <string.h>

static struct hf_tokenizer *tokenizer;

/* Byte-level, one id per byte, with a few merges: "he" 256, "hel" 257, " h" 258. */
static void put_tokenizer(void) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    cai_buf_puts(&b, "{\"version\":\"1.0\",\"added_tokens\":[");
    static const char *const special[] = {"<s>", "</s>", "<|u|>", "<|a|>"};
    for (int i = 0; i < 4; i++)
        cai_buf_printf(&b, "%s{\"id\":%d,\"content\":\"%s\",\"special\":true,\"normalized\":false}",
                       i ? "," : "", 300 + i, special[i]);
    cai_buf_puts(&b,
                 "],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                 "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},\"post_processor\":"
                 "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\","
                 "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":"
                 "{\"<s>\":{\"id\":\"<s>\",\"ids\":[300],\"tokens\":[\"<s>\"]}}},"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        uint32_t c = hf_alphabet((unsigned char)i);
        cai_buf_puts(&b, "\"");
        if (c == '"' || c == '\\')
            cai_buf_putc(&b, '\\');
        hf_utf8_put(&b, c);
        cai_buf_printf(&b, "\":%d,", i);
    }
    cai_buf_puts(&b, "\"he\":256,\"hel\":257,\"\xC4\xA0h\":258},"
                     "\"merges\":[\"h e\",[\"he\",\"l\"],\"\xC4\xA0 h\"]}}");
    put_text(".", "tokenizer.json", b.data);
    put_text(".", "tokenizer_config.json", "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},"
                                 "\"model_max_length\":1000000000000000019884624838656}");
}

static int set_up(void **state) {
    (void)state;
    if (make_dir(state) < 0)
        return -1;
    put_tokenizer();
    return hf_tokenizer_load(dir, &tokenizer);
}
static int tear_down(void **state) {
    (void)state;
    hf_tokenizer_free(tokenizer);
    return remove_dir(state);
}

static void expect_ids(const struct hf_ids *ids, const int32_t *want, size_t n) {
    assert_int_equal(ids->n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids->data[i], want[i]);
}

static void encodes(void **state) {
    (void)state;
    struct hf_ids ids = {0};
    assert_int_equal(hf_tokenizer_encode(tokenizer, "hell</s>", 8, true, &ids), 0);
    expect_ids(&ids, (int32_t[]){300, 257, 'l', 301}, 4);
    ids.n = 0;
    assert_int_equal(hf_tokenizer_encode(tokenizer, "hell</s>", 8, false, &ids), 0);
    expect_ids(&ids, (int32_t[]){257, 'l', '<', '/', 's', '>'}, 6);
    ids.n = 0;
    assert_int_equal(hf_tokenizer_encode(tokenizer, "a\xC3", 2, true, &ids), CAI_EINPUT);
    assert_int_equal(ids.n, 0);
    struct hf_range half = {0, 2}; /* of an é */
    assert_int_equal(hf_tokenizer_encode_marked(tokenizer, "a\xC3\xA9", 3, &half, 1, &ids, NULL),
                     CAI_EINPUT);
    hf_ids_free(&ids);
    assert_int_equal(hf_tokenizer_size(tokenizer), 304);
    assert_int_equal(hf_tokenizer_id(tokenizer, "</s>"), 301);
    assert_int_equal(hf_tokenizer_id(tokenizer, "zzz"), -1);
    assert_true(hf_tokenizer_is_special(tokenizer, 302) &&
                !hf_tokenizer_is_special(tokenizer, 256));
}

static void decodes(void **state) {
    (void)state;
    CAI_AUTO(buf) struct cai_buf b = {0};
    const int32_t ids[] = {300, 257, 299, 0xC3, 0xA9, 0xE4, 301, -1, 1 << 30};
    assert_int_equal(hf_tokenizer_decode(tokenizer, ids, CAI_COUNT(ids), true, &b), 0);
    assert_string_equal(b.data, "hel\xC3\xA9\xEF\xBF\xBD");
    cai_buf_clear(&b);
    assert_int_equal(hf_tokenizer_piece(tokenizer, 258, &b), 0);
    assert_int_equal(hf_tokenizer_piece(tokenizer, 0xC3, &b), 0);
    assert_string_equal(b.data, " h\xC3");
    assert_int_equal(hf_tokenizer_piece(tokenizer, 299, &b), CAI_ENOTFOUND);
}

static const struct hf_message talk[] = {
    {"system", "Be kind.", 0}, {"user", "shot", 5},        {"assistant", "good", 5},
    {"user", "he</s>", 0},     {"assistant", " hi \n", 0},
};

static void plain_form(void **state) {
    (void)state;
    struct hf_chat *c;
    assert_int_equal(hf_chat_load(dir, tokenizer, &c), 0);
    assert_true(hf_chat_is_plain(c));
    assert_int_equal(hf_chat_end_id(c), 301);
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(hf_chat_render(c, talk, 4, true, "Yes", &b), 0);
    assert_string_equal(b.data, "<s>Be kind.\n\nHuman: shot\n\nAssistant: good</s>\n\nHuman: he</s>"
                                "\n\nAssistant: Yes");
    struct hf_ids ids = {0};
    size_t starts[5], ends[5];
    assert_int_equal(hf_chat_encode(c, talk, 5, false, NULL, &ids, starts, ends), 0);
    assert_int_equal(ids.data[0], 300);
    assert_int_equal(ids.data[ends[2] - 1], 301);
    assert_int_equal(ids.data[ends[4] - 1], 301);
    assert_int_equal(ends[4], ids.n);
    assert_int_equal(ids.data[starts[2] - 1], ':'); /* where the prompt for it ends */
    size_t eos = 0;
    for (size_t i = 0; i < ids.n; i++)
        eos += ids.data[i] == 301;
    assert_int_equal(eos, 2); /* the user's "</s>" is text */
    cai_buf_clear(&b);
    assert_int_equal(hf_chat_reply(c, ids.data + starts[2], ids.n - starts[2], &b), 0);
    assert_string_equal(b.data, "good");
    hf_ids_free(&ids);
    hf_chat_free(c);
}

static void fits(void **state) {
    (void)state;
    struct hf_chat *c;
    struct hf_ids ids = {0};
    size_t dropped;
    assert_int_equal(hf_chat_load(dir, tokenizer, &c), 0);
    assert_int_equal(hf_chat_fit(c, talk, 4, NULL, 1000, &ids, &dropped), 0);
    assert_int_equal(dropped, 0);
    size_t whole = ids.n;
    ids.n = 0;
    assert_int_equal(hf_chat_fit(c, talk, 4, NULL, whole - 1, &ids, &dropped), 0);
    assert_int_equal(dropped, 2);
    assert_true(ids.n < whole - 10);
    ids.n = 0;
    assert_int_equal(hf_chat_fit(c, talk, 4, NULL, 20, &ids, &dropped), CAI_ELIMIT);
    assert_int_equal(ids.n, 0);
    hf_ids_free(&ids);
    hf_chat_free(c);
}

static void template_form(void **state) {
    (void)state;
    put_text(".", "chat_template.jinja",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
        "<|a|> {{ m.content | trim }}{{ eos_token }}\n{% else %}<|u|>"
        "{{ m.content }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|a|>{% endif %}");
    struct hf_chat *c;
    if (hf_chat_load(dir, tokenizer, &c) < 0)
        fail_msg("%s", cai_error_text());
    assert_false(hf_chat_is_plain(c));
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(hf_chat_render(c, talk, 5, false, NULL, &b), 0);
    assert_string_equal(b.data,
                        "<s><|u|>Be kind.\n<|u|>shot\n<|a|> good</s>\n<|u|>he</s>\n<|a|> hi</s>\n");
    struct hf_ids ids = {0};
    size_t starts[5], ends[5];
    assert_int_equal(hf_chat_encode(c, talk, 5, false, NULL, &ids, starts, ends), 0);
    assert_int_equal(ids.data[starts[2] - 1], 303);
    assert_int_equal(ids.data[ends[2] - 1], 301);
    assert_int_equal(hf_chat_end_id(c), 301);
    cai_buf_clear(&b);
    assert_int_equal(hf_chat_reply(c, ids.data + starts[4], ids.n - starts[4], &b), 0);
    assert_string_equal(b.data, "hi");
    hf_ids_free(&ids);
    hf_chat_free(c);
}

static void bad_templates(void **state) {
    (void)state;
    static const struct {
        const char *source, *words;
    } cases[] = {
        {"{% for m in messages %}", "line 1"},
        {"{{ raise_exception('no system here') }}", "no system here"},
        {"{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"},
        {"{{ cycler.__init__.__globals__.os.getcwd() }}", "unsafe"},
        {"{{ messages.append(1) }}", "unsafe"},
        {"{% for m in messages %}{{ m.content | upper }}{% endfor %}", "leaves out or changes"},
        {"{% for m in messages %}{{ m.content }}{{ '!' if ' ' in m.content }}{% endfor %}",
         "in a way"},
        {"{% for m in messages %}{{ m.content }}{{ '!' if '1' in m.content }}{% endfor %}",
         "depends on what"},
        {"{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "repeats message 0"},
        {"{% for m in messages %}{{ m.content[:20] }}{% endfor %}", "depends on what"},
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "5 s"},
        {"{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x "
         "%}"
         "{% endfor %}",
         "emory"},
    };
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        put_text(".", "chat_template.jinja", cases[i].source);
        struct hf_chat *c = NULL;
        int rc = hf_chat_load(dir, tokenizer, &c);
        if (rc >= 0 || !strstr(cai_error_text(), cases[i].words) ||
            !strstr(cai_error_text(), "chat_template.jinja"))
            fail_msg("%s: expected \"%s\", got %d: %s", cases[i].source, cases[i].words, rc,
                     cai_error_text());
    }
}

/* A template that looks for a word in a message: what it makes of the parts around it is
 * learnt; what it makes of their letters is refused. */
static void looks_into_messages(void **state) {
    (void)state;
    put_text(".", "chat_template.jinja",
        "{% for m in messages %}{% if '</s>' in m.content %}!{% endif %}"
        "{% if '</think>' in m.content and m.role == 'assistant' %}<think>"
        "{{ m.content.split('</think>')[0].split('<think>')[-1].strip('\n') }}</think>"
        "{{ m.content.split('</think>')[-1].lstrip('\n') }}"
        "{% elif '[upper]' in m.content %}{{ m.content | upper }}"
        "{% else %}{{ m.content }}{% endif %}</s>{% endfor %}");
    static const struct {
        const char *user, *assistant, *want; /* NULL: refused */
    } cases[] = {
        {"think about it", "well", "think about it</s>well</s>"},
        {"a</think>b", "c", "a</think>b</s>c</s>"},
        {"a", "<think>\nb\n</think>\n\nc\n", "a</s><think>b</think>c\n</s>"},
        {"a", "b</think>", "a</s><think>b</think></s>"},
        {"a", "<think>\n\n</think>\n\n", "a</s><think></think></s>"},
        {"a", "x<think>b</think>c</think>d", "a</s><think>b</think>d</s>"},
        {"a", "b<think>c", "a</s>b<think>c</s>"},
        {"what is [upper]?", "b", NULL},
        {"a</s>b", "c", NULL},
        {"a<s>b", "<think>c</think>d", "a<s>b</s><think>c</think>d</s>"},
    };
    struct hf_chat *c;
    assert_int_equal(hf_chat_load(dir, tokenizer, &c), 0);
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        struct hf_message m[] = {{"user", cases[i].user, 0}, {"assistant", cases[i].assistant, 0}};
        CAI_AUTO(buf) struct cai_buf b = {0};
        int rc = hf_chat_render(c, m, 2, false, NULL, &b);
        if (cases[i].want && rc < 0)
            fail_msg("%s: %s", cases[i].assistant, cai_error_text());
        if (cases[i].want)
            assert_string_equal(b.data, cases[i].want);
        else if (rc != CAI_EINPUT || !strstr(cai_error_text(), "depends on what messages say"))
            fail_msg("%s: %d: %s", cases[i].user, rc, cai_error_text());
    }
    hf_chat_free(c);
}

/* What belongs to a reply begins where its prompt ends and ends with its end marker, also
 * when the template rewrites it. */
static void turns_of_rewritten_messages(void **state) {
    (void)state;
    put_text(".", "chat_template.jinja",
        "{% for m in messages %}{% if m.role == 'user' %}<|u|>{{ m.content }}{% else %}<|a|>"
        "[{{ m.content.split('</think>')[0] }}] {{ m.content.split('</think>')[-1] }}</s>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}");
    struct hf_chat *c;
    if (hf_chat_load(dir, tokenizer, &c) == 0) /* it repeats what has no </think> */
        fail_msg("loaded");
    put_text(".", "chat_template.jinja",
        "{% for m in messages %}{% if m.role == 'user' %}<|u|>{{ m.content }}{% else %}<|a|>"
        "{% if '</think>' in m.content %}[{{ m.content.split('</think>')[0] }}] {% endif %}"
        "{{ m.content.split('</think>')[-1] }}</s>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}");
    assert_int_equal(hf_chat_load(dir, tokenizer, &c), 0);
    struct hf_message m[] = {{"user", "why<|u|>", 0}, {"assistant", "so</think>it is </s>", 0}};
    struct hf_ids ids = {0};
    size_t starts[2], ends[2], special = 0;
    if (hf_chat_encode(c, m, 2, false, NULL, &ids, starts, ends) < 0)
        fail_msg("%s", cai_error_text());
    assert_int_equal(ids.data[starts[1] - 1], 303); /* <|a|> */
    assert_int_equal(ids.data[ends[1] - 1], 301);   /* </s> */
    CAI_AUTO(buf) struct cai_buf b = {0};
    assert_int_equal(
        hf_tokenizer_decode(tokenizer, ids.data + starts[1], ends[1] - starts[1], false, &b), 0);
    assert_string_equal(b.data, "[so] it is </s></s>");
    for (size_t i = 0; i < ids.n; i++)
        special += hf_tokenizer_is_special(tokenizer, ids.data[i]);
    assert_int_equal(special, 3); /* <|u|>, <|a|> and the format's own </s> */
    hf_ids_free(&ids);
    hf_chat_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes),
        cmocka_unit_test(decodes),
        cmocka_unit_test(plain_form),
        cmocka_unit_test(fits),
        cmocka_unit_test(template_form),
        cmocka_unit_test(bad_templates),
        cmocka_unit_test(looks_into_messages),
        cmocka_unit_test(turns_of_rewritten_messages),
    };
    return cmocka_run_group_tests_name("hf/chat", tests, set_up, tear_down);
}
