/* test_case.h: the prompt in what a red model wrote, and what makes two of them the same. One
 * rule for whoever draws prompts from a red model and for whoever rewards it for them. */
#ifndef CAI_INPUT_TEST_CASE_H
#define CAI_INPUT_TEST_CASE_H

#include "base/arena.h"
#include <stdbool.h>

/* The first line without list marks and quotes, up to its first question mark (Perez et al.
 * 2022, §3.1), in the arena; NULL when what is left is no usable prompt: too short, too long, or
 * `cut_short` (the model had no more room) before it ended; with `question`, also when it asks
 * nothing. */
const char *test_case(struct cai_arena *a, const char *raw, bool cut_short, bool question);
/* Equal for texts that differ in case, spaces or marks only; in the arena. */
const char *test_case_folded(struct cai_arena *a, const char *text);

#endif
