/* safetensors and weights: what is written is read again, in the order the format has;
 * shards are found by name; the model hash changes with any file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../temporary.h"
#include "base/error.h"
#include "base/file.h"
#include "hf/hf.h"
#include <string.h>
#include <unistd.h>

static const float a[] = {1, 2, 3, 4, 5, 6};
static const uint8_t b[] = {7, 8, 9};
static const int64_t c[] = {-1};

static const struct hf_tensor tensors[] = {
    {.name = "b.bytes", .dtype = HF_U8, .ndim = 1, .shape = {3}, .data = b, .bytes = 3},
    {.name = "a", .dtype = HF_F32, .ndim = 2, .shape = {2, 3}, .data = a, .bytes = 24},
    {.name = "none", .dtype = HF_BF16, .ndim = 2, .shape = {0, 5}, .data = a, .bytes = 0},
    {.name = "scalar", .dtype = HF_I64, .ndim = 0, .data = c, .bytes = 8},
};

static void save(const char *name, const struct hf_tensor *t, size_t n) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    const char *metadata[] = {"step", "12", NULL};
    assert_int_equal(hf_weights_save(path, t, n, metadata), 0);
}

static void round_trip(void **state) {
    (void)state;
    save("model.safetensors", tensors, 4);
    struct hf_weights *w;
    assert_int_equal(hf_weights_open(dir, &w), 0);
    assert_int_equal(hf_weights_count(w), 4);
    for (size_t i = 0; i < 4; i++) {
        const struct hf_tensor *t = hf_weights_find(w, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->ndim, tensors[i].ndim);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_int_equal(t->bytes, tensors[i].bytes);
        if (t->bytes)
            assert_memory_equal(t->data, tensors[i].data, t->bytes);
    }
    assert_string_equal(hf_weights_at(w, 0)->name, "a"); /* by name */
    assert_null(hf_weights_find(w, "b"));
    assert_true(hf_weights_find(w, "scalar")->data < hf_weights_find(w, "a")->data);
    assert_int_equal((uintptr_t)hf_weights_find(w, "a")->data % 8, 0);
    hf_weights_close(w);
}

static void shards(void **state) {
    (void)state;
    CAI_AUTO(mem) char *single = cai_path_join(dir, "model.safetensors");
    unlink(single);
    save("model-00001-of-00002.safetensors", tensors, 2);
    save("model-00002-of-00002.safetensors", tensors + 2, 2);
    static const char index[] = "{\"metadata\":{\"total_size\":35},\"weight_map\":{"
                                "\"a\":\"model-00001-of-00002.safetensors\",\"b.bytes\":\"model-"
                                "00001-of-00002.safetensors\","
                                "\"none\":\"model-00002-of-00002.safetensors\",\"scalar\":\"model-"
                                "00002-of-00002.safetensors\"}}";
    CAI_AUTO(mem) char *path = cai_path_join(dir, "model.safetensors.index.json");
    assert_int_equal(cai_file_write_atomic(path, index, strlen(index)), 0);
    struct hf_weights *w;
    assert_int_equal(hf_weights_open(dir, &w), 0);
    assert_int_equal(hf_weights_count(w), 4);
    assert_memory_equal(hf_weights_find(w, "scalar")->data, c, 8);
    hf_weights_close(w);
}

static char *in_dir(const char *name) { return cai_path_join(dir, name); }

static bool there(const char *name) {
    CAI_AUTO(mem) char *path = in_dir(name);
    return cai_file_exists(path);
}

static int fetch_a(void *context, const struct hf_tensor *t, void **ret) {
    ++*(int *)context;
    *ret = cai_alloc(t->bytes);
    memcpy(*ret, a, t->bytes);
    return 0;
}

static void opens_as_written(size_t files) {
    struct hf_weights *w;
    size_t found = 0;
    for (size_t i = 1; i < 9; i++) {
        CAI_AUTO(mem) char *name = cai_format("model-%05zu-of-%05zu.safetensors", i, files);
        found += there(name);
    }
    assert_int_equal(found, files == 1 ? 0 : files);
    assert_int_equal(there("model.safetensors"), files == 1);
    assert_int_equal(there("model.safetensors.index.json"), files > 1);
    assert_int_equal(hf_weights_open(dir, &w), 0);
    assert_int_equal(hf_weights_count(w), 4);
    assert_memory_equal(hf_weights_find(w, "a")->data, a, sizeof a);
    assert_memory_equal(hf_weights_find(w, "scalar")->data, c, sizeof c);
    hf_weights_close(w);
}

/* 3 + 24 + 0 + 8 bytes, in this order; what an earlier form left behind is removed. */
static void writing_shards(void **state) {
    (void)state;
    static const struct {
        size_t limit, files;
    } cases[] = {{1000, 1}, {27, 2}, {24, 3}, {2, 4}, {35, 1}, {34, 2}};
    struct hf_tensor list[4];
    int fetched = 0;
    memcpy(list, tensors, sizeof list);
    list[1].data = NULL;
    for (size_t i = 0; i < CAI_COUNT(cases); i++) {
        assert_int_equal(hf_weights_save_folder(dir, list, 4, cases[i].limit, fetch_a, &fetched),
                         0);
        opens_as_written(cases[i].files);
    }
    assert_int_equal(fetched, CAI_COUNT(cases));
    CAI_AUTO(mem) char *path = in_dir("model.safetensors.index.json");
    CAI_AUTO(buf) struct cai_buf text = {0};
    assert_int_equal(cai_file_read(path, 10000, &text), 0);
    assert_non_null(strstr(text.data, "\"total_size\": 35"));
    assert_non_null(strstr(text.data, "\"total_parameters\": 10"));
    assert_non_null(strstr(text.data, "\"scalar\": \"model-00002-of-00002.safetensors\""));
}

static void what_a_file_says_of_itself(void **state) {
    (void)state;
    CAI_AUTO(mem) char *path = in_dir("said.safetensors");
    struct hf_weights *w;
    save("said.safetensors", tensors, 4);
    assert_int_equal(hf_weights_open_file(path, &w), 0);
    assert_string_equal(hf_weights_metadata(w, "step"), "12");
    assert_string_equal(hf_weights_metadata(w, "format"), "pt");
    assert_null(hf_weights_metadata(w, "author"));
    hf_weights_close(w);
}

/* Equal until something touches the files, be it with the same bytes. */
static void stamps(void **state) {
    (void)state;
    char one[65], two[65];
    CAI_AUTO(mem) char *config = in_dir("config.json");
    CAI_AUTO(mem) char *other = in_dir("tokenizer.json");
    assert_int_equal(hf_weights_stamp(dir, one), 0);
    assert_int_equal(cai_file_write_atomic(other, "{}", 2), 0);
    assert_int_equal(hf_weights_stamp(dir, two), 0);
    assert_string_equal(one, two);
    assert_int_equal(cai_file_write_atomic(config, "{}", 2), 0);
    assert_int_equal(hf_weights_stamp(dir, two), 0);
    assert_string_not_equal(one, two);
}

static void hash_of(char ret[65]) {
    assert_int_equal(hf_model_hash(dir, ret), 0);
}

static void model_hash(void **state) {
    (void)state;
    char one[65], two[65], three[65];
    CAI_AUTO(mem) char *config = cai_path_join(dir, "config.json");
    CAI_AUTO(mem) char *tokenizer = cai_path_join(dir, "tokenizer.json");
    CAI_AUTO(mem) char *other = cai_path_join(dir, "notes.txt");
    assert_int_equal(cai_file_write_atomic(config, "{}", 2), 0);
    hash_of(one);
    assert_int_equal(cai_file_write_atomic(other, "x", 1), 0);
    hash_of(two);
    assert_string_equal(one, two); /* only what makes the model counts */
    assert_int_equal(cai_file_write_atomic(tokenizer, "{}", 2), 0);
    hash_of(two);
    save("model-00001-of-00002.safetensors",
         (struct hf_tensor[]){
             tensors[0],
             {.name = "a", .dtype = HF_F32, .ndim = 2, .shape = {3, 2}, .data = a, .bytes = 24}},
         2);
    hash_of(three);
    assert_string_not_equal(one, two);
    assert_string_not_equal(two, three);
}

static void copies(void **state) {
    (void)state;
    CAI_AUTO(mem) char *to = cai_path_join(dir, "copy");
    CAI_AUTO(mem) char *copied = cai_path_join(to, "tokenizer.json");
    CAI_AUTO(mem) char *absent = cai_path_join(to, "chat_template.jinja");
    CAI_AUTO(buf) struct cai_buf text = {0};
    assert_int_equal(cai_dir_make(to), 0);
    assert_int_equal(hf_copy_tokenizer(dir, to), 0);
    assert_int_equal(cai_file_read(copied, 10, &text), 0);
    assert_string_equal(text.data, "{}");
    assert_false(cai_file_exists(absent));
}

static void twice_the_same_name(void **state) {
    (void)state;
    CAI_AUTO(mem) char *path = cai_path_join(dir, "twice.safetensors");
    const struct hf_tensor twice[] = {tensors[1], tensors[1]};
    assert_int_equal(hf_weights_save(path, twice, 2, NULL), CAI_EINPUT);
    assert_false(cai_file_exists(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),          cmocka_unit_test(shards),
        cmocka_unit_test(model_hash),          cmocka_unit_test(copies),
        cmocka_unit_test(twice_the_same_name), cmocka_unit_test(stamps),
        cmocka_unit_test(what_a_file_says_of_itself), cmocka_unit_test(writing_shards),
    };
    return cmocka_run_group_tests_name("hf/weights", tests, make_dir, remove_dir);
}
