/* complete.h: what shells ask caictl for. See complete.c. */
#ifndef CAI_CAICTL_COMPLETE_H
#define CAI_CAICTL_COMPLETE_H

#include "caictl.h"

/* `caictl __table`: every command of a table, a line each. */
void complete_table(const struct command *c, bool (*takes_value)(const char *name));
/* `caictl __names jobs|models|constitutions`: NAME TAB WHAT IT IS, a line each; nothing when no
 * daemon answers at once. */
int complete_names(const char *what);

#endif
