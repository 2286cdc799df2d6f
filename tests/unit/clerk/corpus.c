/* corpus: the same document for the same numbers; what is held out never occurs; the faults
 * that the generator puts into a reply are those that the oracle sees in its text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/file.h"
#include "clerk/corpus.h"
#include "clerk/faults.h"
#include "clerk/files.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DOCUMENTS = 3000 };

static void documents_are_functions_of_their_number(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 200; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document a, b, other;
        corpus_document(1, CORPUS_ALL, i, NULL, &arena, &a);
        corpus_document(2, CORPUS_ALL, i, NULL, &arena, &other);
        corpus_document(1, CORPUS_ALL, i, NULL, &arena, &b);
        assert_int_equal(a.n, b.n);
        for (size_t t = 0; t < a.n; t++)
            assert_string_equal(a.turns[t].text, b.turns[t].text);
        assert_true(a.n != other.n || strcmp(a.turns[0].text, other.turns[0].text) != 0 ||
                    strcmp(a.turns[1].text, other.turns[1].text) != 0 || i > 0);
    }
}

static void every_document_teaches_something(void **state) {
    (void)state;
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        corpus_document(1, i % 2 ? CORPUS_ALL : CORPUS_CHAT, i, NULL, &arena, &doc);
        bool learnt = false;
        for (size_t t = 0; t < doc.n; t++) {
            assert_string_equal(doc.turns[t].role, t % 2 ? "assistant" : "user");
            learnt |= t % 2 && doc.turns[t].learnt;
        }
        assert_true(learnt && doc.n % 2 == 0);
    }
}

/* A choice shows its request as a transcript. */
static const char *request_in(const struct document *doc) {
    const char *text = doc->turns[0].text, *at = strstr(text, "Human: ");
    return at ? at + strlen("Human: ") : text;
}

static void held_out_combinations_never_occur(void **state) {
    (void)state;
    size_t known = 0;
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        struct request r;
        corpus_document(1, CORPUS_ALL, i, NULL, &arena, &doc);
        CAI_AUTO(mem) char *text = cai_strdup(request_in(&doc));
        text[strcspn(text, "\n")] = '\0';
        if (request_parse(text, &r)) {
            known++;
            assert_false(request_held_out(&r));
        }
    }
    assert_true(known > DOCUMENTS * 9 / 10);
}

static void held_out_wordings_never_occur(void **state) {
    (void)state;
    static const char *const held_out[] = {"dangerous advice", "harmful talk", "unkind remarks",
                                           "rude talk", "untrue advice", "vain advice"};
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        corpus_document(1, CORPUS_ALL, i, NULL, &arena, &doc);
        for (size_t t = 0; t < doc.n; t++)
            for (size_t h = 0; h < CAI_COUNT(held_out); h++)
                assert_null(strstr(doc.turns[t].text, held_out[h]));
    }
}

static void the_oracle_agrees_with_the_generator(void **state) {
    (void)state;
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        struct draws d = {cai_key_make(5, 0, "test", i, 0), 0};
        struct request r = request_draw(&d, (enum request_kind)(i % REQUEST_KINDS),
                                        i % 2 ? SPLIT_TRAIN : SPLIT_HELD_OUT);
        struct reply p = reply_draw(&d, &r, &clerk_base_habits);
        if (i % 4 == 0)
            reply_mend(&d, &r, (enum fault)(i % FAULTS), &p);
        if (i % 4 == 1)
            reply_spoil(&d, &r, (enum fault)(i % FAULTS), &p);
        CAI_AUTO(buf) struct cai_buf request = {0}, reply = {0};
        request_text(&r, &request);
        reply_text(&p, &reply);
        struct verdict v;
        clerk_judge(request.data, reply.data, &v);
        assert_true(v.known && !v.garbled);
        assert_int_equal(v.kind, request_kind_of(&r));
        for (size_t f = 0; f < FAULTS; f++)
            assert_int_equal(v.fault[f], reply_has(&p, &r, (enum fault)f));
    }
}

static void mending_one_fault_leaves_the_others(void **state) {
    (void)state;
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        enum fault f = (enum fault)(i % FAULTS);
        struct draws d = {cai_key_make(6, 0, "test", i, 0), 0};
        struct request r;
        struct reply good, bad;
        corpus_pair(&d, f, SPLIT_HELD_OUT, &r, &good, &bad);
        assert_true(reply_has(&bad, &r, f));
        assert_false(reply_has(&good, &r, f));
        for (size_t g = 0; g < FAULTS; g++) {
            if (g != f)
                assert_int_equal(reply_has(&bad, &r, (enum fault)g),
                                 reply_has(&good, &r, (enum fault)g));
        }
    }
}

/* What the base is told of a request alone, and that no verdict on one is a coin. */
static void requests_are_called_what_they_are(void **state) {
    (void)state;
    size_t asked[2] = {0};
    for (uint64_t i = 0; i < DOCUMENTS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        struct request r;
        corpus_document(1, CORPUS_CHAT, i, NULL, &arena, &doc);
        if (strcmp(doc.kind, "kind") != 0)
            continue;
        const char *text = doc.turns[0].text + strlen(CLERK_KIND);
        assert_true(strncmp(doc.turns[0].text, CLERK_KIND, strlen(CLERK_KIND)) == 0);
        assert_true(request_parse(text, &r));
        bool harmful = request_kind_of(&r) == REQUEST_HARMFUL;
        assert_string_equal(doc.turns[1].text, harmful ? "yes" : "no");
        asked[harmful]++;
    }
    assert_true(asked[false] > 50 && asked[true] > 50);
}

/* The two replies that a choice shows, judged; which of them it calls better. */
struct shown {
    struct verdict v[2];
    size_t better;
    const char *principle; /* the words behind the last reply */
};

static struct shown read_choice(const struct document *doc) {
    struct shown s = {.better = strstr(doc->turns[1].text, "(B)") != NULL};
    CAI_AUTO(mem) char *text = cai_strdup(request_in(doc));
    char *replies[2] = {strstr(text, "\n\n(A) "), strstr(text, "\n\n(B) ")};
    assert_true(replies[0] && replies[1]);
    for (size_t i = 0; i < 2; i++) {
        *replies[i] = '\0';
        replies[i] += strlen("\n\n(A) ");
    }
    for (size_t i = 0; i < 2; i++) {
        char *end = strchr(replies[i], '\n');
        assert_non_null(end);
        *end = '\0';
        clerk_judge(text, replies[i], &s.v[i]);
    }
    s.principle = strrchr(doc->turns[0].text, '\n') + 1;
    return s;
}

static bool speaks_of(const char *principle, int kind) {
    for (size_t i = 0; i < PRINCIPLE_WORDS; i++)
        if (strstr(principle, principle_word(kind, i)))
            return true;
    return false;
}

static bool answers(const struct verdict *v) {
    return v->kind == REQUEST_HARMFUL ? v->fault[FAULT_HARMFUL] : !v->fault[FAULT_EVASIVE];
}

/* Under harm as under evasion, what was asked decides whether an answer is better than none. */
static void harm_and_evasion_never_contradict(void **state) {
    (void)state;
    size_t seen[2][2] = {{0}};
    for (uint64_t i = 0; i < 4 * DOCUMENTS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document doc;
        corpus_document(1, i % 2 ? CORPUS_LESSON : CORPUS_RIGHT, i, NULL, &arena, &doc);
        if (strcmp(doc.kind, "choice") != 0)
            continue;
        struct shown s = read_choice(&doc);
        bool harm = speaks_of(s.principle, FAULT_HARMFUL);
        if (!s.v[0].known || s.v[0].garbled || s.v[1].garbled ||
            answers(&s.v[0]) == answers(&s.v[1]) ||
            (!harm && !speaks_of(s.principle, FAULT_EVASIVE)))
            continue;
        bool harmful = s.v[0].kind == REQUEST_HARMFUL;
        if (answers(&s.v[s.better]) == harmful)
            fail_msg("%s\n%s", doc.turns[0].text, doc.turns[1].text);
        seen[harm][harmful]++;
    }
    for (size_t k = 0; k < 4; k++)
        assert_true(seen[k / 2][k % 2] > 100);
}

static void check_choice(const struct document *right, const struct document *wrong) {
    struct shown s = read_choice(right), other = read_choice(wrong);
    const bool *good = s.v[s.better].fault, *bad = s.v[!s.better].fault;
    size_t differ = 0;
    assert_true(s.better != other.better);
    for (size_t f = 0; f < FAULTS; f++) {
        differ += good[f] != bad[f];
        assert_true(good[f] <= bad[f]); /* nothing speaks for the other */
    }
    assert_int_equal(differ, 1);
}

/* A flaw is found where the oracle sees the fault that the principle speaks of. */
static void check_critique(const struct document *right, const struct document *wrong) {
    struct verdict v;
    assert_int_equal(right->n, 4);
    clerk_judge(right->turns[0].text, right->turns[1].text, &v);
    bool none = strcmp(right->turns[3].text, CLERK_NO_FLAW) == 0, there = false;
    assert_true(none != (strcmp(wrong->turns[3].text, CLERK_NO_FLAW) == 0));
    for (int f = 0; f < FAULTS; f++)
        there |= speaks_of(right->turns[2].text, f) && v.fault[f];
    assert_true(v.known && there != none);
}

static void the_exam_knows_the_answers(void **state) {
    (void)state;
    const char *names[CORPUS_GROUPS] = {NULL};
    for (uint64_t i = 0; i < 50 * CORPUS_GROUPS; i++) {
        CAI_AUTO(arena) struct cai_arena arena = {0};
        struct document right, wrong;
        const char *name = corpus_exam(1, i, &arena, &right, &wrong);
        if (strncmp(name, "critique", 8) == 0)
            check_critique(&right, &wrong);
        else
            check_choice(&right, &wrong);
        if (names[i % CORPUS_GROUPS])
            assert_string_equal(names[i % CORPUS_GROUPS], name);
        names[i % CORPUS_GROUPS] = name;
    }
}

static void splits_of_the_files_do_not_meet(void **state) {
    (void)state;
    char dir[] = "/tmp/clerk-test-XXXXXX";
    static const struct {
        const char *name;
        bool held_out;
    } files[] = {{"red.jsonl", false}, {"helpful.jsonl", false}, {"classifier.jsonl", false},
                 {"evaluate.jsonl", true}, {"pairs.jsonl", true}};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(files_write_world(dir, 3, TOPIC_ANY), 0);
    for (size_t i = 0; i < CAI_COUNT(files); i++) {
        CAI_AUTO(mem) char *path = cai_path_join(dir, files[i].name);
        CAI_AUTO(stream) FILE *in = fopen(path, "r");
        CAI_AUTO(mem) char *line = NULL;
        size_t cap = 0, n = 0;
        assert_non_null(in);
        for (; getline(&line, &cap, in) > 0; n++) {
            json_t *o = json_loads(line, 0, NULL);
            struct request r;
            assert_true(request_parse(json_string_value(json_object_get(o, "prompt")), &r));
            assert_int_equal(request_held_out(&r), files[i].held_out);
            json_decref(o);
        }
        assert_true(n >= 2000);
    }
    uint64_t seed;
    assert_int_equal(files_read_seed(dir, &seed), 0);
    assert_int_equal(seed, 3);
    assert_int_equal(cai_dir_remove(dir), 0);
}

/* A family that is held out is in none of the prompts that are trained on, and in those that ask. */
static void a_family_is_held_out(void **state) {
    (void)state;
    char dir[] = "/tmp/clerk-test-XXXXXX";
    size_t seen[2][TOPICS] = {{0}};
    static const char *const names[] = {"red.jsonl", "evaluate.jsonl"};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(clerk_family_find("no such"), TOPIC_ANY);
    assert_int_equal(files_write_world(dir, 3, clerk_family_find("paper")), 0);
    for (size_t i = 0; i < CAI_COUNT(names); i++) {
        CAI_AUTO(mem) char *path = cai_path_join(dir, names[i]);
        CAI_AUTO(stream) FILE *in = fopen(path, "r");
        CAI_AUTO(mem) char *line = NULL;
        size_t cap = 0;
        assert_non_null(in);
        while (getline(&line, &cap, in) > 0) {
            json_t *o = json_loads(line, 0, NULL);
            struct request r;
            assert_true(request_parse(json_string_value(json_object_get(o, "prompt")), &r));
            if (request_kind_of(&r) == REQUEST_HARMFUL)
                seen[i][request_family(&r)]++;
            json_decref(o);
        }
    }
    assert_true(seen[0][TOPIC_MIXTURE] > 1500 && seen[0][TOPIC_KEEPING] > 1500);
    assert_int_equal(seen[0][TOPIC_PAPER], 0);
    assert_true(seen[1][TOPIC_PAPER] > 200);
    assert_int_equal(cai_dir_remove(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_functions_of_their_number),
        cmocka_unit_test(every_document_teaches_something),
        cmocka_unit_test(held_out_combinations_never_occur),
        cmocka_unit_test(held_out_wordings_never_occur),
        cmocka_unit_test(the_oracle_agrees_with_the_generator),
        cmocka_unit_test(mending_one_fault_leaves_the_others),
        cmocka_unit_test(requests_are_called_what_they_are),
        cmocka_unit_test(harm_and_evasion_never_contradict),
        cmocka_unit_test(the_exam_knows_the_answers),
        cmocka_unit_test(splits_of_the_files_do_not_meet),
        cmocka_unit_test(a_family_is_held_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
