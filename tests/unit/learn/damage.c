/* damage: random bit flips and cut files over checkpoint folders. With our manifest every one
 * is named by file; in a plain folder it is named, or harmless, and the hash of the folder
 * tells. Never a crash. */
#include "folder.h"

#include "hf/hf.h"
#include "learn/checkpoint.h"

#include <dirent.h>

enum { FLIPS = 1000, CUTS = 100, FILES_MAX = 12 }; /* of each kind of folder */

/* One file of a folder, as it was. */
struct original {
    char name[256];
    struct cai_buf bytes;
};

struct originals {
    char *dir;
    struct original files[FILES_MAX];
    size_t n;
};

static int not_hidden(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static void take(struct originals *o, char *dir) {
    struct dirent **list;
    int n = scandir(dir, &list, not_hidden, alphasort);
    assert_in_range(n, 1, FILES_MAX);
    *o = (struct originals){.dir = dir, .n = (size_t)n};
    for (int i = 0; i < n; i++) {
        CAI_AUTO(mem) char *path = cai_path_join(dir, list[i]->d_name);
        snprintf(o->files[i].name, sizeof o->files[i].name, "%s", list[i]->d_name);
        must(cai_file_read(path, (size_t)1 << 24, &o->files[i].bytes));
        assert_true(o->files[i].bytes.len > 0);
        free(list[i]);
    }
    free(list);
}

static void drop(struct originals *o) {
    for (size_t i = 0; i < o->n; i++)
        cai_buf_free(&o->files[i].bytes);
    free(o->dir);
}

/* In place, as a bad disk would; the rest of the world does not see a rename. */
static void put(const struct originals *o, const struct original *f, const void *data, size_t n) {
    CAI_AUTO(mem) char *path = cai_path_join(o->dir, f->name);
    FILE *to = fopen(path, "wb");
    assert_non_null(to);
    assert_int_equal(fwrite(data, 1, n, to), n);
    assert_int_equal(fclose(to), 0);
}

/* Damage number i, at byte *ret_at: a bit of a file drawn evenly among files, or its end cut
 * off. */
static const struct original *damage(const struct originals *o, uint64_t i, bool cut,
                                     uint64_t *ret_at) {
    struct cai_key key = cai_key_make(7, 0, cut ? "cut" : "flip", i, 0);
    const struct original *f = &o->files[cai_rng_below(key, 0, o->n)];
    uint64_t at = cai_rng_below(key, 1, f->bytes.len);
    CAI_AUTO(mem) char *copy = cai_alloc(f->bytes.len);
    memcpy(copy, f->bytes.data, f->bytes.len);
    if (!cut)
        copy[at] = (char)(copy[at] ^ 1 << cai_rng_below(key, 2, 8));
    put(o, f, copy, cut ? at : f->bytes.len);
    *ret_at = at;
    return f;
}

static void mend(const struct originals *o, const struct original *f) {
    put(o, f, f->bytes.data, f->bytes.len);
}

/* ---- with our manifest ---------------------------------------------------------------- */

static void every_damage_of_a_state_is_named(void **state) {
    (void)state;
    CAI_AUTO(mem) char *folder = at_root("state");
    struct checkpoint c = {.folder = folder, .keep = 1};
    struct originals o;
    char hash[CAI_SHA256_HEX];
    int64_t n = 300;
    ct_scope *s = ct_scope_open();
    struct checkpoint_tensor t[] = {{.name = "a", .t = ct_full(s, CT_F32, &n, 1, 2)},
                                    {.name = "b", .t = ct_full(s, CT_F32, &n, 1, 3)}};
    json_t *about = json_pack("{s:i}", "epoch", 4), *back;
    must(checkpoint_save(&c, 1, t, 2, about));
    take(&o, cai_format("%s/step-1", folder));
    CAI_AUTO(mem) char *manifest = cai_path_join(o.dir, "MANIFEST.json");
    must(cai_file_sha256(manifest, hash));
    assert_true(o.n >= 3);
    for (uint64_t i = 0, at; i < FLIPS + CUTS; i++) {
        const struct original *f = damage(&o, i, i >= FLIPS, &at);
        assert_int_equal(checkpoint_load(&c, o.dir, hash, t, 2, &back), CAI_EINPUT);
        if (!strstr(cai_error_text(), f->name))
            fail_msg("damage %d of %s: %s", (int)i, f->name, cai_error_text());
        mend(&o, f);
    }
    must(checkpoint_load(&c, o.dir, hash, t, 2, &back));
    json_decref(back);
    json_decref(about);
    ct_scope_close(s);
    drop(&o);
}

/* ---- without -------------------------------------------------------------------------- */

static bool one_of_the_files_is_named(const struct originals *o) {
    for (size_t i = 0; i < o->n; i++)
        if (strstr(cai_error_text(), o->files[i].name))
            return true;
    return strstr(cai_error_text(), "tensor ") != NULL; /* of the one file with tensors */
}

/* Whether byte `at` is of a header that says where tensors lie; what its "__metadata__" says
 * means nothing to anybody. */
static bool in_header(const struct original *f, uint64_t at) {
    static const char key[] = "\"__metadata__\"";
    uint64_t size;
    if (!strstr(f->name, ".safetensors"))
        return false;
    memcpy(&size, f->bytes.data, sizeof size);
    const char *begin = memmem(f->bytes.data + 8, size, key, sizeof key - 1);
    const char *end = begin ? strchr(begin, '}') : NULL, *here = f->bytes.data + at;
    return at < 8 + size && !(begin && here >= begin && here <= end);
}

static void damage_of_a_plain_folder_is_named_or_harmless(void **state) {
    (void)state;
    struct originals o;
    char was[65], is[65];
    int refused = 0, not_finite = 0;
    take(&o, at_root("base"));
    must(hf_model_hash(o.dir, was));
    for (uint64_t i = 0, at; i < FLIPS + CUTS; i++) {
        const struct original *f = damage(&o, i, i >= FLIPS, &at);
        struct model *m = NULL;
        struct hf_tokenizer *t = NULL;
        /* What was hashed when it was first used is refused after any change. */
        if (hf_model_hash(o.dir, is) == 0 && strcmp(was, is) == 0)
            fail_msg("damage %d of %s does not show in the folder's hash", (int)i, f->name);
        int rc = model_load(o.dir, &m);
        if (rc == 0)
            rc = hf_tokenizer_load(o.dir, &t);
        if (rc < 0 && !one_of_the_files_is_named(&o))
            fail_msg("damage %d of %s: %s", (int)i, f->name, cai_error_text());
        if (rc == CAI_ENUMERIC)
            assert_non_null(strstr(cai_error_text(), "is not a finite number"));
        refused += rc < 0;
        not_finite += rc == CAI_ENUMERIC;
        if (i >= FLIPS && strstr(f->name, ".safetensors"))
            assert_true(rc < 0);
        if (i < FLIPS && in_header(f, at) && rc == 0)
            fail_msg("damage %d: byte %d of the header of %s goes unseen", (int)i, (int)at, f->name);
        model_free(m);
        hf_tokenizer_free(t);
        mend(&o, f);
    }
    assert_true(refused > CUTS);
    /* One flip of a hundred makes an exponent full: met below for sure. */
    print_message("%d of %d refused, %d for a weight that is no number\n", refused, FLIPS + CUTS,
                  not_finite);
    drop(&o);
}

static const struct original *weights_of(const struct originals *o) {
    const struct original *f = NULL;
    for (size_t i = 0; i < o->n; i++)
        f = strstr(o->files[i].name, ".safetensors") ? &o->files[i] : f;
    return f;
}

/* A header is a small part of its folder: flips of its own. */
static void every_damage_of_a_header_is_named(void **state) {
    (void)state;
    struct originals o;
    int tried = 0;
    take(&o, at_root("base"));
    const struct original *f = weights_of(&o);
    uint64_t size;
    memcpy(&size, f->bytes.data, 8);
    CAI_AUTO(mem) char *copy = cai_alloc(f->bytes.len);
    memcpy(copy, f->bytes.data, f->bytes.len);
    for (uint64_t i = 0; i < FLIPS; i++) {
        struct cai_key key = cai_key_make(9, 0, "header", i, 0);
        uint64_t at = cai_rng_below(key, 0, 8 + size);
        struct model *m = NULL;
        if (!in_header(f, at))
            continue;
        copy[at] = (char)(copy[at] ^ 1 << cai_rng_below(key, 1, 8));
        put(&o, f, copy, f->bytes.len);
        copy[at] = f->bytes.data[at];
        if (model_load(o.dir, &m) == 0 || !one_of_the_files_is_named(&o))
            fail_msg("flip %d at byte %d of the header: %s", (int)i, (int)at, cai_error_text());
        tried++;
    }
    assert_true(tried > FLIPS / 2);
    mend(&o, f);
    drop(&o);
}

/* Any weight that is no number is named by its tensor. */
static void weights_that_are_no_numbers_are_named(void **state) {
    (void)state;
    static const uint32_t bits[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffffffffu};
    struct originals o;
    take(&o, at_root("base"));
    const struct original *f = weights_of(&o);
    uint64_t header;
    memcpy(&header, f->bytes.data, 8);
    size_t first = 8 + (size_t)header, count = (f->bytes.len - first) / 4;
    CAI_AUTO(mem) char *copy = cai_alloc(f->bytes.len);
    for (uint64_t i = 0; i < 40; i++) {
        size_t at = first + 4 * cai_rng_below(cai_key_make(3, 0, "weight", i, 0), 0, count);
        struct model *m;
        memcpy(copy, f->bytes.data, f->bytes.len);
        memcpy(copy + at, &bits[i % 4], 4);
        put(&o, f, copy, f->bytes.len);
        assert_int_equal(model_load(o.dir, &m), CAI_ENUMERIC);
        assert_non_null(strstr(cai_error_text(), "tensor model."));
    }
    mend(&o, f);
    drop(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_damage_of_a_state_is_named),
        cmocka_unit_test(damage_of_a_plain_folder_is_named_or_harmless),
        cmocka_unit_test(every_damage_of_a_header_is_named),
        cmocka_unit_test(weights_that_are_no_numbers_are_named),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
