/* canary.c: see canary.h. */
#include "stage/canary.h"

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include <sodium.h>
#include <string.h>

enum { SALT_BYTES = 32 };

/* ---- reading ------------------------------------------------------------------------------ */
struct row {
    const char *class, *pair; /* class NULL: no flaw */
    struct canary canary;
};
struct rows {
    struct row *at;
    size_t n, unknown;
};

static const char *text_of(const json_t *o, const char *name, struct cai_arena *a) {
    const char *s = json_string_value(json_object_get(o, name));
    return s ? cai_arena_strdup(a, s) : NULL;
}

static const char *pair_of(const json_t *row, struct cai_arena *a) {
    const json_t *pair = json_object_get(row, "pair");
    return json_is_integer(pair)
               ? cai_arena_printf(a, "%lld", (long long)json_integer_value(pair))
               : text_of(row, "pair", a);
}

/* The principle that a row names; else the one whose id or tag is the class. */
static const struct principle *principle_for(const struct constitution *c, const char *named,
                                             const char *class) {
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct principle *p = &c->principles[i];
        bool is = strcmp(p->id, named ? named : class) == 0;
        for (size_t t = 0; !named && t < p->n_tags; t++)
            is = is || strcmp(p->tags[t], class) == 0;
        if (is && p->critique && p->revision && p->choice)
            return p;
    }
    return NULL;
}

static void read_turns(const json_t *messages, struct cai_arena *a, struct canary *ret) {
    struct turn *turns = cai_arena_array(a, json_array_size(messages) + 1, sizeof *turns);
    const json_t *m;
    size_t i;
    json_array_foreach(messages, i, m) turns[i] =
        (struct turn){text_of(m, "role", a), text_of(m, "text", a)};
    ret->turns = turns;
    ret->n_turns = json_array_size(messages);
}

static void read_row(const struct stage_context *c, const json_t *detail, struct cai_arena *a,
                     struct rows *io) {
    const json_t *row = json_object_get(detail, "row"), *ask = json_object_get(row, "ask");
    struct row *r = &io->at[io->n];
    *r = (struct row){.class = text_of(row, "flaw", a), .pair = pair_of(row, a)};
    const char *named = text_of(row, "principle", a);
    r->canary = (struct canary){.flawed = r->class != NULL, .pair = r->pair,
                                .reply = text_of(row, "reply", a),
                                .question = text_of(ask, "question", a),
                                .prefix = text_of(ask, "prefix", a),
                                .yes = text_of(ask, "yes", a), .no = text_of(ask, "no", a)};
    read_turns(json_object_get(detail, "messages"), a, &r->canary);
    if (r->class)
        r->canary.principle = principle_for(c->constitution, named, r->class);
    if (r->class && !r->canary.principle)
        io->unknown++;
    else if (r->pair && r->canary.reply)
        io->n++;
}

static int by_pair(const void *x, const void *y) {
    const struct row *a = x, *b = y;
    int order = strcmp(a->pair, b->pair);
    return order ? order : (int)b->canary.flawed - (int)a->canary.flawed;
}

static int read_rows(const struct stage_context *c, struct cai_arena *a, struct rows *ret) {
    struct examples all;
    CAI_TRY(examples_load(c, 0, "data", "canaries", a, &all));
    *ret = (struct rows){.at = cai_arena_array(a, all.n + 1, sizeof *ret->at)};
    for (size_t i = 0; i < all.n; i++) {
        json_t *detail = json_loads(all.at[i].detail, 0, NULL);
        read_row(c, detail, a, ret);
        json_decref(detail);
    }
    if (ret->n)
        qsort(ret->at, ret->n, sizeof *ret->at, by_pair);
    return 0;
}

/* ---- drawing ------------------------------------------------------------------------------ */
/* Whether rows i and i + 1 are a pair, and nothing else is of it. */
static bool is_pair(const struct rows *r, size_t i) {
    const char *pair = r->at[i].pair;
    bool two = i + 1 < r->n && strcmp(r->at[i + 1].pair, pair) == 0;
    bool more = i + 2 < r->n && strcmp(r->at[i + 2].pair, pair) == 0;
    bool before = i > 0 && strcmp(r->at[i - 1].pair, pair) == 0;
    return two && !more && !before && r->at[i].class && !r->at[i + 1].class;
}

static int by_name(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static void name_classes(const struct rows *r, const bool *paired, struct cai_arena *a,
                         struct canaries *ret) {
    const char **all = cai_arena_array(a, r->n + 1, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (paired[i])
            all[n++] = r->at[i].class;
    if (n)
        qsort(all, n, sizeof *all, by_name);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(all[i], all[ret->n_classes - 1]) != 0)
            all[ret->n_classes++] = all[i];
    ret->classes = all;
}

/* Places first … first + n − 1 of a permutation, from the beginning again after its end. */
static void take_class(const struct stage_context *c, const struct rows *r, const bool *paired,
                       size_t class, struct cai_arena *a, struct canaries *io) {
    size_t *of = cai_arena_array(a, r->n + 1, sizeof *of), n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (paired[i] && strcmp(r->at[i].class, io->classes[class]) == 0)
            of[n++] = i;
    uint32_t *perm = cai_arena_array(a, n + 1, sizeof *perm);
    const char *what = cai_arena_printf(a, "audit/canaries/%s", io->classes[class]);
    cai_rng_permutation(cai_key_make(c->job->seed, 0, what, 0, 0), n, perm);
    size_t want = (size_t)c->job->audit.pairs, first = (c->round - 1) * want;
    for (size_t i = 0; i < want && i < n; i++) {
        size_t at = of[perm[(first + i) % n]];
        for (size_t k = 0; k < 2; k++) {
            struct canary *o = &io->at[io->n + k];
            *o = r->at[at + k].canary;
            o->class = class;
            o->twin = io->n + 1 - k;
            o->principle = r->at[at].canary.principle;
        }
        io->n += 2;
    }
}

/* Numbers after those of data.harmful, in a drawn order: no neighbour is a twin but by chance. */
static int number(const struct stage_context *c, struct cai_arena *a, struct canaries *io) {
    size_t before;
    uint32_t *perm = cai_arena_array(a, io->n + 1, sizeof *perm);
    CAI_TRY(data_count(c, JOB_DATA_HARMFUL, &before));
    cai_rng_permutation(cai_key_make(c->job->seed, c->round, "audit/order", 0, 0), io->n, perm);
    for (size_t i = 0; i < io->n; i++)
        io->at[i].item = data_item(JOB_DATA_HARMFUL, before + perm[i]);
    return 0;
}

int canaries_draw(const struct stage_context *c, struct cai_arena *a, struct canaries *ret) {
    struct rows r;
    CAI_CHECK(c->round > 0);
    CAI_TRY(read_rows(c, a, &r));
    bool *paired = cai_arena_array(a, r.n + 1, sizeof *paired);
    size_t pairs = 0;
    for (size_t i = 0; i < r.n; i++)
        pairs += paired[i] = is_pair(&r, i);
    *ret = (struct canaries){.at = cai_arena_array(a, r.n + 2, sizeof *ret->at),
                             .alone = r.n - 2 * pairs, .unknown = r.unknown};
    name_classes(&r, paired, a, ret);
    for (size_t k = 0; k < ret->n_classes; k++)
        take_class(c, &r, paired, k, a, ret);
    return number(c, a, ret);
}

static int by_item(const void *x, const void *y) {
    const struct canary *const *a = x, *const *b = y;
    return (*a)->item < (*b)->item ? -1 : (*a)->item > (*b)->item;
}

const struct canary **canaries_by_item(const struct canaries *l, struct cai_arena *a) {
    const struct canary **o = cai_arena_array(a, l->n + 1, sizeof *o);
    for (size_t i = 0; i < l->n; i++)
        o[i] = &l->at[i];
    if (l->n)
        qsort(o, l->n, sizeof *o, by_item);
    return o;
}

const struct canary *canaries_find(const struct canaries *l, uint64_t item) {
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i].item == item)
            return &l->at[i];
    return NULL;
}

/* ---- the key ------------------------------------------------------------------------------ */
static const char **key_lines(const struct canaries *l, const struct canary *const *order,
                              struct cai_arena *a) {
    const char **line = cai_arena_array(a, l->n + 1, sizeof *line);
    for (size_t i = 0; i < l->n; i++) {
        json_t *o = json_pack("{s:I, s:s?, s:s}", "item", (json_int_t)order[i]->item, "flaw",
                              order[i]->flawed ? l->classes[order[i]->class] : NULL, "pair",
                              order[i]->pair);
        CAI_AUTO(mem) char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(o);
        CAI_CHECK(text);
        line[i] = cai_arena_strdup(a, text);
    }
    return line;
}

void canaries_hash(const char *salt, const char *const *line, size_t n, char ret_hex[65]) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    cai_buf_printf(&b, "%s\n", salt);
    for (size_t i = 0; i < n; i++)
        cai_buf_printf(&b, "%s\n", line[i]);
    cai_sha256(b.data, b.len, ret_hex);
}

int canaries_seal(const struct stage_context *c, const struct canaries *l) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    unsigned char random[SALT_BYTES];
    char salt[2 * SALT_BYTES + 1], hash[CAI_SHA256_HEX];
    randombytes_buf(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(salt + 2 * i, 3, "%02x", random[i]);
    const struct canary **order = canaries_by_item(l, &a);
    canaries_hash(salt, key_lines(l, order, &a), l->n, hash);
    CAI_TRY(example_put(c, 0, 0, "salt", salt, NULL, "", NULL));
    CAI_TRY(example_put(c, 0, 0, "seal", hash, NULL, "",
                        json_pack("{s:I}", "canaries", (json_int_t)l->n)));
    CAI_AUTO(mem) char *text = cai_format("audit of round %u: the key of %zu canaries is sealed, %s",
                                          c->round, l->n, hash);
    return store_event_add(c->store, c->job_id, CAI_LOG_INFO, text);
}

int canaries_open(const struct stage_context *c, const struct canaries *l) {
    CAI_AUTO(arena) struct cai_arena a = {0};
    CAI_AUTO(mem) char *salt = NULL;
    CAI_TRY(store_example_get(c->store, c->job_id, c->round, c->stage, 0, "salt", 0, &salt, NULL));
    const struct canary **order = canaries_by_item(l, &a);
    const char **line = key_lines(l, order, &a);
    for (size_t i = 0; i < l->n; i++)
        CAI_TRY(example_put(c, order[i]->item, 0, "key", line[i], NULL, "", NULL));
    CAI_TRY(example_put(c, 0, 0, "opening", salt, NULL, "", NULL));
    CAI_AUTO(mem) char *text = cai_format("audit of round %u: the key is open; 'caictl audit %lld' "
                                          "checks it against the seal", c->round,
                                          (long long)c->job_id);
    return store_event_add(c->store, c->job_id, CAI_LOG_INFO, text);
}
