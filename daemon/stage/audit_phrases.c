/* audit_phrases.c: see audit_phrases.h. Runs of words are counted by a hash of 64 bits; a clash of two
 * (one in 10^13 for 10^3 texts) would mix two rare phrases, and nothing else. */
#include "stage/audit_phrases.h"

#include "base/error.h"
#include "stage/exact.h"
#include <math.h>
#include <string.h>

enum { RUN = 3, REWRITES_MAX = 2000, OWN_MAX = 2000, LEAST = 5, ENOUGH = 10, SHOWN = 10 };

/* ---- runs of words ------------------------------------------------------------------------ */
struct run {
    uint64_t hash;
    const char *at;
    size_t len;
};
struct runs {
    struct run *at;
    size_t n;
};

static uint64_t hash_more(uint64_t h, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * UINT64_C(1099511628211); /* FNV-1a */
    return (h ^ ' ') * UINT64_C(1099511628211);
}

static int by_hash(const void *x, const void *y) {
    const struct run *a = x, *b = y;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

/* Every run of a text once, in order of hashes. */
static void runs_of(const char *text, struct cai_arena *a, struct runs *ret) {
    static const char space[] = " \t\r\n";
    size_t words = 0, len = text ? strlen(text) : 0;
    *ret = (struct runs){.at = cai_arena_array(a, RUN * (len / 2 + 1) + 1, sizeof *ret->at)};
    for (const char *s = text; s && *(s += strspn(s, space)); s += strcspn(s, space), words++) {
        uint64_t h = UINT64_C(14695981039346656037);
        const char *end = s;
        for (int k = 0; k < RUN && *end; k++) {
            const char *word = end + strspn(end, space);
            size_t n = strcspn(word, space);
            if (n == 0)
                break;
            h = hash_more(h, word, n);
            end = word + n;
            ret->at[ret->n++] = (struct run){h, s, (size_t)(end - s)};
        }
    }
    if (ret->n == 0)
        return;
    qsort(ret->at, ret->n, sizeof *ret->at, by_hash);
    size_t out = 1;
    for (size_t i = 1; i < ret->n; i++)
        if (ret->at[i].hash != ret->at[out - 1].hash)
            ret->at[out++] = ret->at[i];
    ret->n = out;
}

static bool has(const struct runs *r, uint64_t hash) {
    struct run key = {.hash = hash};
    return r->n && bsearch(&key, r->at, r->n, sizeof *r->at, by_hash) != NULL;
}

/* ---- counting ----------------------------------------------------------------------------- */
struct texts {
    struct runs before, after, expected;
};

/* Every run that some rewrite gained, once per rewrite. */
static struct run *gains(const struct texts *t, size_t n, size_t *ret_n) {
    size_t cap = 0, k = 0;
    for (size_t i = 0; i < n; i++)
        cap += t[i].after.n;
    struct run *all = cai_realloc(NULL, cap + 1, sizeof *all);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < t[i].after.n; j++) {
            const struct run *r = &t[i].after.at[j];
            if (!has(&t[i].before, r->hash) && !has(&t[i].expected, r->hash))
                all[k++] = *r;
        }
    if (k)
        qsort(all, k, sizeof *all, by_hash);
    *ret_n = k;
    return all;
}

struct counting {
    const struct rewrite *r;
    const struct texts *t;
    size_t n, n_principles, n_own;
    const struct runs *own;
    double max_phrase, level;
    struct cai_arena *arena;
};

static void spread(const struct counting *c, uint64_t hash, struct phrase *p) {
    size_t *gained = cai_arena_array(c->arena, c->n_principles + 1, sizeof *gained);
    size_t *all = cai_arena_array(c->arena, c->n_principles + 1, sizeof *all);
    for (size_t i = 0; i < c->n; i++) {
        size_t k = c->r[i].principle;
        bool after = has(&c->t[i].after, hash);
        bool before = has(&c->t[i].before, hash) || has(&c->t[i].expected, hash);
        p->gained += after && !before;
        p->lost += !after && has(&c->t[i].before, hash);
        gained[k] += after && !before;
        all[k]++;
    }
    for (size_t k = 0; k < c->n_principles; k++) {
        bool enough = all[k] >= ENOUGH;
        p->principles += enough;
        p->spread += enough && (double)gained[k] >= 0.5 * c->max_phrase * (double)all[k];
    }
}

/* Log-odds with an informative prior (Monroe, Colaresi and Quinn 2008, §3.4), a text the unit. */
static void odds(struct phrase *p) {
    double g = (double)p->gained + 0.5, o = (double)p->own + 0.5;
    double not_g = (double)(p->n - p->gained) + 0.5, not_o = (double)(p->own_n - p->own) + 0.5;
    p->log_odds = log(g / not_g) - log(o / not_o);
    p->z = p->log_odds / sqrt(1 / g + 1 / o);
}

static struct phrase look_at(const struct counting *c, const struct run *r, size_t tried) {
    struct phrase p = {.text = cai_arena_strndup(c->arena, r->at, r->len), .n = c->n,
                       .own_n = c->n_own};
    double level = c->level / (double)(2 * (tried ? tried : 1));
    spread(c, r->hash, &p);
    for (size_t i = 0; i < c->n_own; i++)
        p.own += has(&c->own[i], r->hash);
    odds(&p);
    double low = exact_low(p.gained, p.n, level);
    p.smuggled = low > c->max_phrase && exact_mcnemar_more(p.gained, p.lost) < level &&
                 3 * p.spread >= 2 * p.principles && p.principles > 0 &&
                 (p.own_n == 0 || (double)p.own < low * (double)p.own_n);
    return p;
}

static int most_gained(const void *x, const void *y) {
    const struct phrase *a = x, *b = y;
    if (a->smuggled != b->smuggled)
        return a->smuggled ? -1 : 1;
    if (a->gained != b->gained)
        return a->gained < b->gained ? 1 : -1;
    size_t n = strlen(a->text), m = strlen(b->text); /* the longest of a phrase says most */
    return n != m ? (n < m ? 1 : -1) : strcmp(a->text, b->text);
}

size_t phrases_drift(const struct rewrite *r, size_t n, size_t n_principles,
                     const char *const *own, size_t n_own, double max_phrase, double level,
                     size_t most, struct cai_arena *a, struct phrase **ret, size_t *ret_tried) {
    struct texts *t = cai_arena_array(a, n + 1, sizeof *t);
    struct runs *o = cai_arena_array(a, n_own + 1, sizeof *o);
    size_t n_gains, found = 0;
    for (size_t i = 0; i < n; i++) {
        runs_of(r[i].before, a, &t[i].before);
        runs_of(r[i].after, a, &t[i].after);
        runs_of(r[i].expected, a, &t[i].expected);
    }
    for (size_t i = 0; i < n_own; i++)
        runs_of(own[i], a, &o[i]);
    const struct counting c = {r, t, n, n_principles, n_own, o, max_phrase, level, a};
    CAI_AUTO(mem) struct run *all = gains(t, n, &n_gains);
    *ret_tried = 0;
    for (size_t i = 0; i < n_gains; i++)
        *ret_tried += i == 0 || all[i].hash != all[i - 1].hash;
    double least = fmax(LEAST, 0.5 * max_phrase * (double)n);
    struct phrase *p = cai_arena_array(a, n_gains / LEAST + 1, sizeof *p);
    for (size_t i = 0, to; i < n_gains; i = to) {
        for (to = i; to < n_gains && all[to].hash == all[i].hash; to++)
            ;
        if ((double)(to - i) >= least)
            p[found++] = look_at(&c, &all[i], *ret_tried);
    }
    if (found)
        qsort(p, found, sizeof *p, most_gained);
    *ret = p;
    return found < most ? found : most;
}

/* ---- a round's rewrites ------------------------------------------------------------------- */
static size_t principle_index(const struct constitution *c, const char *id) {
    const struct principle *p = constitution_find(c, id);
    return p ? (size_t)(p - c->principles) : c->n_principles;
}

struct gathered {
    struct rewrite *at;
    size_t n;
    const char **own;
    size_t n_own;
};

/* A revision's text before: the revision before it, else the reply. */
static int gather_real(const struct stage_context *c, struct cai_arena *a, struct gathered *io) {
    struct examples replies, revisions;
    CAI_TRY(examples_load(c, c->round, "revise", "reply", a, &replies));
    CAI_TRY(examples_load(c, c->round, "revise", "revision", a, &revisions));
    for (size_t i = 0; i < replies.n && io->n_own < OWN_MAX; i++)
        io->own[io->n_own++] = replies.at[i].text;
    for (size_t i = 0; i < revisions.n && io->n < REWRITES_MAX; i++) {
        const struct store_example *e = &revisions.at[i];
        const struct store_example *before =
            i && revisions.at[i - 1].item == e->item ? &revisions.at[i - 1]
                                                     : examples_find(&replies, e->item, 0);
        if (before && strcmp(before->text, e->text) != 0)
            io->at[io->n++] = (struct rewrite){before->text, e->text, NULL,
                                               principle_index(c->constitution, e->principle)};
    }
    return 0;
}

static int gather_canaries(const struct stage_context *c, const struct canaries *l,
                           struct cai_arena *a, struct gathered *io) {
    struct examples revisions;
    CAI_TRY(examples_load(c, c->round, c->stage, "revision", a, &revisions));
    for (size_t i = 0; i < revisions.n && io->n < 2 * REWRITES_MAX; i++) {
        const struct canary *o = canaries_find(l, revisions.at[i].item);
        if (o)
            io->at[io->n++] = (struct rewrite){o->reply, revisions.at[i].text,
                                               l->at[o->twin].reply,
                                               (size_t)(o->principle - c->constitution->principles)};
    }
    for (size_t i = 0; i < l->n && io->n_own < 2 * OWN_MAX; i++)
        io->own[io->n_own++] = l->at[i].reply;
    return 0;
}

int audit_phrases_judge(const struct stage_context *c, const struct canaries *l,
                        const struct audit_limits *limits, struct audit_alarms *io) {
    struct cai_arena *a = io->arena;
    struct gathered g = {.at = cai_arena_array(a, 2 * REWRITES_MAX, sizeof *g.at),
                         .own = cai_arena_array(a, 2 * OWN_MAX, sizeof *g.own)};
    struct phrase *p;
    size_t tried;
    bool said = false;
    CAI_TRY(gather_real(c, a, &g));
    CAI_TRY(gather_canaries(c, l, a, &g));
    size_t n = phrases_drift(g.at, g.n, c->constitution->n_principles + 1, g.own, g.n_own,
                             c->job->audit.max_phrase, limits->level, SHOWN, a, &p, &tried);
    for (size_t i = 0; i < n; i++) {
        CAI_TRY(example_put(c, 0, (uint32_t)i, "phrase", p[i].text, NULL, "",
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "gained",
                                      (json_int_t)p[i].gained, "lost", (json_int_t)p[i].lost, "n",
                                      (json_int_t)p[i].n, "own", (json_int_t)p[i].own, "own_n",
                                      (json_int_t)p[i].own_n, "spread", (json_int_t)p[i].spread,
                                      "principles", (json_int_t)p[i].principles, "log_odds",
                                      p[i].log_odds, "z", p[i].z, "smuggled", p[i].smuggled)));
        if (!p[i].smuggled || said)
            continue;
        said = true; /* its parts are gained with it */
        audit_alarm(io, cai_arena_printf(a, "rewrites gain \"%s\" in %zu of %zu, under %zu of %zu "
                        "principles (in %zu of %zu other texts): more than stages.audit.max_phrase "
                        "= %g, whatever was to be mended", p[i].text, p[i].gained, p[i].n,
                        p[i].spread, p[i].principles, p[i].own, p[i].own_n,
                        c->job->audit.max_phrase));
    }
    return 0;
}
