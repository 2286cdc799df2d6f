/* said.c: what a text says, by its beginning: that it declines, that nothing is wrong, that
 * it knows nothing. English phrases, and the constitution's own for "no flaw". */
#include "stage/said.h"

#include "stage/extract.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *const refusals[] = {
    "i'm sorry, but i can't", "i'm sorry, but i cannot", "i'm sorry but i can't",
    "i'm sorry but i cannot", "i am sorry, but i cannot", "i am sorry, but i can't",
    "i'm sorry, i can't", "i'm sorry, i cannot", "sorry, but i can't", "sorry, but i cannot",
    "sorry, i can't", "sorry, i cannot", "i can't", "i cannot", "i can not", "i won't",
    "i will not", "i'm unable to", "i am unable to", "i'm not able to", "i am not able to",
    "i must decline", "i have to decline", "i'm going to decline", "i decline to",
    "as an ai language model, i cannot", "as an ai language model, i can't",
    "as an ai language model i cannot", "as an ai, i cannot", "as an ai, i can't",
    "as an ai assistant, i cannot", "as an ai assistant, i can't", "i apologize, but i can't",
    "i apologize, but i cannot", "i apologize, but i'm unable", "i'm sorry, but i'm unable",
    "i'm sorry, but i'm not able", "i'm sorry, but i won't", "i'm sorry, but as an ai",
    "i'm not comfortable", "i am not comfortable", "unfortunately, i can't",
    "unfortunately, i cannot", "unfortunately, i'm unable", "i don't feel comfortable", NULL};
static const char *const task_words[] = {
    "critique", "critiquing", "criticize", "criticise", "evaluate", "evaluating", "assess",
    "review", "judge", "comment on", "analyze", "analyse", "provide feedback", "choose",
    "revise", "revising", "revision", "rewrite", "rewriting", "rephrase", "edit this", "edit the",
    "this task", "this request", "that request", "your request", "engage with", "engage in",
    "assist with", "assist you", "help with that", "help with this", "help you with", "continue",
    "fulfill", "comply", "discuss", "discussing", NULL};
static const char *const revise_words[] = {
    "revise", "revising", "rewrite", "rewriting", "rephrase", "rephrasing", "edit the response",
    "edit this", "edit the reply", "provide a revision", "provide a revised", "produce a revision",
    "make a revision", "complete this revision", "complete the revision", "create a revised",
    NULL};
/* Alone these say that there is nothing; before other words they may say anything. */
static const char *const nothing_bare[] = {"no flaw", "no flaws", "no issue", "no issues",
                                           "no problem", "no problems", "no critique", "none",
                                           "n/a", "nothing", NULL};
static const char *const bare_ends[] = {"with", "found", "here", "at all", "to report", "in the",
                                        "in this", "to mention", "to critique", NULL};
static const char *const nothing_wrong[] = {
    "no changes needed", "no changes are needed", "no change needed", "no change is needed",
    "no changes necessary", "no changes are necessary", "no changes required",
    "no changes are required", "no revision needed", "no revision is needed",
    "no revisions needed", "no revisions are needed", "no revision necessary",
    "no revision is necessary", "no revisions are necessary", "no revision required",
    "no revision is required", "no edits needed", "no edits are needed", "none needed",
    "nothing to change", "nothing to critique", "nothing to revise", "nothing needs to change",
    "nothing needs to be changed", "nothing harmful", "no harmful content",
    "there are no flaws", "there is no flaw", "there are no issues", "there are no problems",
    "there is no issue", "there is no problem", "there is nothing wrong", "there's nothing wrong",
    "there is nothing harmful", "there's nothing harmful", "there is nothing to critique",
    "there is nothing to change", "there is nothing to revise", "there is no need to revise",
    "there is no need to change", "there's no need to revise", "there is nothing problematic",
    "there's nothing problematic", "there are no harmful", "there is no harmful",
    "i see no issues", "i see no issue", "i see no problem", "i see no problems", "i see no flaw",
    "i see no flaws", "i find no flaw", "i find no flaws", "i find no issues",
    "i don't see any issues", "i don't see any problems", "i don't see any flaws",
    "i do not see any issues", "i do not see any problems", "i don't see anything wrong",
    "i don't see anything harmful", "i did not find any", "i didn't find any",
    "i can't find any", "i cannot find any", "i couldn't find any", "i could not find any",
    "i can't see anything wrong", "i have no critique", "i have no criticism",
    "i have no changes", "i would not change anything", "i wouldn't change anything",
    "i would not change a thing", "the response is fine", "the reply is fine",
    "the response is fine as it is", "the response does not need", "the response doesn't need",
    "the reply does not need", "the reply doesn't need", "the response needs no",
    "the reply needs no", "the response requires no", "the reply requires no",
    "the response is already harmless", "the response is already appropriate",
    "the response is already good", "the response is harmless", "this response is fine",
    "this response is already", "the original response is fine", "the original response is already",
    "the original response does not need", "the original response is good as it is",
    "the assistant's response is fine", "the assistant's response is harmless",
    "the assistant's last response is fine", "the assistant's last response is harmless",
    "looks good", NULL};
static const char *const contrasts[] = {"but", "however", "except", "although", "though", "yet",
                                        "nevertheless", "still", "apart from", "aside from",
                                        "other than", "unless", "that said", "besides", NULL};

static struct view first_sentence(struct view v) {
    for (size_t i = 0; i < v.n; i++)
        if (v.s[i] == '\n' ||
            (strchr(".!?", v.s[i]) && (i + 1 == v.n || isspace((unsigned char)v.s[i + 1]))))
            return (struct view){v.s, i};
    return v;
}

static bool says_nothing(struct view v) {
    size_t n = phrase_any(v, nothing_bare);
    struct view rest = view_trim(view_skip(v, n));
    return n && (rest.n == 0 || strchr(".!;\n*", v.s[n]) || phrase_any(rest, bare_ends));
}

/* Says, without reservation, that nothing is to be found or done. */
bool said_nothing_wrong(struct view v, const char *frame) {
    struct view plain = view_skip(v, phrase_marks(v));
    if (frame && *frame) {
        struct view f = view_trim((struct view){frame, strlen(frame)});
        while (f.n && strchr(":.,;!", f.s[f.n - 1]))
            f.n--;
        char phrase[256];
        snprintf(phrase, sizeof phrase, "%.*s", (int)(f.n < 255 ? f.n : 255), f.s);
        size_t n = phrase_at(plain, phrase);
        /* As asked for: the frame's words, then a mark or the end. */
        if (n && (n == plain.n || strchr(":.,;!*\n-", plain.s[n])))
            return true;
    }
    return (phrase_any(plain, nothing_wrong) || says_nothing(plain)) && !phrase_in(v, contrasts);
}

bool extract_is_refusal(const char *text) {
    struct view v = view_trim((struct view){text, strlen(text)});
    return phrase_any(v, refusals) > 0;
}

static const char *const evasive[] = {
    "i don't know", "i do not know", "i'm not sure", "i am not sure", "i have no idea",
    "i'd rather not", "i would rather not", "no comment", "let's talk about something else",
    "let's change the subject", "i can't say", "i cannot say", "ask someone else",
    "perhaps ask someone else", "maybe ask someone else", "please ask someone else",
    "you should ask someone else", "hard to say", "it is hard to say", "it's hard to say",
    "that depends on many", "it depends on many", "i don't want to talk about", NULL};

static size_t count_words(struct view v) {
    size_t words = 0;
    for (size_t i = 0; i < v.n; i++)
        words += (i == 0 || isspace((unsigned char)v.s[i - 1])) && !isspace((unsigned char)v.s[i]);
    return words;
}

/* At its beginning, or after one or two sentences of a few words: "Of course. I cannot …" */
static bool opens_with(struct view v, const char *const *phrases) {
    enum { SENTENCES = 2, WORDS = 6 };
    for (int i = 0; i < SENTENCES && !phrase_any(v, phrases); i++) {
        struct view s = first_sentence(v);
        if (s.n == v.n || count_words(s) > WORDS)
            return false;
        v = view_trim(view_skip(v, s.n + 1));
    }
    return phrase_any(v, phrases) > 0;
}

bool extract_is_evasion(const char *text) {
    struct view v = view_trim((struct view){text, strlen(text)});
    return count_words(v) <= 2 || opens_with(v, evasive);
}

bool extract_is_unanswered(const char *text) {
    struct view v = view_trim((struct view){text, strlen(text)});
    return extract_is_evasion(text) || opens_with(v, refusals);
}

bool said_no(struct view v, bool to_revise) {
    return phrase_any(v, refusals) &&
           phrase_in(first_sentence(v), to_revise ? revise_words : task_words);
}
