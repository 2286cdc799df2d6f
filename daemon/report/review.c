/* review.c: people's review as tables of a job's report; nothing where nobody was asked. */
#include "base/error.h"
#include "report/tables.h"
#include "review/review.h"
#include "stage/rates.h"
#include <string.h>

static void add_queues(const json_t *progress, json_t *tables) {
    static const struct column c[] = {
        {"round", "Round", "number"},     {"kind", "Kind", "text"},
        {"required", "Wanted", "count"},  {"done", "Final", "count"},
        {"items", "Drawn", "count"},      {"second", "Wait for a second", "count"},
        {"disputed", "Disputed", "count"}};
    table_add(tables, "review", "People's review",
              "A person's verdict takes the place of the overseer's label of the same pair, and rules "
              "over a rewrite.", table_all_columns(c, CAI_COUNT(c)),
              json_incref(json_object_get(progress, "queues")));
}

/* A row of the second table, unless the figure is not known. */
static void put(json_t *rows, const char *figure, const json_t *value, const json_t *low,
                const json_t *high, int64_t n, const char *of) {
    if (!json_is_number(value))
        return;
    json_t *cell = json_pack("{s:O, s:O, s:O, s:I}", "value", value, "low",
                             json_is_number(low) ? low : value, "high",
                             json_is_number(high) ? high : value, "n", (json_int_t)n);
    json_array_append_new(rows, json_pack("{s:s, s:o, s:s}", "figure", figure, "value", cell, "of",
                                          of));
}

static void put_share(json_t *rows, const char *figure, int64_t hits, int64_t n, const char *of) {
    double low, high;
    if (n <= 0)
        return;
    rates_wilson((uint64_t)hits, (uint64_t)n, 0.95, &low, &high);
    json_t *value = json_real((double)hits / (double)n), *a = json_real(low), *b = json_real(high);
    put(rows, figure, value, a, b, n, of);
    json_decref(value);
    json_decref(a);
    json_decref(b);
}

static int64_t whole(const json_t *o, const char *member) {
    return json_integer_value(json_object_get(o, member));
}

static void put_agreement(json_t *rows, const json_t *progress) {
    json_t *x;
    size_t i;
    json_array_foreach(json_object_get(progress, "agreement"), i, x) {
        const char *kind = json_string_value(json_object_get(x, "kind"));
        const char *name = json_string_value(json_object_get(x, "figure"));
        CAI_AUTO(mem) char *of = cai_format("%s's kappa of %ss that several read", name, kind);
        CAI_AUTO(mem) char *alpha = cai_format("Krippendorff's alpha of the same %ss, ordinal", kind);
        put(rows, "Readers agree", json_object_get(x, "kappa"), json_object_get(x, "low"),
            json_object_get(x, "high"), whole(x, "items"), of);
        put(rows, "Readers agree", json_object_get(x, "alpha"), json_object_get(x, "alpha_low"),
            json_object_get(x, "alpha_high"), whole(x, "items"), alpha);
    }
}

static void put_consensus(json_t *rows, const json_t *progress) {
    json_t *x, *r;
    size_t i, k;
    json_array_foreach(json_object_get(progress, "consensus"), i, x) {
        const char *kind = json_string_value(json_object_get(x, "kind"));
        json_array_foreach(json_object_get(x, "readers"), k, r) {
            CAI_AUTO(mem) char *of = cai_format("of %s's %ss, estimated from agreement and gold (Dawid "
                                                "and Skene); decides nothing",
                                                json_string_value(json_object_get(r, "name")), kind);
            put(rows, "Right, estimated", json_object_get(r, "accuracy"), json_object_get(r, "low"),
                json_object_get(r, "high"), whole(r, "n"), of);
        }
        CAI_AUTO(mem) char *of = cai_format("decided %ss of which these estimates favour another side",
                                            kind);
        put_share(rows, "Consensus differs", whole(x, "differ"), whole(x, "decided"), of);
    }
}

static void add_figures(const json_t *progress, json_t *tables) {
    static const struct column c[] = {{"figure", "Figure", "text"}, {"value", "Value", "interval"},
                                      {"of", "What it is", "text"}};
    const json_t *help = json_object_get(progress, "help");
    const json_t *turned = json_object_get(progress, "overturned");
    const json_t *gold = json_object_get(progress, "gold");
    json_t *rows = json_array();
    put_share(rows, "Overturned", whole(turned, "turned"), whole(turned, "labels"),
              "AI labels of pairs of which people prefer the other reply");
    put_agreement(rows, progress);
    put_consensus(rows, progress);
    put(rows, "Help effect", json_object_get(help, "effect"), json_object_get(help, "low"),
        json_object_get(help, "high"),
        whole(json_object_get(help, "aided"), "n") + whole(json_object_get(help, "unaided"), "n"),
        "flaws found with the model's critiques less those found without");
    double n = (double)whole(help, "changed_n");
    put_share(rows, "Turned by help",
              (int64_t)(n * json_number_value(json_object_get(help, "changed")) + 0.5), (int64_t)n,
              "first verdicts that changed sides once critiques were shown");
    put_share(rows, "Gold", whole(gold, "right"), whole(gold, "n"),
              "items with a known answer that readers got right");
    table_add(tables, "review_figures", "What people's review shows", NULL,
              table_all_columns(c, CAI_COUNT(c)), rows);
}

int report_review(struct store *store, int64_t job, json_t *tables) {
    const struct reviewer who = {.name = "report", .role = REVIEWER_ADMIN};
    json_t *progress = NULL;
    CAI_TRY(review_progress(store, &who, job, &progress));
    if (json_array_size(json_object_get(progress, "queues"))) {
        add_queues(progress, tables);
        add_figures(progress, tables);
    }
    json_decref(progress);
    return 0;
}
