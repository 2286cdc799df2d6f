/* read.h: what the files that read a constitution share. Private to the room. */
#ifndef CAI_CONSTITUTION_READ_H
#define CAI_CONSTITUTION_READ_H

#include "constitution/constitution.h"
#include "input/schema.h"

enum {
    CONSTITUTION_VERSION = 1,
    PRINCIPLES_MAX = 1000,
    EXAMPLES_MAX = 100,
    TURNS_MAX = 64,
    TEXT_MAX = 8 << 10
};

struct reading {
    struct constitution *c;
    struct input_report *report;
    const char *dir; /* of `examples:` files, or NULL */
};

/* Checks and normalises one text that was read from `node`: size (C024), characters that do
 * not survive (C015), NFC, no trailing line ends. NULL stays NULL; a blank text is C016. */
const char *read_text(struct reading *r, const char *shown, const struct yaml_node *node,
                      const char *text, bool may_be_empty);
/* critique_examples, choice_examples and the files of `examples`. Nodes may be NULL. */
void read_examples(struct reading *r, const struct yaml_node *critiques,
                   const struct yaml_node *choices, const struct yaml_node *files);
/* Findings about the whole: equal ids and texts, weights, phases. */
void check_principles(struct reading *r, const struct yaml_node *principles);

#endif
