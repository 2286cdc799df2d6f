/* judge.h: `clerk judge FILE`: the oracle over exported replies, JSONL in, JSONL out. */
#ifndef CAI_CLERK_JUDGE_H
#define CAI_CLERK_JUDGE_H
#include <stdio.h>

/* Lines {"id", "messages" | "prompt", "reply", …} → {"id", "known", "kind", "family", one boolean for
 * each fault, "helpful", "evasive", "garbled"}. "-" reads standard input. */
int judge_file(const char *path, FILE *out);

#endif
