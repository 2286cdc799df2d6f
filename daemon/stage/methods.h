/* methods.h: whether debate is worth its price: the gate's questions, whose answers are known,
 * asked directly and after reasons as well, with the tokens that each way took. */
#ifndef CAI_STAGE_METHODS_H
#define CAI_STAGE_METHODS_H

#include "stage/stage.h"

/* "gate", "gate_direct" or "gate_cot": the kind of the examples that answers of a phase become. */
const char *methods_kind(const char *phase);
/* Tokens of what was written before the judge was asked, both orders, by kind. */
int methods_tokens(const struct stage_context *c, const char *kind, uint64_t item,
                   double *ret_generated, double *ret_read);
/* Metrics: method_debate_accuracy, method_direct_accuracy, method_cot_accuracy (_low _high _n),
 * method_NAME_generated and _read (mean tokens of a comparison), and of what debate gains over the
 * others on the same questions gain_direct and gain_cot (_low _high, 95 %). */
int methods_figures(const struct stage_context *c);

#endif
