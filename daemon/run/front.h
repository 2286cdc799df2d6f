/* front.h: what the loop asks of whoever answers people: requests, pages, dry runs, uploads, copies.
 * The room control is that; it stands right of this one and includes it, so the loop knows it by this
 * table alone. */
#ifndef CAI_RUN_FRONT_H
#define CAI_RUN_FRONT_H

#include "proto/channel.h"
#include <stdbool.h>
#include <stdint.h>

struct run;
struct worker;

struct run_front {
    int (*open)(struct run *r);    /* the store is open, no job is loaded */
    void (*listen)(struct run *r); /* the sockets are open */
    void (*reload)(struct run *r); /* the configuration was read again */
    void (*close)(struct run *r);  /* also after an `open` that failed */

    void (*beat)(struct run *r); /* once a second */
    void (*turn)(struct run *r); /* a little of its own work; each turn of the loop */
    bool (*busy)(const struct run *r);                         /* the next turn is to come at once */
    int (*wait)(const struct run *r, int64_t *ret_within_ms);  /* a descriptor; -1 = none. -1 ms: no limit */

    void (*frame)(struct run *r, const struct channel_peer *peer, const Cai__V1__Frame *f);
    void (*refuse)(struct run *r, const struct channel_peer *peer, int exit_code, const char *text);
    bool (*changes)(const char *verb); /* false for one that does not exist */

    /* Leases of no job: `constitution try`, dry runs. True when it was one of theirs. */
    void (*schedule)(struct run *r);
    bool (*report)(struct run *r, struct worker *w, const Cai__V1__Report *m);
    bool (*outcome)(struct run *r, struct worker *w, const Cai__V1__Done *done,
                    const Cai__V1__Failed *failed);
    void (*lost)(struct run *r, struct worker *w);
    bool (*uses)(const struct run *r, const char *path); /* one that is not over asks this model */
};

#endif
