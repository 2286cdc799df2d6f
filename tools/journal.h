/* journal.h: log.h's sink for the programs that systemd runs. */
#ifndef CAI_TOOLS_JOURNAL_H
#define CAI_TOOLS_JOURNAL_H

#include "base/log.h"

cai_log_sink journal_sink;

#endif
