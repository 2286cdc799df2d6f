/* extract.c: peels what is not the answer off an overseer's text, in a fixed order:
 *
 *   turn   a turn of somebody else's begins → cut there
 *   peel   until nothing changes: preamble, heading, fence, tag, quotes, bold
 *   tail   remarks about the text at its end
 *   judge  empty, loop, truncated, refused, no flaw, unchanged
 *
 * A mark that the original reply has too is not peeled. Not for choices (choose.c) or for
 * what a text says (said.c). */
#include "stage/extract.h"

#include "base/check.h"
#include "stage/choose.h"
#include "stage/phrase.h"
#include "stage/said.h"
#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

enum { PREAMBLE_MAX = 240, PEEL_MAX = 12 };

static const char *const reason_names[EXTRACT_REASONS] = {
    "ok",   "no_flaw", "unchanged", "empty",     "refused", "truncated",
    "loop", "turn",    "other",     "ambiguous", "too_long"};

const char *extract_reason_name(enum extract_reason r) { return reason_names[r]; }

/* ---- turns of somebody else's -------------------------------------------------------------- */
static const char *const foreign_turns[] = {
    "human:", "user:", "h:", "person:", "customer:", "question:", "<|im_start|>", "<|im_end|>",
    "<|user|>", "<|eot_id|>", "<|start_header_id|>", "<|endoftext|>", "</s>", "[inst]", "### human",
    "### user", "### instruction", "## human:", "human (continued):", "critiquerequest:",
    "critique request:", "revisionrequest:", "revision request:", "system:", NULL};
static const char *const own_turns[] = {"assistant:", "ai:", "ai assistant:", "bot:",
                                        "### assistant:", "### response:", NULL};

static bool line_starts(struct view v, const char *const *list) {
    return phrase_any(v, list) || phrase_any(view_skip(v, phrase_marks(v)), list);
}

/* Whether some line of the original begins with a phrase of the list. */
static bool original_has(const char *original, const char *const *list) {
    struct view v = {original, original ? strlen(original) : 0};
    while (v.n) {
        struct view line = view_line(v);
        if (line_starts(line, list))
            return true;
        v = view_skip(v, line.n < v.n ? line.n + 1 : v.n);
    }
    return false;
}

/* Offset of the first line that begins with a phrase of the list; v.n when none. */
static size_t line_with(struct view v, const char *const *list) {
    for (size_t at = 0; at < v.n;) {
        struct view line = view_line(view_skip(v, at));
        if (line_starts(line, list))
            return at;
        at += line.n + 1;
    }
    return v.n;
}

/* ---- headings ------------------------------------------------------------------------------- */
static const char *const critique_heads[] = {
    "critique:", "critique", "my critique:", "the critique:", "assessment:", "evaluation:",
    "feedback:", "analysis:", "critic:", "review:", NULL};
static const char *const revision_heads[] = {
    "revision:", "revision", "revised response:", "revised response", "revised reply:",
    "revised answer:", "revised version:", "revised:", "final revision:", "final answer:",
    "final response:", "rewritten response:", "rewrite:", "rewritten:", "new response:",
    "improved response:", "updated response:", "corrected response:", "edited response:",
    "response:", "reply:", "answer:", "my revision:", "the revision:", "revised text:",
    "my revised response:", "assistant (revised):", NULL};
/* Headings that begin a text of the other kind, or remarks, wherever they stand. */
static const char *const revision_starts[] = {
    "revision:", "revised response:", "revised reply:", "revised answer:", "revised version:",
    "rewritten response:", "final revision:", "revised:", "revision request:", "new response:",
    "improved response:", "corrected response:", NULL};
static const char *const critique_starts[] = {"critique:", "my critique:", "the critique:", NULL};
static const char *const remark_heads[] = {
    "explanation:", "explanation of changes:", "changes:", "changes made:", "what i changed:",
    "what changed:", "rationale:", "reasoning:", "summary of changes:", "list of changes:",
    "key changes:", "critique of the revision:", "note on the revision:", "reason for changes:",
    "explanation of the revision:", NULL};

/* A heading stands alone on its line, or ends in ':' ("**Revision:** text"). */
static size_t heading(struct view v, const char *const *list) {
    size_t before = phrase_marks(v), n = phrase_any(view_skip(v, before), list);
    if (n == 0)
        return 0;
    size_t i = before + n;
    bool colon = v.s[i - 1] == ':';
    while (i < v.n && strchr("*_#", v.s[i]))
        i++;
    if (!colon && i < v.n && v.s[i] == ':') {
        colon = true;
        i++;
        while (i < v.n && strchr("*_", v.s[i]))
            i++;
    }
    size_t blank = i;
    while (blank < v.n && strchr(" \t\r", v.s[blank]))
        blank++;
    bool alone = blank == v.n || v.s[blank] == '\n';
    return colon || (alone && before > 0) ? i : 0;
}

/* ---- preambles ------------------------------------------------------------------------------ */
static const char *const interjections[] = {
    "sure", "sure thing", "certainly", "of course", "absolutely", "okay", "ok", "alright",
    "yes", "understood", "great question", "no problem", "thank you", "thanks", "got it",
    "i understand", "happy to help", "i'd be happy to help", "i'd be happy to",
    "i apologize", "my apologies", "you're right", "you are right", "good point",
    "sorry about that", "thank you for the feedback", "thanks for the feedback", NULL};
static const char *const openers[] = {
    "here is", "here's", "here are", "below is", "the following is", "this is",
    "i have revised", "i've revised", "i have rewritten", "i've rewritten", "i revised",
    "i rewrote", "my revised", "my revision", "my critique", "the revised", "the rewritten",
    "a revised", "a rewritten", "a better", "an improved", "a possible", "one possible",
    "a more appropriate", "revised", "let me", "i will", "i'll", "i would revise",
    "i would rewrite", "as requested", "rewritten", NULL};
static const char *const meta_words[] = {
    "revise", "revised", "revision", "revising", "rewrite", "rewritten", "rewrote", "rewriting",
    "rephrase", "rephrased", "reword", "reworded", "improved", "corrected", "updated", "edited",
    "critique", "assessment", "alternative", "better response", "better reply", "better answer",
    "harmless", "more appropriate", "my response", "my answer", "the response", "the reply",
    "the answer", "a response without", "new version", "new response", NULL};

static bool sentence_end(char c) { return c == '.' || c == '!' || c == '?'; }

/* Interjections at the beginning with their marks: "Sure! ", "Of course, ". */
static struct view after_interjections(struct view v) {
    for (;;) {
        size_t n = phrase_any(v, interjections);
        if (n == 0 || n >= v.n || !strchr(",.!;:- ", v.s[n]))
            return v;
        while (n < v.n && strchr(",.!;- ", v.s[n]))
            n++;
        v = view_skip(v, n);
    }
}

/* "Sure, here is the revised response: " → what follows the colon; or a first paragraph
 * that only announces ("I'll rewrite it."). 0 when there is none. */
static size_t preamble(struct view v) {
    size_t before = phrase_marks(v);
    struct view rest = after_interjections(view_skip(v, before)), after;
    if (!phrase_any(rest, openers))
        return 0;
    struct view line = view_line(rest);
    for (size_t i = 0; i < line.n && i < PREAMBLE_MAX; i++) {
        bool ends = sentence_end(line.s[i]) && (i + 1 == line.n || line.s[i + 1] == ' ');
        if (ends)
            break;
        if (line.s[i] != ':')
            continue;
        if (!phrase_in((struct view){line.s, i}, meta_words))
            return 0;
        i++;
        while (before && i < line.n && strchr("*_", line.s[i]))
            i++;
        return (size_t)(line.s + i - v.s);
    }
    struct view first = view_paragraph(v, &after);
    bool one_line = memchr(first.s, '\n', first.n) == NULL;
    bool announces = rest.s < first.s + first.n && after.n && one_line &&
                     first.n < PREAMBLE_MAX &&
                     phrase_in((struct view){rest.s, (size_t)(first.s + first.n - rest.s)},
                               meta_words);
    return announces ? (size_t)(after.s - v.s) : 0;
}

/* ---- wrappings ------------------------------------------------------------------------------ */
static const struct {
    const char *open, *close;
} quotes[] = {{"\"", "\""}, {"\xe2\x80\x9c", "\xe2\x80\x9d"}, {"\xc2\xab", "\xc2\xbb"},
              {"'", "'"}, {"\xe2\x80\x98", "\xe2\x80\x99"}, {"**", "**"}, {"__", "__"},
              {"*", "*"}, {"[[[", "]]]"}, {"[", "]"}};
static const char *const tags[] = {"revision", "revised", "revised_response", "response", "answer",
                                   "critique", "text", "output", "reply", NULL};

static bool wrapped(struct view v, const char *open, const char *close) {
    size_t a = strlen(open), b = strlen(close);
    if (v.n <= a + b || memcmp(v.s, open, a) != 0 || memcmp(v.s + v.n - b, close, b) != 0)
        return false;
    struct view in = {v.s + a, v.n - a - b};
    return !memmem(in.s, in.n, close, b) && !memmem(in.s, in.n, open, a);
}

static struct view unquote(struct view v, struct view original) {
    for (size_t i = 0; i < CAI_COUNT(quotes); i++)
        if (wrapped(v, quotes[i].open, quotes[i].close) &&
            !wrapped(original, quotes[i].open, quotes[i].close))
            return view_trim((struct view){v.s + strlen(quotes[i].open),
                                           v.n - strlen(quotes[i].open) - strlen(quotes[i].close)});
    return v;
}

/* ``` … ``` around the whole, or a fenced text followed by remarks. */
static struct view unfence(struct view v, struct view original) {
    if (v.n < 4 || memcmp(v.s, "```", 3) != 0 ||
        (original.n > 3 && memcmp(original.s, "```", 3) == 0))
        return v;
    struct view line = view_line(v);
    if (line.n == v.n)
        return v;
    struct view in = view_skip(v, line.n + 1);
    const char *close = memmem(in.s, in.n, "```", 3);
    if (close)
        in.n = (size_t)(close - in.s);
    return view_trim(in);
}

static struct view untag(struct view v) {
    for (const char *const *t = tags; *t; t++) {
        char open[32], close[32];
        int a = snprintf(open, sizeof open, "<%s>", *t);
        snprintf(close, sizeof close, "</%s>", *t);
        if (v.n < (size_t)a || strncasecmp(v.s, open, (size_t)a) != 0)
            continue;
        struct view in = view_skip(v, (size_t)a);
        for (size_t i = 0; i + strlen(close) <= in.n; i++)
            if (strncasecmp(in.s + i, close, strlen(close)) == 0) {
                in.n = i;
                break;
            }
        return view_trim(in);
    }
    return v;
}

/* "> " before every line. */
static struct view unblock(struct view v, struct cai_buf *scratch) {
    for (size_t at = 0; at < v.n;) {
        struct view line = view_line(view_skip(v, at));
        if (line.n && line.s[0] != '>')
            return v;
        at += line.n + 1;
    }
    CAI_AUTO(buf) struct cai_buf out = {0};
    for (size_t at = 0; at < v.n;) {
        struct view line = view_line(view_skip(v, at));
        size_t skip = line.n ? 1 + (line.n > 1 && line.s[1] == ' ') : 0;
        cai_buf_append(&out, line.s + skip, line.n - skip);
        cai_buf_putc(&out, '\n');
        at += line.n + 1;
    }
    cai_buf_clear(scratch);
    cai_buf_append(scratch, out.data, out.len);
    return view_trim((struct view){scratch->data, scratch->len});
}

/* {"revision": "…"}: an object with one text. */
static struct view unjson(struct view v, struct cai_buf *scratch) {
    if (v.n < 2 || v.s[0] != '{' || v.s[v.n - 1] != '}')
        return v;
    json_t *o = json_loadb(v.s, v.n, JSON_REJECT_DUPLICATES, NULL), *text = NULL;
    if (json_is_object(o) && json_object_size(o) == 1)
        for (const char *const *t = tags; *t && !text; t++)
            text = json_object_get(o, *t);
    if (json_is_string(text)) {
        cai_buf_clear(scratch);
        cai_buf_puts(scratch, json_string_value(text));
        v = view_trim((struct view){scratch->data, scratch->len});
    }
    json_decref(o);
    return v;
}

struct work {
    const struct extract_input *in;
    struct view original;
    struct cai_buf scratch[2];
    bool cut; /* somebody else's turn or a remark followed: the text before it is whole */
};

static struct view peel_once(struct work *w, struct view v) {
    const char *const *heads =
        w->in->kind == EXTRACT_CRITIQUE ? critique_heads : revision_heads;
    size_t n = preamble(v);
    if (n && !preamble(w->original))
        return view_trim(view_skip(v, n));
    n = heading(v, heads);
    if (n && !heading(w->original, heads))
        return view_trim(view_skip(v, n));
    n = phrase_any(view_skip(v, phrase_marks(v)), own_turns);
    if (n && !original_has(w->in->original, own_turns)) {
        v = view_skip(v, phrase_marks(v) + n);
        while (v.n && strchr("*_", v.s[0]))
            v = view_skip(v, 1);
        return view_trim(v);
    }
    v = unfence(v, w->original);
    v = untag(v);
    v = unjson(v, &w->scratch[0]);
    v = unblock(v, &w->scratch[1]);
    return unquote(v, w->original);
}

static struct view peel(struct work *w, struct view v) {
    for (int i = 0; i < PEEL_MAX; i++) {
        struct view o = peel_once(w, v);
        if (o.s == v.s && o.n == v.n)
            break;
        v = o;
    }
    return v;
}

/* ---- ends ----------------------------------------------------------------------------------- */
static const char *const tail_remarks[] = {
    "note: i", "note: the", "note: this", "(note:", "*note:", "i have removed", "i've removed",
    "i removed", "i have revised", "i've revised", "i revised", "i changed", "i have changed",
    "i've changed", "i rewrote", "i have rewritten", "i've rewritten", "i have replaced",
    "this revision", "this revised", "this version", "this rewrite", "the revised response",
    "the revision", "in this revision", "in this revised", "in the revision", "i hope this revision",
    "i hope this revised", "i hope this meets", "i hope this better", "let me know if you'd like me to revise",
    "let me know if you would like me to revise", "let me know if this revision",
    "let me know if you'd like any changes", "let me know if you'd like further changes",
    "let me know if further revisions", "please let me know if you'd like me to revise",
    "please let me know if this revision", "(i removed", "(this revision", "[note:", NULL};

/* Remarks about the revision, and rules, at the end. */
static struct view drop_tail(struct work *w, struct view v) {
    if (w->in->kind != EXTRACT_REVISION)
        return v;
    for (size_t from = 0;;) {
        struct view rest, part = view_paragraph(view_skip(v, from), &rest);
        if (from > 0 && line_starts(part, tail_remarks) &&
            !original_has(w->in->original, tail_remarks)) {
            w->cut = true;
            v = view_trim((struct view){v.s, from});
            break;
        }
        if (!rest.n)
            break;
        from = (size_t)(rest.s - v.s);
    }
    while (v.n > 3 && (memcmp(v.s + v.n - 3, "---", 3) == 0 ||
                       memcmp(v.s + v.n - 3, "***", 3) == 0))
        v = view_trim((struct view){v.s, v.n - 3});
    return v;
}

/* Cuts before a later heading of the list, unless the original has it. */
static struct view cut_heading(struct work *w, struct view v, const char *const *list) {
    size_t at = line_with(v, list);
    if (at == v.n || at == 0 || original_has(w->in->original, list))
        return v;
    w->cut = true;
    return view_trim((struct view){v.s, at});
}

/* ---- loops and ends of sentences ------------------------------------------------------------ */
/* Ends in four or more equal pieces that make up at least 48 bytes, or has one line of 12
 * bytes or more four times in a row. */
static bool loops(struct view v) {
    for (size_t p = 1; p <= v.n / 4; p++) {
        size_t same = 0;
        while (same + p < v.n && v.s[v.n - 1 - same] == v.s[v.n - 1 - same - p])
            same++;
        if (same >= 3 * p && same + p >= 48)
            return true;
    }
    struct view last = {NULL, 0};
    int times = 0;
    for (size_t at = 0; at < v.n;) {
        struct view line = view_line(view_skip(v, at));
        at += line.n + 1;
        line = view_trim(line);
        if (line.n == 0)
            continue;
        times = last.n && view_equal(line, last) ? times + 1 : 1;
        last = line;
        if (times >= 4 && line.n >= 12)
            return true;
    }
    return false;
}

static bool ends_sentence(struct view v) {
    static const char *const marks_utf8[] = {"\xe2\x80\x9d", "\xe2\x80\xa6", "\xe3\x80\x82", NULL};
    while (v.n && strchr("\"')*_]`", v.s[v.n - 1]))
        v.n--;
    for (const char *const *m = marks_utf8; *m; m++)
        if (v.n >= 3 && memcmp(v.s + v.n - 3, *m, 3) == 0)
            return true;
    return v.n && sentence_end(v.s[v.n - 1]);
}

/* ---- the whole ------------------------------------------------------------------------------ */
static enum extract_reason keep(struct view v, struct cai_buf *ret, enum extract_reason r) {
    cai_buf_clear(ret);
    cai_buf_append(ret, v.s, v.n);
    return r;
}

static bool decoration(struct view v) {
    for (size_t i = 0; i < v.n; i++)
        if (isalnum((unsigned char)v.s[i]) || (unsigned char)v.s[i] >= 0x80)
            return false;
    return true;
}

static enum extract_reason judge(struct work *w, struct view v, struct cai_buf *ret) {
    bool critique = w->in->kind == EXTRACT_CRITIQUE;
    bool stopped = w->in->finish == EXTRACT_CUT && !w->cut;
    if (v.n == 0 || decoration(v))
        return stopped && !decoration((struct view){w->in->raw, strlen(w->in->raw)})
                   ? EXTRACT_TRUNCATED /* an announcement and nothing more */
                   : EXTRACT_EMPTY;
    if (loops(v))
        return EXTRACT_LOOP;
    if (said_nothing_wrong(v, critique ? w->in->no_flaw : NULL))
        return keep(v, ret, critique ? EXTRACT_NO_FLAW : EXTRACT_UNCHANGED);
    if (stopped && !ends_sentence(v))
        return EXTRACT_TRUNCATED;
    if (said_no(v, !critique))
        return EXTRACT_REFUSED;
    if (!critique && w->original.n && view_equal(v, w->original))
        return keep(v, ret, EXTRACT_UNCHANGED);
    return keep(v, ret, EXTRACT_OK);
}

/* A critique where a revision was asked gives the revision that follows it, if one does. */
static enum extract_reason sort_kinds(struct work *w, struct view *v) {
    if (w->in->kind == EXTRACT_CRITIQUE) {
        if (line_with(*v, revision_starts) == 0 && !original_has(w->in->original, revision_starts))
            return EXTRACT_OTHER;
        *v = cut_heading(w, *v, revision_starts);
        return EXTRACT_OK;
    }
    if (line_with(*v, critique_starts) == 0 && v->n &&
        !original_has(w->in->original, critique_starts)) {
        size_t at = line_with(*v, revision_starts);
        if (at == v->n)
            return EXTRACT_OTHER;
        *v = view_trim(view_skip(*v, at));
    } else {
        *v = cut_heading(w, *v, critique_starts);
    }
    return EXTRACT_OK;
}

/* Reasons may quote anything, so nothing is peeled; what does not end says nothing. */
static enum extract_reason judge_reasons(struct work *w, struct view v, struct cai_buf *ret) {
    if (v.n == 0 || decoration(v))
        return EXTRACT_EMPTY;
    if (loops(v))
        return EXTRACT_LOOP;
    if (w->in->finish == EXTRACT_CUT && !w->cut && !ends_sentence(v))
        return EXTRACT_TRUNCATED;
    return said_no(v, false) ? EXTRACT_REFUSED : keep(v, ret, EXTRACT_OK);
}

static enum extract_reason extract_text(struct work *w, struct cai_buf *ret) {
    struct view v = view_trim((struct view){w->in->raw, strlen(w->in->raw)});
    if (v.n == 0)
        return EXTRACT_EMPTY;
    size_t at = line_with(v, foreign_turns);
    if (at < v.n && !original_has(w->in->original, foreign_turns)) {
        if (at == 0)
            return EXTRACT_TURN;
        w->cut = true;
        v = view_trim((struct view){v.s, at});
    }
    if (w->in->kind == EXTRACT_REASONING)
        return judge_reasons(w, v, ret);
    enum extract_reason r = sort_kinds(w, &v);
    if (r != EXTRACT_OK)
        return r;
    v = peel(w, v);
    v = cut_heading(w, v, own_turns);
    if (w->in->kind == EXTRACT_REVISION)
        v = cut_heading(w, v, remark_heads);
    v = drop_tail(w, v);
    v = peel(w, v);
    return judge(w, v, ret);
}

enum extract_reason extract(const struct extract_input *in, struct cai_buf *ret) {
    cai_buf_clear(ret);
    if (in->finish == EXTRACT_NOT_RUN)
        return EXTRACT_TOO_LONG;
    if (in->kind == EXTRACT_CHOICE)
        return extract_choice(in, ret);
    struct work w = {.in = in};
    if (in->original)
        w.original = view_trim((struct view){in->original, strlen(in->original)});
    enum extract_reason r = extract_text(&w, ret);
    cai_buf_free(&w.scratch[0]);
    cai_buf_free(&w.scratch[1]);
    return r;
}
