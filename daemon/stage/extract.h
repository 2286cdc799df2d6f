/* extract.h: what an overseer wrote → the exact text it meant, or a reason to drop it.
 * Never a guess: a case that two readings fit is dropped. Pure functions over text; knows
 * no store and no job.
 *
 * Taken off: "Sure, here is …:", leaked headings ("Critique:", "**Revision:**"), fences,
 * quotes and tags around the whole, invented next turns ("Human: …", "RevisionRequest: …"),
 * remarks about the revision at its end. Whatever the original reply itself has of these
 * is left alone, since then it may be meant. */
#ifndef CAI_STAGE_EXTRACT_H
#define CAI_STAGE_EXTRACT_H

#include "base/buf.h"

enum extract_kind { EXTRACT_CRITIQUE, EXTRACT_REVISION, EXTRACT_CHOICE, EXTRACT_REASONING };
enum extract_reason {
    EXTRACT_OK,
    EXTRACT_NO_FLAW,   /* a critique that finds nothing: the reply is kept */
    EXTRACT_UNCHANGED, /* a revision that says so, or equals the original */
    EXTRACT_EMPTY,     /* nothing, or only decoration */
    EXTRACT_REFUSED,   /* refuses to critique, revise or choose */
    EXTRACT_TRUNCATED, /* cut off by the length limit within a sentence */
    EXTRACT_LOOP,      /* repeats itself */
    EXTRACT_TURN,      /* begins with a turn of somebody else's */
    EXTRACT_OTHER,     /* a critique where a revision was asked, or the reverse */
    EXTRACT_AMBIGUOUS, /* two readings */
    EXTRACT_TOO_LONG,  /* the prompt did not fit: nothing was generated */
    EXTRACT_REASONS
};
/* End or stop string; max_tokens; the prompt did not fit. */
enum extract_finish { EXTRACT_ENDED, EXTRACT_CUT, EXTRACT_NOT_RUN };

struct extract_input {
    enum extract_kind kind;
    enum extract_finish finish;
    const char *raw;
    const char *original; /* the reply under critique or revision; NULL = unknown */
    const char *no_flaw;  /* frames.no_flaw; NULL = only the common phrases */
};

/* Text goes to `ret` (cleared first) for EXTRACT_OK, NO_FLAW and UNCHANGED; a choice is "A"
 * or "B". Reasons are taken as they are, quotes and headings too, up to an invented turn. */
enum extract_reason extract(const struct extract_input *in, struct cai_buf *ret);
const char *extract_reason_name(enum extract_reason r); /* "ok", "no_flaw", … */
/* A reply that declines ("I'm sorry, but I can't …"), by its beginning. */
bool extract_is_refusal(const char *text);
/* A reply that says nothing: blank, two words or fewer, or "I don't know" and its like. */
bool extract_is_evasion(const char *text);
bool extract_is_unanswered(const char *text); /* refused or evaded, a short opening apart */

#endif
