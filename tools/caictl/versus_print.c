/* versus_print.c: a comparison for people: the verdict in words, and transcripts side by side. */
#include "base/error.h"
#include "base/text.h"
#include "versus.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 100, WIDTH_MIN = 40 };

/* ---- two columns -------------------------------------------------------------------------------- */

static size_t characters(const char *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

/* Bytes of s that fit into `width` characters on one line, broken at a space where there is one. */
static size_t take_line(const char *s, size_t width) {
    size_t at = 0, used = 0, space = 0;
    for (; s[at] && s[at] != '\n'; at++) {
        bool starts = ((unsigned char)s[at] & 0xC0) != 0x80;
        if (starts && used == width)
            return space ? space : at;
        used += starts;
        if (s[at] == ' ')
            space = at;
    }
    return at;
}

static void put_padded(const char *s, size_t n, size_t width) {
    size_t used = characters(s, n);
    fwrite(s, 1, n, stdout);
    printf("%*s", (int)(used < width ? width - used : 0), "");
}

static const char *after_line(const char *s, size_t n) {
    s += n;
    return *s == '\n' || *s == ' ' ? s + 1 : s;
}

static void print_columns(const char *a, const char *b, size_t width) {
    while (*a || *b) {
        size_t n = take_line(a, width), m = take_line(b, width);
        put_padded(a, n, width);
        printf(" │ %.*s\n", (int)m, b);
        a = after_line(a, n);
        b = after_line(b, m);
    }
}

static size_t column_width(void) {
    int screen = terminal_width(STDOUT_FILENO);
    size_t whole = screen > WIDTH_MIN ? (size_t)screen : screen ? WIDTH_MIN : WIDTH;
    return (whole - 3) / 2;
}

/* ---- transcripts ---------------------------------------------------------------------------------- */

static char *printable(const char *text) {
    struct cai_buf out = {0};
    cai_buf_puts(&out, "");
    cai_text_printable(&out, text, strlen(text), true);
    return cai_buf_detach(&out);
}

static void print_turns(const json_t *messages) {
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m) {
        CAI_AUTO(mem) char *text = printable(text_of(m, "content"));
        printf("%s: %s\n", text_of(m, "role"), text);
    }
}

static void print_bout(const struct bout *b, size_t number) {
    CAI_AUTO(mem) char *x = printable(text_of(b->row, "a"));
    CAI_AUTO(mem) char *y = printable(text_of(b->row, "b"));
    double w = bout_won(b);
    size_t width = column_width();
    printf("\n-- %zu  ", number);
    if (b->lost)
        printf("the overseer has no room for it\n");
    else if (!b->asked)
        printf("the same reply\n");
    else
        printf("%s  P(B is better) %.2f, with A first %.2f, with B first %.2f  [%s]\n",
               w == 1   ? "B"
               : w == 0 ? "A"
                        : "undecided",
               bout_p(b), 1 - b->p_ab, b->p_ba, text_of(b->row, "principle"));
    print_turns(json_object_get(b->row, "messages"));
    put_padded("A", 1, width);
    puts(" │ B");
    print_columns(x, y, width);
}

/* The first ones in the order of the prompts: chosen ones would mislead. */
static void print_shown(const struct bout *b, size_t n, size_t shown) {
    for (size_t i = 0; i < n && i < shown; i++)
        print_bout(&b[i], i + 1);
    if (shown && n > shown)
        say("\n%zu more: --show %zu, or --out FILE\n", n - shown, n);
}

/* ---- the verdict ------------------------------------------------------------------------------------ */

static void print_verdict(const struct score *s) {
    if (s->n == 0) {
        printf("\nNothing could be compared\n");
        return;
    }
    printf("\nB is better in %.1f %% (%.1f to %.1f) of %zu comparisons of %zu conversations\n",
           100 * s->rate, 100 * s->low, 100 * s->high, s->n, s->clusters);
    printf("B won %zu, A won %zu, undecided %zu (of which turned with the order: %zu)\n", s->won,
           s->n - s->won - s->even, s->even, s->turned);
    printf("%s\n", s->low > 0.5    ? "So B is better, as this overseer sees it."
                   : s->high < 0.5 ? "So A is better, as this overseer sees it."
                                   : "So neither is shown to be better: the interval holds 50 %.");
}

static void print_warnings(const struct score *s, const json_t *about) {
    size_t decided = s->n - s->even + s->turned;
    if (s->lost_bouts)
        printf("warning: %zu were too long for the overseer and are left out\n", s->lost_bouts);
    if (s->n && s->mass < 0.5)
        printf("warning: the overseer hardly understands the question: its two answers have\n"
               "         %.2f of the probability together\n", s->mass);
    if (decided && 2 * s->turned > decided)
        printf("warning: most choices turned with the order: they say little of the replies\n");
    if (json_is_true(json_object_get(about, "own")))
        printf("warning: the overseer is one of the two, and may favour its own\n");
}

void versus_print(const struct bout *b, size_t n, const struct score *s, const json_t *about,
                  size_t shown) {
    static const char *const names[][2] = {
        {"A", "a"}, {"B", "b"}, {"overseer", "overseer"}, {"constitution", "constitution"}};
    for (size_t i = 0; i < CAI_COUNT(names); i++) {
        CAI_AUTO(mem) char *text = printable(text_of(about, names[i][1]));
        printf("%-13s %s\n", names[i][0], text);
    }
    printf("%-13s %lld, %lld replies of each; cut for length: A %lld, B %lld\n", "prompts",
           (long long)integer_of(about, "prompts"), (long long)n, (long long)integer_of(about, "cut_a"),
           (long long)integer_of(about, "cut_b"));
    print_verdict(s);
    print_warnings(s, about);
    print_shown(b, n, shown);
}
