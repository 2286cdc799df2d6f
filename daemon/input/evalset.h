/* evalset.h: evaluation sets in the forms in which they are published, as one kind of question.
 *
 *   BIG-bench   a JSON file {"examples": [{"input", "target_scores": {option: score}}], …}, or one
 *               example a line; "example_input_prefix", "example_output_prefix", "task_prefix" and
 *               "append_choices_to_input" are followed where the form is text
 *   behaviours  {"question", "answer_matching_behavior", "answer_not_matching_behavior"}
 *   one's own   {"prompt" | "input" | "question" | "messages", "options" | "choices": [text …],
 *               "target" | "answer": the right option's text, its number from 0, or its letter}
 *   open        {"prompt" …, "target" | "answer": text}: how probable the one right text is
 *   text        {"text"}: bits per byte
 *
 * What is asked of a model (caictl's eval.c, or a task of the daemon's) and what comes of it
 * (figures) is others'. Findings as input/jsonl.h's: D005, D006, at the line; of an example in a
 * JSON file the line is that where the example begins. */
#ifndef CAI_INPUT_EVALSET_H
#define CAI_INPUT_EVALSET_H

#include "input/report.h"
#include <jansson.h>

enum evalset_kind { EVALSET_CHOICE, EVALSET_OPEN, EVALSET_TEXT };

struct evalset_item {
    enum evalset_kind kind;
    size_t line;      /* of the file */
    json_t *messages; /* [{"role", "content"}], ends with the user; NULL for a text */
    char *text;       /* the same as one text, as the set writes it; of EVALSET_TEXT the text */
    char **options;   /* n of them; EVALSET_OPEN has one */
    double *scores;   /* n: above 0 is right; the highest is the best */
    size_t n;
};
struct evalset {
    struct evalset_item *at;
    size_t n, cap, bad; /* bad: lines or examples that were left out with a finding */
};

/* Reads a file, plain or gzip (JSON Lines only). What is wrong is in the report, each bad line by
 * its number; good ones are kept. 0, or CAI_EINPUT when the file cannot be read at all. */
int evalset_read(const char *path, struct input_report *report, struct evalset *ret);
void evalset_drop(struct evalset *s); /* the last item */
void evalset_free(struct evalset *s);
/* The best option's number. */
size_t evalset_best(const struct evalset_item *q);

#endif
