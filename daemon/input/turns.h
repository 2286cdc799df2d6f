/* turns.h: conversations inside a row: lists of messages, and transcripts with "\n\nHuman:" and
 * "\n\nAssistant:" as hh-rlhf and red-team-attempts have them. What is wrong becomes a finding
 * D005 or D006 at the member's own column. */
#ifndef CAI_INPUT_TURNS_H
#define CAI_INPUT_TURNS_H

#include "base/arena.h"
#include "input/report.h"
#include <jansson.h>

struct input_turn {
    const char *role; /* "system" (first only), "user", "assistant" */
    const char *text;
};

/* Turns of one conversation; texts are the row's or the arena's. */
struct input_turns {
    struct input_turn *at; /* in the arena */
    size_t n;
};

/* What a reader needs of the row it reads. */
struct input_at {
    struct input_report *report;
    size_t line;
    struct cai_arena *arena;
};

/* [{"role", "content" (or "text")}, …], alternating; the first is the user's (after a system
 * message), or with `reply` the assistant's. */
bool input_turns_list(const struct input_at *o, const json_t *list, const char *path, bool reply,
                      struct input_turns *ret);
/* "\n\nHuman: …\n\nAssistant: …"; space around a turn is not its text, and text before the
 * first speaker is a system message. With `open` the last turn may be an empty one of the
 * assistant (a prompt), which is left out. */
bool input_turns_transcript(const struct input_at *o, const char *text, const char *path, bool open,
                            struct input_turns *ret);
/* Whether a text is a transcript rather than one turn. */
bool input_is_transcript(const char *text);
/* A text member: NULL and a finding when it is absent (if required), empty or no text. */
const char *input_text(const json_t *row, const char *key, bool required, size_t line,
                       struct input_report *report);
/* The same of any value; `path` says where it stands in the row. */
const char *input_text_value(const json_t *v, const char *path, size_t line,
                             struct input_report *report);

#endif
