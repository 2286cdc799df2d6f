/* calibration.h: how far predicted probabilities can be trusted: reliability bins,
 * expected calibration error, accuracy, excess loss. */
#ifndef CAI_LEARN_CALIBRATION_H
#define CAI_LEARN_CALIBRATION_H

#include "learn/host.h"
#include <stddef.h>

enum { CALIBRATION_BINS = 10 };

struct calibration {
    size_t n, decided;  /* all; those whose target is away from 1/2 by more than `delta` */
    double accuracy;    /* of the decided: same side of 1/2; NAN when there are none */
    double loss;        /* mean cross-entropy against the targets */
    double excess;      /* loss minus the targets' own mean entropy: 0 is the best possible */
    double ece;         /* Σ n_bin / n · |mean prediction − mean target| (Naeini et al. 2015) */
    struct {
        size_t n;
        double predicted, target; /* means; 0 when n is 0 */
    } bin[CALIBRATION_BINS];      /* by prediction, equal widths on [0, 1] */
};

/* logit[i]: log-odds of the prediction; target[i] from 0 to 1. */
void calibration_measure(const double *logit, const double *target, size_t n, double delta,
                         struct calibration *ret);
/* Adds PREFIXaccuracy, PREFIXece, … and PREFIXbin3_predicted, _target, _n of bins in use. */
void calibration_report(const struct calibration *c, const char *prefix, struct metrics *m);

#endif
