/* graders.c: who gave a report's rates, in words: a note under each table, and one warning
 * that names every rate whose grader was never checked. */
#include "graders.h"
#include "caictl.h"
#include <string.h>

static bool same_grader(const json_t *a, const json_t *b) {
    return strcmp(text_of(a, "grader"), text_of(b, "grader")) == 0 &&
           strcmp(text_of(a, "check"), text_of(b, "check")) == 0;
}

static bool first_of_its_kind(const json_t *columns, size_t at) {
    const json_t *c = json_array_get(columns, at);
    for (size_t i = 0; i < at; i++)
        if (same_grader(c, json_array_get(columns, i)))
            return false;
    return true;
}

/* "Refuses harm, Evades harmless: by phrases, unverified." on a line of its own. */
static void put_group(struct cai_buf *out, const json_t *columns, size_t at) {
    const json_t *c = json_array_get(columns, at);
    const char *check = text_of(c, "check");
    bool verified = json_is_true(json_object_get(c, "verified")), more = false;
    for (size_t i = at; i < json_array_size(columns); i++) {
        const json_t *other = json_array_get(columns, i);
        if (!same_grader(c, other))
            continue;
        cai_buf_printf(out, "%s%s", more ? ", " : "\n", text_of(other, "title"));
        more = true;
    }
    cai_buf_printf(out, ": by %s%s%s%s%s.", text_of(c, "grader"), verified ? "" : ", unverified",
                   *check ? " (" : "", check, *check ? ")" : "");
}

static void note_table(json_t *table) {
    const json_t *columns = json_object_get(table, "columns");
    CAI_AUTO(buf) struct cai_buf note = {0};
    cai_buf_puts(&note, text_of(table, "note"));
    bool any = false;
    for (size_t i = 0; i < json_array_size(columns); i++) {
        if (!*text_of(json_array_get(columns, i), "grader") || !first_of_its_kind(columns, i))
            continue;
        if (!any)
            cai_buf_puts(&note, note.len ? "\n95 % intervals." : "95 % intervals.");
        any = true;
        put_group(&note, columns, i);
    }
    if (any)
        json_object_set_new(table, "note", json_string(note.data));
}

static void name_unverified(const json_t *table, struct cai_buf *out) {
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(table, "columns"), i, c) {
        if (*text_of(c, "grader") && !json_is_true(json_object_get(c, "verified")))
            cai_buf_printf(out, "%s%s (%s)", out->len ? ", " : "", text_of(c, "title"),
                           text_of(c, "grader"));
    }
}

void graders_note(json_t *report) {
    CAI_AUTO(buf) struct cai_buf names = {0};
    size_t i;
    json_t *table;
    json_array_foreach(json_object_get(report, "tables"), i, table) {
        note_table(table);
        name_unverified(table, &names);
    }
    if (!names.len)
        return;
    CAI_AUTO(buf) struct cai_buf text = {0};
    cai_buf_printf(&text,
                   "Unverified rates: %s. Their graders were never checked against people or an "
                   "oracle: export the replies, have them judged, and give the verdicts with "
                   "--judged.",
                   names.data);
    json_array_insert_new(json_object_get(report, "warnings"), 0, json_string(text.data));
}
