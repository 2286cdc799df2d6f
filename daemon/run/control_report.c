#include "run/control.h"
