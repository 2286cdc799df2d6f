/* answer.h: the answer that a worked solution comes to. The rule is the job's: the last match of a
 * pattern, or what stands after the last "answer is". Answers are compared in a normal form:
 * without marks and blanks around them, without a full stop, small letters, and numbers without
 * separators of thousands and without zeros that say nothing ("$1,250.00" is "1250"). */
#ifndef CAI_STAGE_ANSWER_H
#define CAI_STAGE_ANSWER_H

#include "base/buf.h"

struct answer_rule;

/* pattern NULL: after the last "answer is", to the end of its line or sentence. CAI_EINPUT when
 * the pattern does not compile. */
int answer_rule_new(const char *pattern, struct answer_rule **ret);
void answer_rule_free(struct answer_rule *r);
static inline void cai_answer_auto(struct answer_rule **r) { answer_rule_free(*r); }
/* Appends the answer in its normal form; nothing when there is none. The pattern giving up (its
 * limit of steps) is none, too. */
void answer_read(const struct answer_rule *r, const char *text, struct cai_buf *out);
/* The normal form of an answer that is known. */
void answer_normal(const char *text, size_t len, struct cai_buf *out);

#endif
