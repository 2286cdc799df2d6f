/* split.c: the patterns of GPT-2, Llama 3 (and cl100k), Qwen, o200k and DeepSeek as code: one
 * look at the next character's class says which branch of the pattern matches. Each comment
 * quotes the branch. tests/unit/hf/split.c holds them against Oniguruma. Not for patterns in
 * general (regex.c). */
#include "hf/split.h"
#include "hf/charclass.h"
#include "base/check.h"
#include <string.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WHITESPACE "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS(letter, digits, other)                                                               \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?" letter "+|" digits "| ?" other "+[\\r\\n]*|" WHITESPACE
#define UPPERS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PREFIX "[^\\r\\n\\p{L}\\p{N}]?"

enum {
    UPPER_LIKE = HF_UPPER | HF_OTHER_LETTER | HF_MARK,
    LOWER_LIKE = HF_LOWER | HF_OTHER_LETTER | HF_MARK,
};

typedef const char *(*match_function)(const struct hf_split *s, const char *p);

struct hf_splitter {
    const char *pattern;
    match_function match; /* the end of a match that begins at p, or NULL */
    int digits;           /* at most so many in one match */
    unsigned letters;     /* classes that make up a word */
};

/* ---- characters ------------------------------------------------------------------- */

/* The character at p, and where the next one begins. */
static inline uint32_t character(const char *p, const char **ret_next) {
    const unsigned char *u = (const unsigned char *)p;
    uint32_t c = u[0];
    if (c < 0x80) {
        *ret_next = p + 1;
    } else if (c < 0xE0) {
        c = (c & 0x1F) << 6 | (u[1] & 0x3F);
        *ret_next = p + 2;
    } else if (c < 0xF0) {
        c = (c & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (u[2] & 0x3F);
        *ret_next = p + 3;
    } else {
        c = (c & 0x07) << 18 | (uint32_t)(u[1] & 0x3F) << 12 | (uint32_t)(u[2] & 0x3F) << 6 |
            (u[3] & 0x3F);
        *ret_next = p + 4;
    }
    return c;
}

/* The classes of the character at p < end, and where the next one begins. */
static inline unsigned class_at(const struct hf_split *s, const char *p, const char **ret_next) {
    return s->classes[character(p, ret_next)];
}

/* Past the characters from p on that have one of `classes`. */
static inline const char *run(const struct hf_split *s, const char *p, unsigned classes) {
    const char *next;
    while (p < s->end && class_at(s, p, &next) & classes)
        p = next;
    return p;
}

/* Past the characters from p on that have none of `classes`. */
static inline const char *run_without(const struct hf_split *s, const char *p, unsigned classes) {
    const char *next;
    while (p < s->end && !(class_at(s, p, &next) & classes))
        p = next;
    return p;
}

static inline bool is(const struct hf_split *s, const char *p, unsigned classes) {
    const char *next;
    return p < s->end && (class_at(s, p, &next) & classes) != 0;
}

/* ---- parts that patterns share ------------------------------------------------------ */

/* (?i:'s|'t|'re|'ve|'m|'ll|'d), where p holds the apostrophe; `fold`: without it small
 * letters only. U+017F is a long s, the same letter to a pattern that ignores case. */
static const char *contraction(const struct hf_split *s, const char *p, bool fold) {
    ptrdiff_t left = s->end - p;
    if (left < 2)
        return NULL;
    char a = p[1], b = left > 2 ? p[2] : '\0';
    if (fold && left > 2 && a == '\xC5' && b == '\xBF')
        return p + 3;
    if (fold) {
        a = a >= 'A' && a <= 'Z' ? (char)(a | 0x20) : a;
        b = b >= 'A' && b <= 'Z' ? (char)(b | 0x20) : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return p + 2;
    bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
    return two ? p + 3 : NULL;
}

/* \s+(?!\S)|\s+, after `next`, the character at p, which is a space: a run of spaces leaves
 * its last one to what follows. */
static const char *spaces(const struct hf_split *s, const char *next) {
    const char *last = next, *end = next, *after;
    while (end < s->end && class_at(s, end, &after) & HF_SPACE) {
        last = end;
        end = after;
    }
    return end == s->end || end == next ? end : last;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+: up to the last newline of the run if it has one. */
static const char *lines_or_spaces(const struct hf_split *s, const char *p) {
    const char *end = p, *last = p, *newline = NULL, *after;
    for (unsigned c; end < s->end && (c = class_at(s, end, &after)) & HF_SPACE; end = after) {
        last = end;
        if (c & HF_NEWLINE)
            newline = after;
    }
    if (newline)
        return newline;
    return end == s->end || last == p ? end : last;
}

static const char *digits(const struct hf_split *s, const char *p, int most) {
    const char *next;
    for (int i = 0; i < most && p < s->end && class_at(s, p, &next) & HF_NUMBER; i++)
        p = next;
    return p;
}

/* ---- the patterns ------------------------------------------------------------------- */

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const char *match_gpt2(const struct hf_split *s, const char *p) {
    const char *next, *end;
    unsigned c = class_at(s, p, &next);
    if (c & HF_LETTER)
        return run(s, next, HF_LETTER);
    if (*p == '\'' && (end = contraction(s, p, false)))
        return end;
    if (c & HF_SPACE) {
        if (*p != ' ' || next == s->end || is(s, next, HF_SPACE))
            return spaces(s, next);
        c = class_at(s, next, &next);
    }
    if (c & HF_LETTER)
        return run(s, next, HF_LETTER);
    if (c & HF_NUMBER)
        return run(s, next, HF_NUMBER);
    return run_without(s, next, HF_SPACE | HF_LETTER | HF_NUMBER);
}

/* The branches that Llama 3, cl100k, Qwen and o200k end with; `also` is a further byte that
 * may close a run of signs:
 * \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static const char *match_rest(const struct hf_split *s, const char *p, char also) {
    unsigned word = HF_SPACE | HF_NUMBER | s->splitter->letters;
    const char *next, *signs = p;
    unsigned c = class_at(s, p, &next);
    if (c & HF_NUMBER)
        return digits(s, p, s->splitter->digits);
    if (*p == ' ' && next < s->end)
        signs = next;
    if (is(s, signs, word)) /* then p holds a space: letters and numbers are matched before */
        return lines_or_spaces(s, p);
    p = run_without(s, signs, word);
    while (p < s->end && (*p == '\r' || *p == '\n' || (also && *p == also)))
        p++;
    return p;
}

/* Llama 3, cl100k, Qwen:
 * (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|… */
static const char *match_words(const struct hf_split *s, const char *p) {
    unsigned letters = s->splitter->letters;
    const char *next, *end;
    unsigned c = class_at(s, p, &next);
    if (c & HF_LETTER)
        return run(s, next, letters);
    if (*p == '\'' && (end = contraction(s, p, true)))
        return end;
    if (!(c & (HF_NEWLINE | HF_NUMBER)) && is(s, next, letters))
        return run(s, next, letters);
    if (c & letters) /* a mark that stands alone, where marks are letters */
        return next;
    return match_rest(s, p, '\0');
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at p, or NULL. */
static const char *capitalised(const struct hf_split *s, const char *p) {
    const char *end = p, *next, *after_lower = NULL; /* past the last that may be lower too */
    unsigned c = 0;
    for (; end < s->end && (c = class_at(s, end, &next)) & UPPER_LIKE; end = next)
        if (c & LOWER_LIKE)
            after_lower = next;
    if (is(s, end, LOWER_LIKE))
        return run(s, end, LOWER_LIKE);
    return after_lower;
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]* at p, or NULL. */
static const char *upper_case(const struct hf_split *s, const char *p) {
    const char *end = run(s, p, UPPER_LIKE);
    return end == p ? NULL : run(s, end, LOWER_LIKE);
}

/* o200k: the two kinds of words, each after an optional sign, with a contraction at its end. */
static const char *match_o200k(const struct hf_split *s, const char *p) {
    const char *next, *end = NULL;
    unsigned c = class_at(s, p, &next);
    bool prefix = !(c & (HF_NEWLINE | HF_LETTER | HF_NUMBER));
    if (prefix)
        end = capitalised(s, next);
    if (!end && c & (UPPER_LIKE | LOWER_LIKE))
        end = capitalised(s, p);
    if (!end && prefix)
        end = upper_case(s, next);
    if (!end && c & UPPER_LIKE)
        end = upper_case(s, p);
    if (!end)
        return match_rest(s, p, '/');
    const char *more = end < s->end && *end == '\'' ? contraction(s, end, true) : NULL;
    return more ? more : end;
}

/* DeepSeek-V3's third step:
 * [!-/:-~ but letters][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ */
static const char *match_deepseek(const struct hf_split *s, const char *p) {
    const unsigned signs = HF_PUNCT | HF_SYMBOL, word = HF_LETTER | HF_MARK;
    const char *next;
    unsigned c = class_at(s, p, &next);
    if ((unsigned char)*p < 0x80 && c & signs) {
        const char *end = next;
        while (end < s->end && ((*end >= 'a' && *end <= 'z') || (*end >= 'A' && *end <= 'Z')))
            end++;
        if (end > next)
            return end;
    }
    if (!(c & (HF_NEWLINE | HF_LETTER | signs)) && is(s, next, word))
        return run(s, next, word);
    if (c & word)
        return run(s, next, word);
    if (c & signs || (*p == ' ' && is(s, next, signs))) {
        p = run(s, next, signs);
        while (p < s->end && (*p == '\r' || *p == '\n'))
            p++;
        return p;
    }
    return c & HF_SPACE ? lines_or_spaces(s, p) : NULL;
}

/* \p{N}{1,3} */
static const char *match_digits(const struct hf_split *s, const char *p) {
    const char *end = digits(s, p, s->splitter->digits);
    return end > p ? end : NULL;
}

/* [\r\n] */
static const char *match_newline(const struct hf_split *s, const char *p) {
    (void)s;
    return *p == '\r' || *p == '\n' ? p + 1 : NULL;
}

/* \s?\p{L}+, or with other classes */
static const char *match_after_space(const struct hf_split *s, const char *p) {
    unsigned classes = s->splitter->letters;
    const char *next;
    unsigned c = class_at(s, p, &next);
    return c & classes || (c & HF_SPACE && is(s, next, classes)) ? run(s, next, classes) : NULL;
}

/* \s+$: a run of spaces at the end of the text, or up to its last newline */
static const char *match_last_spaces(const struct hf_split *s, const char *p) {
    const char *end = p, *newline = NULL, *next;
    for (; end < s->end && class_at(s, end, &next) & HF_SPACE; end = next)
        if (*end == '\n' && end > p)
            newline = end;
    return end > p && end == s->end ? end : newline;
}

struct span {
    uint32_t first, last;
};

/* Past the characters from p on that lie in one of the spans; NULL when there is none. */
static inline const char *run_spans(const struct hf_split *s, const char *p,
                                    const struct span *spans, size_t n) {
    const char *begin = p, *next;
    for (; p < s->end; p = next) {
        uint32_t c = character(p, &next);
        bool in = false;
        for (size_t i = 0; i < n; i++)
            in |= c >= spans[i].first && c <= spans[i].last;
        if (!in)
            break;
    }
    return p > begin ? p : NULL;
}

/* [一-龥぀-ゟ゠-ヿ]+ */
static const char *match_han_kana(const struct hf_split *s, const char *p) {
    static const struct span spans[] = {{0x4E00, 0x9FA5}, {0x3040, 0x30FF}};
    return run_spans(s, p, spans, CAI_COUNT(spans));
}

/* [一-龥ࠀ-一가-퟿]+ */
static const char *match_east_asian(const struct hf_split *s, const char *p) {
    static const struct span spans[] = {{0x0800, 0x9FA5}, {0xAC00, 0xD7FF}};
    return run_spans(s, p, spans, CAI_COUNT(spans));
}

/* \s?[!-/:-~！-／：-～‘-‟　-。]+, where U+3000 is of both classes */
static const char *match_wide_signs(const struct hf_split *s, const char *p) {
    static const struct span spans[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0xFF01, 0xFF0F},
                                        {0xFF1A, 0xFF5E}, {0x2018, 0x201F}, {0x3000, 0x3002}};
    const char *next, *end = NULL;
    if (class_at(s, p, &next) & HF_SPACE)
        end = run_spans(s, next, spans, CAI_COUNT(spans));
    return end ? end : run_spans(s, p, spans, CAI_COUNT(spans));
}

static const struct hf_splitter splitters[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     match_gpt2, 0, HF_LETTER},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", match_gpt2,
     0, HF_LETTER},
    {WORDS("\\p{L}", "\\p{N}{1,3}", "[^\\s\\p{L}\\p{N}]"), match_words, 3, HF_LETTER},
    {WORDS("\\p{L}", "\\p{N}", "[^\\s\\p{L}\\p{N}]"), match_words, 1, HF_LETTER},
    {WORDS("[\\p{L}\\p{M}]", "\\p{N}", "[^\\s\\p{L}\\p{M}\\p{N}]"), match_words, 1,
     HF_LETTER | HF_MARK},
    {PREFIX UPPERS "*" LOWERS "+" CONTRACTION "?|" PREFIX UPPERS "+" LOWERS "*" CONTRACTION
                   "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" WHITESPACE,
     match_o200k, 3, HF_LETTER},
    {"\\p{N}{1,3}", match_digits, 3, 0},
    {"\\p{N}", match_digits, 1, 0},
    {"[一-龥぀-ゟ゠-ヿ]+", match_han_kana, 0, 0},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" WHITESPACE,
     match_deepseek, 0, 0},
    /* DeepSeek V2 and Coder, steps of each */
    {"[\\r\\n]", match_newline, 0, 0},
    {"\\s?\\p{L}+", match_after_space, 0, HF_LETTER},
    {"\\s?\\p{P}+", match_after_space, 0, HF_PUNCT},
    {"\\s?[!-/:-~！-／：-～‘-‟　-。]+", match_wide_signs, 0, 0},
    {"\\s+$", match_last_spaces, 0, 0},
    {"[一-龥ࠀ-一가-퟿]+", match_east_asian, 0, 0},
};

const struct hf_splitter *hf_splitter_find(const char *pattern, size_t len) {
    for (size_t i = 0; i < CAI_COUNT(splitters); i++)
        if (strlen(splitters[i].pattern) == len && memcmp(splitters[i].pattern, pattern, len) == 0)
            return &splitters[i];
    return NULL;
}

const char *hf_splitter_pattern(size_t i) {
    return i < CAI_COUNT(splitters) ? splitters[i].pattern : NULL;
}

struct hf_split hf_split_begin(const struct hf_splitter *s, const char *text, size_t len) {
    return (struct hf_split){s, hf_classes(), text, text + len, text};
}

bool hf_split_next(struct hf_split *s, size_t *ret_begin, size_t *ret_end) {
    while (s->at < s->end) {
        const char *begin = s->at, *end = s->splitter->match(s, begin);
        if (end) {
            s->at = end;
            *ret_begin = (size_t)(begin - s->text);
            *ret_end = (size_t)(end - s->text);
            return true;
        }
        class_at(s, begin, &s->at); /* no match begins here */
    }
    return false;
}
