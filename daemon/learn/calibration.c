/* calibration.c: see calibration.h. */
#include "learn/calibration.h"

#include "learn/loss.h"

#include <math.h>

void calibration_measure(const double *logit, const double *target, size_t n, double delta,
                         struct calibration *ret) {
    *ret = (struct calibration){.n = n};
    double right = 0, loss = 0, entropy = 0;
    for (size_t i = 0; i < n; i++) {
        double p = loss_sigmoid(logit[i]);
        int b = (int)(p * CALIBRATION_BINS);
        b = b < CALIBRATION_BINS ? b : CALIBRATION_BINS - 1;
        ret->bin[b].n++;
        ret->bin[b].predicted += p;
        ret->bin[b].target += target[i];
        loss += loss_bce(logit[i], target[i], NULL);
        entropy += loss_entropy(target[i]);
        if (fabs(target[i] - 0.5) > delta) {
            ret->decided++;
            /* A prediction of exactly 1/2 is half right: shuffled labels must give 0.5. */
            right += logit[i] == 0 ? 0.5 : (logit[i] > 0) == (target[i] > 0.5);
        }
    }
    for (int b = 0; b < CALIBRATION_BINS; b++)
        if (ret->bin[b].n > 0) {
            ret->bin[b].predicted /= (double)ret->bin[b].n;
            ret->bin[b].target /= (double)ret->bin[b].n;
            ret->ece += (double)ret->bin[b].n / (double)n *
                        fabs(ret->bin[b].predicted - ret->bin[b].target);
        }
    ret->accuracy = ret->decided > 0 ? right / (double)ret->decided : NAN;
    ret->loss = n > 0 ? loss / (double)n : NAN;
    ret->excess = n > 0 ? (loss - entropy) / (double)n : NAN;
}

void calibration_report(const struct calibration *c, const char *prefix, struct metrics *m) {
    metrics_add(m, (double)c->n, "%sheld_out", prefix);
    if (c->n == 0)
        return;
    metrics_add(m, (double)c->decided, "%sdecided", prefix);
    metrics_add(m, c->accuracy, "%saccuracy", prefix);
    metrics_add(m, c->loss, "%sheld_out_loss", prefix);
    metrics_add(m, c->excess, "%sexcess_loss", prefix);
    metrics_add(m, c->ece, "%sece", prefix);
    for (int b = 0; b < CALIBRATION_BINS; b++)
        if (c->bin[b].n > 0) {
            metrics_add(m, (double)c->bin[b].n, "%sbin%d_n", prefix, b);
            metrics_add(m, c->bin[b].predicted, "%sbin%d_predicted", prefix, b);
            metrics_add(m, c->bin[b].target, "%sbin%d_target", prefix, b);
        }
}
