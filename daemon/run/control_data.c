#include "run/control.h"
const struct verb data_verbs[] = {{0}};
