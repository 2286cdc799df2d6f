#include "run/trial.h"
int trial_start(const struct request *q, json_t **ret) {(void)q;(void)ret;return -9;}
int trial_show(const struct request *q, json_t **ret){(void)q;(void)ret;return -9;}
void trials_schedule(struct run *r) {(void)r;}
bool trial_outcome(struct run *r, struct worker *w, const Cai__V1__Done *done,
                   const Cai__V1__Failed *failed) {(void)r;(void)w;(void)done;(void)failed;return false;}
void trials_lost(struct run *r, struct worker *w){(void)r;(void)w;}
void trials_free(struct run *r){(void)r;}
