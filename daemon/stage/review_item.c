/* review_item.c: what a reader is shown of one item, frozen as JSON when it is drawn; and which part
 * of a reply a critique accuses. */
#include "base/error.h"
#include "stage/review.h"
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 2048, QUOTE_LEAST = 3, RUN_LEAST = 3 };

/* ---- spans --------------------------------------------------------------------------------- */

/* Code points in the first `bytes` of valid UTF-8. */
static size_t points(const char *s, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

static bool put_span(const char *reply, size_t from, size_t to, size_t *ret_from, size_t *ret_to) {
    *ret_from = points(reply, from);
    *ret_to = points(reply, to);
    return true;
}

/* The first quoted passage of the critique that the reply has word for word. */
static bool quoted(const char *reply, const char *critique, size_t *ret_from, size_t *ret_to) {
    static const char *const marks[][2] = {{"\"", "\""}, {"“", "”"}, {"«", "»"}, {"`", "`"}};
    for (size_t m = 0; m < CAI_COUNT(marks); m++) {
        const char *open = critique;
        while ((open = strstr(open, marks[m][0]))) {
            const char *text = open + strlen(marks[m][0]), *end = strstr(text, marks[m][1]);
            if (!end)
                break;
            size_t len = (size_t)(end - text);
            const char *found = len >= QUOTE_LEAST ? memmem(reply, strlen(reply), text, len) : NULL;
            if (found)
                return put_span(reply, (size_t)(found - reply), (size_t)(found - reply) + len,
                                ret_from, ret_to);
            open = end + strlen(marks[m][1]);
        }
    }
    return false;
}

struct word {
    uint32_t from, to;
};

/* Words without the punctuation around them. */
static size_t split(const char *s, struct word *ret) {
    static const char space[] = " \t\r\n", around[] = ".,;:!?()[]{}\"'*_";
    size_t n = 0;
    for (const char *p = s + strspn(s, space); *p && n < WORDS_MAX; p += strspn(p, space)) {
        size_t len = strcspn(p, space), head = strspn(p, around), tail = len;
        while (tail > head && strchr(around, p[tail - 1]))
            tail--;
        if (head < tail)
            ret[n++] = (struct word){(uint32_t)(p + head - s), (uint32_t)(p + tail - s)};
        p += len;
    }
    return n;
}

static bool same(const char *a, struct word x, const char *b, struct word y) {
    return x.to - x.from == y.to - y.from && memcmp(a + x.from, b + y.from, x.to - x.from) == 0;
}

/* The longest run of words in both; of equal ones the first in the reply. */
static bool shared_run(const char *reply, const char *critique, size_t *ret_from, size_t *ret_to) {
    CAI_AUTO(mem) struct word *a = cai_realloc(NULL, WORDS_MAX, sizeof *a);
    CAI_AUTO(mem) struct word *b = cai_realloc(NULL, WORDS_MAX, sizeof *b);
    CAI_AUTO(mem) uint16_t *run = cai_alloc((WORDS_MAX + 1) * sizeof *run);
    size_t n = split(reply, a), m = split(critique, b), best = 0, end = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = m; j-- > 0;) { /* run[j + 1]: of words that end at (i, j) */
            run[j + 1] = same(reply, a[i], critique, b[j]) ? (uint16_t)(run[j] + 1) : 0;
            if (run[j + 1] > best) {
                best = run[j + 1];
                end = i;
            }
        }
    return best >= RUN_LEAST && put_span(reply, a[end + 1 - best].from, a[end].to, ret_from, ret_to);
}

bool shown_span(const char *reply, const char *critique, size_t *ret_from, size_t *ret_to) {
    return quoted(reply, critique, ret_from, ret_to) ||
           shared_run(reply, critique, ret_from, ret_to);
}

/* ---- content --------------------------------------------------------------------------------- */

void shown_critique(json_t *list, int64_t id, const char *text, int of, const char *reply) {
    size_t from, to;
    json_t *span = shown_span(reply, text, &from, &to)
                       ? json_pack("[I, I]", (json_int_t)from, (json_int_t)to)
                       : json_null();
    json_array_append_new(list, json_pack("{s:I, s:s, s:o, s:i}", "id", (json_int_t)id, "text",
                                          text, "span", span, "reply", of));
}

/* "reply": 0 or 1 as stored becomes the mark that the reader sees. */
static void name_sides(json_t *list, bool flipped) {
    json_t *x;
    size_t i;
    json_array_foreach(list, i, x) {
        bool second = (json_integer_value(json_object_get(x, "reply")) == 1) != flipped;
        json_object_set_new(x, "reply", json_string(second ? "B" : "A"));
    }
}

char *shown_content(const struct shown *s) {
    json_t *replies = json_array();
    for (int k = 0; k < 2; k++) {
        const char *text = s->reply[s->flipped ? 1 - k : k];
        if (text)
            json_array_append_new(replies, json_pack("{s:s, s:s}", "mark", k ? "B" : "A", "text",
                                                     text));
    }
    name_sides(s->critiques, s->flipped);
    name_sides(s->speeches, s->flipped);
    json_object_set_new(s->kept, "flipped", json_boolean(s->flipped));
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "principle", s->principle, "question",
                          s->question, "messages", s->messages, "replies", replies, "critiques",
                          s->critiques, "kept", s->kept);
    if (s->speeches)
        json_object_set_new(o, "speeches", s->speeches);
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    CAI_CHECK(text);
    return text;
}
