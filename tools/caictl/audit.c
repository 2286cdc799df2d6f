/* audit.c: caictl audit: how the overseer did on canaries, class by class, what people found in what
 * it had judged in earnest, what alarmed, and whether the key that says which replies were flawed is the one that was sealed before it was asked. The
 * hash is worked out here, from the lines that the daemon gives. */
#include "base/error.h"
#include "base/file.h"
#include "caictl.h"
#include <stdlib.h>
#include <string.h>

/* ---- figures -------------------------------------------------------------------------------- */
static const struct {
    const char *metric, *key, *title;
    enum cell kind;
} figures[] = {{"critique_recall", "found", "CRITIQUES FIND", CELL_INTERVAL},
               {"false_alarms", "alarms", "FIND WHAT IS NOT THERE", CELL_INTERVAL},
               {"choice_recall", "choices", "CHOICES RIGHT", CELL_INTERVAL},
               {"knows", "knows", "KNOWS", CELL_SHARE},
               {"withheld", "withheld", "WITHHELD", CELL_SHARE},
               {"second_recall", "second", "SECOND FINDS", CELL_SHARE},
               {"second_alone", "alone", "ONLY SECOND", CELL_SHARE},
               {"shown", "shown", "SHOWN FROM 90 %", CELL_SHARE}};

static int keep_figure(void *c, const json_t *row) {
    CAI_AUTO(mem) char *key = cai_format("%lld/%s", (long long)integer_of(row, "round"),
                                         text_of(row, "name"));
    json_object_set_new(c, key, json_real(number_of(row, "value", 0)));
    return 0;
}

static json_t *figure(const json_t *all, int64_t round, const char *name, const char *class,
                      const char *part) {
    CAI_AUTO(mem) char *key = cai_format("%lld/%s/%s%s", (long long)round, name, class, part);
    return json_object_get(all, key);
}

static json_t *cell(const json_t *all, int64_t round, size_t i, const char *class) {
    const char *name = figures[i].metric;
    json_t *v = figure(all, round, name, class, "");
    if (!v || figures[i].kind != CELL_INTERVAL)
        return v ? json_incref(v) : json_null();
    return json_pack("{s:O, s:O?, s:O?, s:O?}", "value", v, "low",
                     figure(all, round, name, class, "_low"), "high",
                     figure(all, round, name, class, "_high"), "n",
                     figure(all, round, name, class, "_n"));
}

/* The classes of a round are those of "shown": figures that have no parts. */
static json_t *class_rows(const json_t *all, int64_t round) {
    CAI_AUTO(mem) char *prefix = cai_format("%lld/shown/", (long long)round);
    json_t *rows = json_array(), *v;
    const char *key;
    json_object_foreach((json_t *)all, key, v) {
        if (strncmp(key, prefix, strlen(prefix)) != 0)
            continue;
        const char *class = key + strlen(prefix);
        json_t *row = json_pack("{s:s}", "class", class);
        for (size_t i = 0; i < CAI_COUNT(figures); i++)
            json_object_set_new(row, figures[i].key, cell(all, round, i, class));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* ---- what people found ---------------------------------------------------------------------- */
/* "missed/ID" as {"value", "low", "high", "n"}, or null; id "": of all. */
static json_t *people_cell(const json_t *all, int64_t round, const char *name, const char *id) {
    static const char *const parts[] = {"", "_low", "_high", "_n"};
    static const char *const members[] = {"value", "low", "high", "n"};
    json_t *o = json_object();
    for (size_t i = 0; i < CAI_COUNT(parts); i++) {
        CAI_AUTO(mem) char *key = cai_format("%lld/%s%s%s%s", (long long)round, name, *id ? "/" : "",
                                             id, parts[i]);
        json_object_set(o, members[i], json_object_get(all, key));
    }
    if (json_object_get(o, "value"))
        return o;
    json_decref(o);
    return json_null();
}

static void add_people(const json_t *all, int64_t round, const char *id, json_t *rows) {
    json_array_append_new(rows, json_pack("{s:s, s:o, s:o}", "principle", *id ? id : "all", "missed",
                                          people_cell(all, round, "missed", id), "passed_wrong",
                                          people_cell(all, round, "passed_wrong", id)));
}

/* Of a figure: a key with a part, which is none itself. Known as `but`: left out. */
static void add_figure(const json_t *all, int64_t round, const char *name, const char *but,
                       json_t *rows) {
    CAI_AUTO(mem) char *prefix = cai_format("%lld/%s", (long long)round, name);
    size_t len = strlen(prefix);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)all, key, v) {
        CAI_AUTO(mem) char *part = cai_format("%s_n", key);
        if (strncmp(key, prefix, len) != 0 || !json_object_get(all, part))
            continue;
        CAI_AUTO(mem) char *other = cai_format("%lld/%s%s", (long long)round, but, key + len);
        if (!*but || !json_object_get(all, other))
            add_people(all, round, key[len] == '/' ? key + len + 1 : "", rows);
    }
}

static json_t *people_rows(const json_t *all, int64_t round) {
    json_t *rows = json_array();
    add_figure(all, round, "missed", "", rows);
    add_figure(all, round, "passed_wrong", "missed", rows);
    return rows;
}

/* ---- texts ---------------------------------------------------------------------------------- */
static int append(void *c, const json_t *row) { return json_array_append(c, (json_t *)row); }

/* Examples of one kind of the audit of a round. 0 or an exit code; *ret is the caller's. */
static int texts(int64_t job, int64_t round, const char *kind, json_t **ret) {
    *ret = json_array();
    int code = data_pages("samples", json_pack("{s:I, s:I, s:s, s:s}", "id", (json_int_t)job, "round",
                                               (json_int_t)round, "stage", "audit", "kind", kind),
                          -1, append, *ret);
    if (code)
        json_decref(*ret);
    return code;
}

static const char *first_text(const json_t *rows) {
    const json_t *row = json_array_get(rows, 0);
    return row ? text_of(row, "text") : "";
}

/* {"hash", "canaries", "state": "none" (no canaries) | "sealed" | "holds" | "broken"} */
static int check_seal(int64_t job, int64_t round, json_t **ret) {
    json_t *seal, *opening = NULL, *key = NULL;
    int code = texts(job, round, "seal", &seal);
    if (code)
        return code;
    code = texts(job, round, "opening", &opening);
    if (code == 0 && (code = texts(job, round, "key", &key)) != 0)
        json_decref(opening);
    if (code) {
        json_decref(seal);
        return code;
    }
    CAI_AUTO(buf) struct cai_buf b = {0};
    char hash[CAI_SHA256_HEX];
    cai_buf_printf(&b, "%s\n", first_text(opening));
    for (size_t i = 0; i < json_array_size(key); i++)
        cai_buf_printf(&b, "%s\n", text_of(json_array_get(key, i), "text"));
    cai_sha256(b.data, b.len, hash);
    bool open = json_array_size(opening) > 0, holds = strcmp(hash, first_text(seal)) == 0;
    *ret = json_pack("{s:s, s:I, s:s}", "hash", first_text(seal), "canaries",
                     (json_int_t)json_array_size(key), "state",
                     !*first_text(seal) ? "none"
                     : !open ? "sealed"
                     : holds ? "holds"
                             : "broken");
    json_decref(seal);
    json_decref(opening);
    json_decref(key);
    return 0;
}

/* ---- the command ---------------------------------------------------------------------------- */
static int64_t last_round(const json_t *all) {
    int64_t last = 0;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)all, key, v) {
        long long round = atoll(key);
        last = round > last ? round : last;
    }
    return last;
}

static void print_seal(const json_t *seal) {
    const char *state = text_of(seal, "state"), *hash = text_of(seal, "hash");
    if (strcmp(state, "none") == 0)
        return;
    if (strcmp(state, "sealed") == 0)
        printf("\nSeal %.16s…: not open yet; the overseer is being asked.\n", hash);
    else if (strcmp(state, "holds") == 0)
        printf("\nSeal %.16s… holds: the key of %lld canaries is the one of before they were asked.\n",
               hash, (long long)integer_of(seal, "canaries"));
    else
        printf("\nSeal %.16s… IS BROKEN: the key is not the one that was sealed. Do not trust this "
               "audit.\n", hash);
}

static void print_audit(const json_t *o) {
    struct column columns[CAI_COUNT(figures) + 1] = {{"CLASS", "class", CELL_TEXT}};
    for (size_t i = 0; i < CAI_COUNT(figures); i++)
        columns[i + 1] = (struct column){figures[i].title, figures[i].key, figures[i].kind};
    const json_t *alarms = json_object_get(o, "alarms");
    static const struct column people[] = {{"PRINCIPLE", "principle", CELL_TEXT},
                                           {"PEOPLE: IT MISSES", "missed", CELL_INTERVAL},
                                           {"FLAWED AMONG PASSED", "passed_wrong", CELL_INTERVAL}};
    if (json_array_size(json_object_get(o, "rows")))
        print_rows(json_object_get(o, "rows"), columns, CAI_COUNT(columns));
    if (json_array_size(json_object_get(o, "people"))) {
        puts("");
        print_rows(json_object_get(o, "people"), people, CAI_COUNT(people));
    }
    for (size_t i = 0; i < json_array_size(alarms); i++) {
        CAI_AUTO(mem) char *text = cai_format("%salarm: %s", i ? "" : "\n",
                                              json_string_value(json_array_get(alarms, i)));
        print_prose(text);
    }
    if (json_array_size(alarms) == 0)
        puts("\nNo alarm.");
    print_seal(json_object_get(o, "seal"));
}

static int finish(const json_t *all, int64_t job, int64_t round) {
    json_t *alarms = NULL, *seal = NULL, *said = json_array(), *row;
    size_t i;
    int code = texts(job, round, "alarm", &alarms);
    if (code == 0)
        code = check_seal(job, round, &seal);
    json_array_foreach(alarms, i, row) json_array_append_new(said, json_string(text_of(row, "text")));
    json_decref(alarms);
    json_t *o = json_pack("{s:I, s:o, s:o, s:o, s:o?}", "round", (json_int_t)round, "rows",
                          class_rows(all, round), "people", people_rows(all, round), "alarms", said,
                          "seal", seal);
    if (code == 0 && globals.json)
        print_json(o);
    else if (code == 0)
        print_audit(o);
    bool broken = code == 0 && strcmp(text_of(json_object_get(o, "seal"), "state"), "broken") == 0;
    json_decref(o);
    return code ? code : broken ? EXIT_NEGATIVE : EXIT_OK;
}

static int run_audit(const struct args *a) {
    int64_t job, round = 0;
    if (!args_number("ID", a->positional[0], &job) ||
        (args_has(a, "round") && !args_number("--round", args_get(a, "round"), &round)))
        return EXIT_USAGE;
    json_t *all = json_object();
    int code = data_pages("metrics", json_pack("{s:I, s:s}", "id", (json_int_t)job, "stage", "audit"),
                          -1, keep_figure, all);
    if (code == 0 && round == 0)
        round = last_round(all);
    if (code == 0 && round == 0)
        code = complain(EXIT_STATE, "job %lld has audited nothing; name a file as data.canaries, "
                                    "or ask people: human.audits (man job, stages.audit)",
                        (long long)job);
    if (code == 0)
        code = finish(all, job, round);
    json_decref(all);
    return code;
}

const struct command audit_commands[] = {
    {"audit", "ID [--round N]", "round", 1, 1, run_audit,
     "How the overseer did on planted flaws, what alarmed, and whether the key's seal holds",
     "  caictl audit 1\n  caictl audit 1 --round 2 -o json\n",
     "  --round N   an earlier round than the last that was audited\n\n"
     "CRITIQUES FIND          replies with the planted flaw that its critiques accuse; exact 95 %\n"
     "                        intervals (Clopper and Pearson)\n"
     "FIND WHAT IS NOT THERE  the same of their twins without the flaw\n"
     "CHOICES RIGHT           pairs of which it prefers the one without\n"
     "KNOWS, WITHHELD         says that there is a flaw, asked for one; and criticises nothing\n"
     "SECOND FINDS            models.second_overseer; ONLY SECOND: and the overseer does not\n"
     "SHOWN FROM 90 %         the recall that so many canaries tell from 90 %, at power 0.9\n"
     "PEOPLE: IT MISSES       of real replies that people find flawed (human.audits), the share that it\n"
     "                        passed, each weighed by the inverse of its chance of being drawn\n"
     "FLAWED AMONG PASSED     the share flawed of those that it passed\n\n"
     "Exit code 1 when the key is not the one that was sealed.\n"},
    {0}};
