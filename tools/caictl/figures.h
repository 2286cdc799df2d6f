/* figures.h: what the figures that a job records mean, for people. */
#ifndef CAI_CAICTL_FIGURES_H
#define CAI_CAICTL_FIGURES_H

#include "caictl.h"

/* `caictl metrics --explain`: all of them. A name stands for a family: NAME_low, NAME_high and
 * NAME_n (an interval), NAME/principle, member2.NAME, bin3_n, NAME_R … (the guard). */
int run_explain(const struct args *a);

#endif
