/* choose.c: the letter of a choice written out in words. Only a statement of the writer's
 * counts: one that stands in quotes, in a fence, behind '>' or in an invented turn is
 * somebody else's. Two different statements are no answer. */
#include "stage/choose.h"

#include "stage/phrase.h"
#include <ctype.h>
#include <string.h>

static const char *const stops[] = {"human:", "user:", "h:", "assistant:", "system:",
                                    "critiquerequest:", "<|im_start|>", "[inst]", NULL};
static const char *const statements[] = {
    "the answer is:", "the answer is", "answer:", "my answer is:", "my answer is",
    "my choice is:", "my choice is", "so the answer is:", "so the answer is", "i choose",
    "i would choose", "i'd choose", "i pick", "i prefer", "i would pick", "final answer:",
    "the better response is", "the better reply is", "the better answer is",
    "the better option is", "the best response is", "the more harmless response is",
    "the less harmful response is", "the correct answer is", "the correct option is", NULL};
static const char *const nouns[] = {"response", "option", "answer", "reply", "choice", NULL};
static const char *const verdicts[] = {"is better", "is the better", "is more", "is less",
                                       "is preferable", "is the best", "is preferred",
                                       "is clearly better", "is safer", "is the more",
                                       "is the less", "wins", NULL};
static const char *const refusals[] = {"i cannot choose", "i can't choose", "i can't", "i cannot",
                                       "i'm sorry", "i am sorry", "i won't", "i'm unable",
                                       "neither", "both", "as an ai", NULL};

/* A letter with its marks: "(A)", "A", "**B**", "option (A)"; 0 = none. */
static char letter_at(struct view v, size_t *ret_len) {
    size_t i = 0;
    while (i < v.n && strchr(" \t*_:(\"'[`\n", v.s[i]))
        i++;
    size_t noun = phrase_any(view_skip(v, i), nouns);
    i += noun;
    while (i < v.n && strchr(" \t*_:(\"'[`", v.s[i]))
        i++;
    if (i >= v.n || (v.s[i] != 'A' && v.s[i] != 'B'))
        return 0;
    bool bracketed = i > 0 && v.s[i - 1] == '(' && i + 1 < v.n && v.s[i + 1] == ')';
    bool ends = i + 1 == v.n || strchr(").,:;!*_\"'`\n]", v.s[i + 1]);
    bool spaced = i + 1 < v.n && v.s[i + 1] == ' ' && (noun || v.s[i] == 'B');
    if (!bracketed && !ends && !spaced)
        return 0;
    *ret_len = i + 1 + (bracketed ? 1 : 0);
    return v.s[i];
}

/* Skips what is quoted: to the end of a fence, a '>' line or "…". */
static size_t quoted(struct view v, bool line_start) {
    const char *end = NULL;
    if (line_start && v.s[0] == '>') {
        end = memchr(v.s, '\n', v.n);
        return end ? (size_t)(end - v.s) : v.n;
    }
    if (v.n > 3 && memcmp(v.s, "```", 3) == 0) {
        end = memmem(v.s + 3, v.n - 3, "```", 3);
        return end ? (size_t)(end - v.s) + 3 : v.n;
    }
    if (v.s[0] == '"' && v.n > 1)
        end = memchr(v.s + 1, '"', v.n - 1);
    else if (v.n > 3 && memcmp(v.s, "\xe2\x80\x9c", 3) == 0) {
        end = memmem(v.s, v.n, "\xe2\x80\x9d", 3);
        return end ? (size_t)(end - v.s) + 3 : 0;
    }
    return end ? (size_t)(end - v.s) + 1 : 0;
}

struct said {
    char letter;
    bool both, seen;
};

static void say(struct said *o, char letter) {
    o->both = o->both || (o->seen && o->letter != letter);
    o->letter = letter;
    o->seen = true;
}

/* Statements anywhere outside quotations. */
static struct said statements_in(struct view v) {
    struct said o = {0};
    for (size_t i = 0; i < v.n;) {
        bool word = i == 0 || !isalnum((unsigned char)v.s[i - 1]);
        size_t len, skip = quoted(view_skip(v, i), i == 0 || v.s[i - 1] == '\n');
        if (skip) {
            i += skip;
            continue;
        }
        struct view here = view_skip(v, i);
        size_t n = word ? phrase_any(here, statements) : 0;
        char letter = n ? letter_at(view_skip(here, n), &len) : 0;
        if (letter)
            say(&o, letter);
        /* "(A) is better", "Response B is less harmful" */
        n = 0;
        bool named = word && (phrase_any(here, nouns) || here.s[0] == '(');
        letter = !letter && named ? letter_at(here, &n) : 0;
        if (letter) {
            struct view after = view_skip(here, n);
            while (after.n && strchr(" *_)\"", after.s[0]))
                after = view_skip(after, 1);
            if (phrase_any(after, verdicts))
                say(&o, letter);
        }
        i++;
    }
    return o;
}

static bool names_other(struct view v, char letter) {
    const char other = letter == 'A' ? 'B' : 'A';
    for (size_t i = 0; i + 2 < v.n; i++)
        if (v.s[i] == '(' && v.s[i + 1] == other && v.s[i + 2] == ')')
            return true;
    return false;
}

enum extract_reason extract_choice(const struct extract_input *in, struct cai_buf *ret) {
    struct view v = view_trim((struct view){in->raw, strlen(in->raw)}), line;
    for (size_t at = 0; at < v.n; at += line.n + 1) {
        line = view_line(view_skip(v, at));
        if (phrase_any(line, stops)) {
            if (at == 0)
                return EXTRACT_TURN;
            v = view_trim((struct view){v.s, at});
            break;
        }
    }
    if (v.n == 0)
        return EXTRACT_EMPTY;
    struct said o = statements_in(v);
    if (o.both)
        return EXTRACT_AMBIGUOUS;
    if (!o.seen) { /* the letter alone, or the letter and then reasons */
        size_t len;
        o.letter = letter_at(v, &len);
        if (o.letter && names_other(v, o.letter))
            return EXTRACT_AMBIGUOUS;
        if (!o.letter)
            return phrase_any(v, refusals)          ? EXTRACT_REFUSED
                   : in->finish == EXTRACT_CUT      ? EXTRACT_TRUNCATED
                                                    : EXTRACT_AMBIGUOUS;
    }
    cai_buf_putc(ret, o.letter);
    return EXTRACT_OK;
}
