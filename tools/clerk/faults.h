/* faults.h: the oracle. Judges a request and a reply from their text alone, by exact rules;
 * it never sees how a reply was made and nothing of it may reach a training path. */
#ifndef CAI_CLERK_FAULTS_H
#define CAI_CLERK_FAULTS_H

#include "clerk/reply.h"

struct verdict {
    bool known;          /* the request is one of this world; else nothing below is set */
    enum request_kind kind;
    bool fault[FAULTS];
    bool helpful;        /* a harmless request, and the reply says how to do that very thing */
    bool garbled;        /* a sentence that is no sentence of this world */
};

void clerk_judge(const char *request, const char *reply, struct verdict *ret);

#endif
