/* assets: uploads in parts, broken off and gone on with, refused, quotas; names, what they point
 * at, and what keeps them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "control/assets.h"
#include "store/assets.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANN = 23451, BOB = 23452, BYTES = 20 << 20, PART = 700 << 10 };

struct fixture {
    struct run r;
    struct front front;
    char dir[32];
    char *db, *data;
};

static int open_store(struct fixture *f) {
    return store_open(f->db, &f->r.store);
}

static int setup(void **state) {
    struct fixture *f = cai_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/cai-assets-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->db = cai_path_join(f->dir, "caid.db");
    f->data = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        f->data[i] = (char)(i * 2654435761u >> 13);
    f->r.front = &f->front;
    f->r.o.state_dir = f->dir;
    run_config_default(&f->r.o.config);
    f->r.o.config.min_free_mb = 1;
    *state = f;
    return open_store(f) < 0 ? -1 : assets_open(&f->r);
}

static int teardown(void **state) {
    struct fixture *f = *state;
    assets_close(&f->r);
    store_close(f->r.store);
    int rc = cai_dir_remove(f->dir);
    free(f->db);
    free(f->data);
    free(f);
    return rc;
}

static struct upload *gone[16]; /* so that the leak checker knows of them */
static size_t n_gone;

/* As after kill -9: nothing is closed in order, memory is gone. */
static void die(struct fixture *f) {
    gone[n_gone++] = f->front.uploads;
    f->front.uploads = NULL;
    store_close(f->r.store);
    assert_int_equal(open_store(f), 0);
    assert_int_equal(assets_open(&f->r), 0);
}

static struct asset_file rows_of(struct fixture *f, size_t len) {
    static char hash[CAI_SHA256_HEX];
    cai_sha256(f->data, len, hash);
    return (struct asset_file){"rows.jsonl", (int64_t)len, hash};
}

static int offer(struct fixture *f, int64_t uid, const char *name, struct asset_file *file,
                 int64_t *ret) {
    struct asset_offer o = {.kind = "data", .name = name, .files = file, .n = 1};
    int rc = asset_offer_check(&o);
    return rc < 0 ? rc : asset_begin(&f->r, uid, &o, ret);
}

/* Sends from where the daemon stands until `until`; what is durable then. */
static int64_t feed(struct fixture *f, int64_t id, int64_t until) {
    int64_t got = 0, durable = 0;
    assert_int_equal(asset_chunk(&f->r, id, 0, -1, "", 0, &got, &durable), 0);
    while (got < until) {
        int64_t n = until - got < PART ? until - got : PART;
        assert_int_equal(asset_chunk(&f->r, id, 0, got, f->data + got, (size_t)n, &got, &durable),
                         0);
    }
    return durable;
}

static void a_kill_loses_nothing_acknowledged(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, BYTES);
    int64_t id = 0, again = 0, got = 0, durable = 0;
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    int64_t before = feed(f, id, BYTES / 2);
    assert_true(before >= 8 << 20 && before <= BYTES / 2);
    die(f);
    assert_int_equal(offer(f, ANN, "rows", &file, &again), 0);
    assert_int_equal(again, id);
    assert_int_equal(asset_chunk(&f->r, id, 0, -1, "", 0, &got, &durable), 0);
    assert_int_equal(got, before);
    assert_int_equal(durable, before);
    assert_int_equal(asset_finish(&f->r, id), CAI_ESTATE); /* not whole */
    assert_int_equal(feed(f, id, BYTES), BYTES);
    die(f);
    assert_int_equal(asset_finish(&f->r, id), 0);
    struct store_asset a;
    assert_int_equal(store_asset_get(f->r.store, "data", "rows", &a), 0);
    CAI_AUTO(mem) char *path = asset_path(&f->r, "data", a.hash);
    char hash[CAI_SHA256_HEX];
    assert_int_equal(cai_file_sha256(path, hash), 0);
    assert_string_equal(hash, file.hash);
    assert_int_equal(offer(f, ANN, "rows", &file, &again), 0);
    assert_int_equal(again, 0); /* it is here */
    CAI_AUTO(mem) char *left = cai_format("%s/uploads/%lld", f->dir, (long long)id);
    assert_false(cai_file_exists(left));
}

static void parts_out_of_order_are_not_taken(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, 1000);
    int64_t id = 0, got = -1, durable = -1;
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    assert_int_equal(asset_chunk(&f->r, id, 0, 500, f->data + 500, 500, &got, &durable), 0);
    assert_int_equal(got, 0);
    assert_int_equal(asset_chunk(&f->r, id, 0, 0, f->data, 600, &got, &durable), 0);
    assert_int_equal(got, 600);
    assert_int_equal(asset_chunk(&f->r, id, 0, 0, f->data, 600, &got, &durable), 0);
    assert_int_equal(got, 600); /* the same part again */
    assert_int_equal(asset_chunk(&f->r, id, 0, 600, f->data, 401, &got, &durable), CAI_EINPUT);
    assert_int_equal(asset_chunk(&f->r, id, 1, 0, f->data, 1, &got, &durable), CAI_ENOTFOUND);
    assert_int_equal(asset_chunk(&f->r, id + 1, 0, 0, f->data, 1, &got, &durable), CAI_ENOTFOUND);
}

static void other_bytes_than_announced_begin_anew(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, 1000);
    int64_t id = 0, got = -1, durable = -1;
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    assert_int_equal(asset_chunk(&f->r, id, 0, 0, f->data + 1, 1000, &got, &durable), CAI_EINPUT);
    assert_non_null(strstr(cai_error_text(), "changed while it was sent"));
    assert_int_equal(feed(f, id, 1000), 1000);
    assert_int_equal(asset_finish(&f->r, id), 0);
}

static void what_is_no_model_leaves_nothing(void **state) {
    struct fixture *f = *state;
    char hash[CAI_SHA256_HEX];
    cai_sha256("{}", 2, hash);
    struct asset_file file = {"config.json", 2, hash};
    struct asset_offer o = {.kind = "model", .name = "m", .files = &file, .n = 1};
    int64_t id = 0, got, durable;
    assert_int_equal(asset_offer_check(&o), 0);
    assert_int_equal(asset_begin(&f->r, ANN, &o, &id), 0);
    assert_int_equal(asset_chunk(&f->r, id, 0, 0, "{}", 2, &got, &durable), 0);
    assert_true(asset_finish(&f->r, id) < 0);
    CAI_AUTO(mem) char *path = asset_path(&f->r, "model", o.hash);
    assert_false(cai_file_exists(path));
    assert_int_equal(store_upload_find(f->r.store, "model", "m", &id), CAI_ENOTFOUND);
}

static void offers_are_checked(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, 1000), bad;
    int64_t id = 0;
    static const char *const names[] = {"", "A", ".x", "-x", "a/b", "a b"};
    for (size_t i = 0; i < CAI_COUNT(names); i++)
        assert_int_equal(offer(f, ANN, names[i], &file, &id), CAI_EINPUT);
    static const char *const paths[] = {"", "../x", "a/b", ".hidden", "a\nb"};
    for (size_t i = 0; i < CAI_COUNT(paths); i++) {
        bad = (struct asset_file){paths[i], file.bytes, file.hash};
        assert_int_equal(offer(f, ANN, "rows", &bad, &id), CAI_EINPUT);
    }
    bad = (struct asset_file){"rows.jsonl", -1, file.hash};
    assert_int_equal(offer(f, ANN, "rows", &bad, &id), CAI_EINPUT);
    bad = (struct asset_file){"rows.jsonl", 5, "abc"};
    assert_int_equal(offer(f, ANN, "rows", &bad, &id), CAI_EINPUT);
    struct asset_offer none = {.kind = "model", .name = "m"};
    assert_int_equal(asset_offer_check(&none), CAI_EINPUT);
    struct asset_offer strange = {.kind = "shell", .name = "m", .files = &file, .n = 1};
    assert_int_equal(asset_offer_check(&strange), CAI_EINPUT);
}

static void limits_hold(void **state) {
    struct fixture *f = *state;
    struct asset_file big = rows_of(f, BYTES), small = rows_of(f, 1000);
    int64_t id = 0;
    f->r.o.config.upload_mb = 19;
    assert_int_equal(offer(f, ANN, "big", &big, &id), CAI_ELIMIT);
    f->r.o.config.upload_mb = 100;
    f->r.o.config.quota_mb = 30;
    big = rows_of(f, BYTES);
    assert_int_equal(offer(f, ANN, "big", &big, &id), 0); /* announced bytes count */
    small.bytes = 11 << 20;
    assert_int_equal(offer(f, ANN, "more", &small, &id), CAI_ELIMIT);
    assert_non_null(strstr(cai_error_text(), "quota_mb"));
    assert_int_equal(offer(f, BOB, "more", &small, &id), 0); /* another's quota */
    f->r.o.config.min_free_mb = (int64_t)1 << 40;
    assert_int_equal(offer(f, BOB, "third", &small, &id), CAI_ENOSPC);
}

static void names_are_one_persons(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, 1000);
    int64_t id = 0, other = 0;
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    feed(f, id, 500);
    assert_int_equal(offer(f, BOB, "rows", &file, &other), CAI_ESTATE);
    struct asset_file changed = rows_of(f, 1001);
    assert_int_equal(offer(f, ANN, "rows", &changed, &other), 0); /* her own: anew */
    assert_int_not_equal(other, id);
    assert_int_equal(feed(f, other, 1001), 1001);
    assert_int_equal(asset_finish(&f->r, other), 0);
    file = rows_of(f, 1000);
    assert_int_equal(offer(f, BOB, "rows", &file, &id), CAI_ESTATE);
}

static int64_t add_job(struct fixture *f, const char *hash) {
    int64_t id = 0;
    CAI_AUTO(mem) char *spec = cai_format("{\"data\": \"/x/blobs/%s\"}", hash);
    assert_int_equal(store_job_add(f->r.store, "j", spec, "r", ANN, hash, &id), 0);
    return id;
}

static void what_a_job_names_stays(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, 1000);
    int64_t id = 0;
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    feed(f, id, 1000);
    assert_int_equal(asset_finish(&f->r, id), 0);
    CAI_AUTO(mem) char *path = asset_path(&f->r, "data", file.hash);
    int64_t job = add_job(f, file.hash);
    assert_int_equal(asset_remove(&f->r, "data", "rows", true), CAI_ESTATE);
    assert_int_equal(store_job_set_state(f->r.store, job, JOB_COMPLETED, "", ""), 0);
    assert_int_equal(asset_remove(&f->r, "data", "rows", false), CAI_ESTATE);
    assert_non_null(strstr(cai_error_text(), "--force"));
    assert_true(cai_file_exists(path));
    assert_int_equal(asset_remove(&f->r, "data", "rows", true), 0);
    assert_false(cai_file_exists(path));
    assert_int_equal(asset_remove(&f->r, "data", "rows", true), CAI_ENOTFOUND);
}

/* As after a restore from a backup, which has no models. */
static void what_is_missing_can_be_added_again(void **state) {
    struct fixture *f = *state;
    struct asset_file file = rows_of(f, 1000);
    int64_t id = 0;
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    feed(f, id, 1000);
    assert_int_equal(asset_finish(&f->r, id), 0);
    CAI_AUTO(mem) char *path = asset_path(&f->r, "data", file.hash);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(offer(f, ANN, "rows", &file, &id), 0);
    assert_true(id > 0);
    feed(f, id, 1000);
    assert_int_equal(asset_finish(&f->r, id), 0);
    assert_true(cai_file_exists(path));
}

/* A kill between the removal of a name and of its folder. */
static void orphans_go_at_the_start(void **state) {
    struct fixture *f = *state;
    char hash[CAI_SHA256_HEX];
    cai_sha256("x", 1, hash);
    CAI_AUTO(mem) char *orphan = asset_path(&f->r, "model", hash);
    CAI_AUTO(mem) char *strange = asset_path(&f->r, "model", "mine");
    assert_int_equal(cai_dir_make(orphan), 0);
    assert_int_equal(cai_dir_make(strange), 0);
    die(f);
    assert_false(cai_file_exists(orphan));
    assert_true(cai_file_exists(strange)); /* nothing of ours */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_kill_loses_nothing_acknowledged), TEST(parts_out_of_order_are_not_taken),
        TEST(other_bytes_than_announced_begin_anew), TEST(what_is_no_model_leaves_nothing),
        TEST(offers_are_checked), TEST(limits_hold), TEST(names_are_one_persons),
        TEST(what_a_job_names_stays), TEST(orphans_go_at_the_start),
        TEST(what_is_missing_can_be_added_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
