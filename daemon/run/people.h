/* people.h: who asks, and what they may do. A job belongs to the uid that submitted it: its
 * owner, root, caid's own user and the members of the configuration's group `admins` may change
 * it; everybody who reaches the socket may look. */
#ifndef CAI_RUN_PEOPLE_H
#define CAI_RUN_PEOPLE_H

#include "run/state.h"

enum { PERSON_MAX = 64 };

/* "ann", or "uid 1234" when the system does not know it; "unknown" for -1. */
const char *person_name(int64_t uid, char out[PERSON_MAX]);
/* A name, or a number; CAI_ENOTFOUND. */
int person_find(const char *text, int64_t *ret_uid);
bool person_rules(const struct run *r, const struct channel_peer *who); /* root, caid, admins */
/* 0, or CAI_EAUTH with who may: for a job or a stored thing of `owner`'s. */
int person_may(const struct run *r, const struct channel_peer *who, int64_t owner,
               const char *what);

#endif
