/* parts.h: what front.c puts together: the loop's view of each part of this room. */
#ifndef CAI_CONTROL_PARTS_H
#define CAI_CONTROL_PARTS_H

#include "control/control.h"

/* ---- control.c ------------------------------------------------------------------- */
void control_frame(struct run *r, const struct channel_peer *peer, const Cai__V1__Frame *f);
void control_refuse(struct run *r, const struct channel_peer *peer, int exit_code,
                    const char *text);
bool control_changes(const char *verb); /* false for one that does not exist */

/* ---- backup.c: a copy of the database, a few pages a turn -------------------------- */
void backup_turn(struct run *r);

/* ---- trial.c: `constitution try`: a few generations outside any job -------------- */
void trials_schedule(struct run *r);
bool trial_outcome(struct run *r, struct worker *w, const Cai__V1__Done *done,
                   const Cai__V1__Failed *failed);
void trials_lost(struct run *r, struct worker *w);
bool trials_name(const struct run *r, const char *path); /* one that is not over asks this model */
void trials_free(struct run *r);

/* ---- estimate.c: `submit --dry-run`: a rehearsal outside any job, measured --------- */
void estimates_schedule(struct run *r);
void estimates_beat(struct run *r); /* ends those whose time is over */
/* True when it was theirs. */
bool estimate_report(struct run *r, struct worker *w, const Cai__V1__Report *m);
bool estimate_outcome(struct run *r, struct worker *w, const Cai__V1__Done *done,
                      const Cai__V1__Failed *failed);
void estimates_lost(struct run *r, struct worker *w);
void estimates_free(struct run *r);

#endif
