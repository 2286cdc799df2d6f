/* record.h: one row of a data file, in whichever published form it is written, as one
 * conversation with what was said of it; and the way back into those forms.
 *
 *   prompt        {"prompt": text | messages, "reply"?}          TRL prompt-only; "question" too
 *   messages      {"messages": […]}                              TRL language modelling, chat
 *   completion    {"prompt", "completion", "label"?}             TRL prompt-completion, unpaired
 *   preference    {"prompt", "chosen", "rejected", "p"?}         TRL preference
 *   implicit      {"chosen", "rejected"}                         TRL preference, implicit prompt
 *   hh            the same, as "\n\nHuman: …" transcripts        hh-rlhf
 *   red-team      {"transcript", "rating", …}                    red-team-attempts
 *   ab            {"prompt" | "messages", "a", "b", "p"}         two replies and P(a is better)
 *
 * The form is told by the keys. Findings: D005, D006 (jsonl.h), at the member's column. */
#ifndef CAI_INPUT_RECORD_H
#define CAI_INPUT_RECORD_H

#include "input/turns.h"

enum input_form {
    FORM_PROMPT,
    FORM_MESSAGES,
    FORM_COMPLETION,
    FORM_PREFERENCE,
    FORM_IMPLICIT,
    FORM_HH,
    FORM_RED_TEAM,
    FORM_AB,
    FORMS
};
const char *input_form_name(enum input_form f);

struct input_record {
    enum input_form form;
    const char *id;           /* NULL when absent */
    struct input_turn *turns; /* ends with the user; the arena's */
    size_t n;
    const char *reply; /* the assistant's last turn; NULL when absent */
    const char *a, *b; /* two replies; NULL when it is no pair. a = chosen */
    double p;          /* P(a is better); 1 when the row does not say */
    json_t *rest;      /* members that the form does not use, "id" among them */
    struct cai_arena arena;
};
/* Texts are borrowed from the row or the record's. 0, or CAI_EINPUT and findings. */
int input_record(const json_t *row, size_t line, struct input_report *report,
                 struct input_record *ret);
void input_record_free(struct input_record *r);
static inline void cai_record_auto(struct input_record *r) { input_record_free(r); }

/* ---- writing ----------------------------------------------------------------------------- */
enum record_style {
    STYLE_CAID,     /* what a job's data files are: prompt or messages, and text replies */
    STYLE_TRL,      /* conversational, explicit prompt */
    STYLE_IMPLICIT, /* conversational, implicit prompt */
    STYLE_TEXT,     /* TRL's standard form: plain texts, one user turn */
    STYLE_MESSAGES, /* {"messages"}; of a pair the better reply */
    STYLE_HH,       /* transcripts; white space around turns is dropped */
    STYLES
};
const char *record_style_name(enum record_style s);
/* The row, the caller's. NULL when the form cannot say it: the message is cai_error_text(). A
 * pair's better reply is written as chosen, with its "p" when it is not 1. */
json_t *record_write(const struct input_record *r, enum record_style s);

#endif
