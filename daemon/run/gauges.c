/* gauges.c: see gauges.h. */
#include "run/gauges.h"

#include "base/check.h"
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 64 }; /* labels of a family are bounded */

/* A family each, with its unit in the name, as Prometheus has it. The order is that of `watch`. */
static const struct family {
    const char *figure, *name, *help;
    bool watched;
    const char *label; /* of a figure "figure/part" */
} families[] = {
    {"reward", "cai_reward_mean", "Mean reward of a reply in the last step, in deviations.", true},
    {"kl", "cai_kl_nats", "Distance of the policy from the start, nats per reply.", true},
    {"entropy", "cai_entropy_nats", "Entropy of the policy, nats per token.", true},
    {"length", "cai_reply_length_tokens", "Mean length of a reply.", true},
    {"end_rate", "cai_replies_ended_ratio", "Share of replies that end by themselves.", true},
    {"explained_variance", "cai_explained_variance_ratio",
     "Share of the returns' variance that the value model explains.", true},
    {"accuracy", "cai_accuracy_ratio", "Share decided rightly by what is trained.", true},
    {"loss", "cai_loss_nats", "Training loss of the last step.", true},
    {"lr", "cai_learning_rate", "Learning rate of the last step.", true},
    {"grad_norm", "cai_gradient_norm", "Length of the last gradient before clipping.", true},
    {"score_mean", "cai_score_mean", "Mean score of a reply, in deviations.", false},
    {"score_std", "cai_score_deviation", "Deviation of the replies' scores.", false},
    {"score", "cai_principle_score_mean",
     "Mean score of replies to prompts at which a critique found the principle broken.", false,
     "principle"},
    {"kl_coef", "cai_kl_coefficient", "Weight of the KL penalty.", false},
    {"ratio_mean", "cai_probability_ratio_mean", "Mean probability ratio of the last step.", false},
    {"ratio_max", "cai_probability_ratio_max", "Largest probability ratio of the last step.",
     false},
    {"clip_fraction", "cai_clipped_ratio", "Share of tokens that the clip held back.", false},
    {"value_clip_fraction", "cai_value_clipped_ratio",
     "Share of value predictions that the clip held back.", false},
    {"approx_kl", "cai_update_kl_nats", "Distance from the policy that sampled, nats per token.",
     false},
    {"sampler_gap", "cai_sampler_gap_nats",
     "Mean difference of log-probabilities at sampling and at training.", false},
    {"sampler_gap_max", "cai_sampler_gap_max_nats", "The largest such difference of the last step.",
     false},
    {"policy_loss", "cai_policy_loss", "Clipped objective of the last step, negative.", false},
    {"value_loss", "cai_value_loss", "Loss of the value model in the last step.", false},
};
const size_t gauges_families = CAI_COUNT(families);

/* The row of a name, and its part; false when nobody asks for it. */
static bool family_of(const char *name, size_t *ret, const char **ret_part) {
    size_t len = strcspn(name, "/");
    for (size_t i = 0; i < CAI_COUNT(families); i++) {
        if (strlen(families[i].figure) != len || strncmp(families[i].figure, name, len) != 0)
            continue;
        *ret = i;
        *ret_part = name[len] ? name + len + 1 : "";
        return (name[len] != '\0') == (families[i].label != NULL);
    }
    return false;
}

static int order(const struct gauge *a, size_t family, const char *part) {
    if (a->family != family)
        return a->family < family ? -1 : 1;
    return strcmp(a->part, part);
}

void gauges_note(struct gauges *f, const char *name, double value) {
    const char *part;
    size_t family, at = 0, parts = 0;
    if (!family_of(name, &family, &part))
        return;
    for (; at < f->n && order(&f->at[at], family, part) < 0; at++)
        ;
    if (at < f->n && order(&f->at[at], family, part) == 0) {
        f->at[at].value = value;
        return;
    }
    for (size_t i = 0; i < f->n; i++)
        parts += f->at[i].family == family;
    if (parts >= PARTS_MAX)
        return;
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : CAI_COUNT(families);
        f->at = cai_realloc(f->at, f->cap, sizeof *f->at);
    }
    memmove(f->at + at + 1, f->at + at, (f->n - at) * sizeof *f->at);
    f->at[at] = (struct gauge){family, cai_strdup(part), value};
    f->n++;
}

void gauges_clear(struct gauges *f) {
    for (size_t i = 0; i < f->n; i++)
        free(f->at[i].part);
    free(f->at);
    *f = (struct gauges){0};
}

json_t *gauges_json(const struct gauges *f) {
    json_t *o = json_object();
    for (size_t i = 0; i < f->n; i++)
        if (families[f->at[i].family].watched)
            json_object_set_new(o, families[f->at[i].family].figure, json_real(f->at[i].value));
    return o;
}

/* A label's value as the text format 0.0.4 escapes it. */
static void put_label(struct cai_buf *out, const char *value) {
    for (; *value; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n')
            cai_buf_putc(out, '\\');
        cai_buf_putc(out, *value == '\n' ? 'n' : *value);
    }
}

void gauges_write(const struct gauges *f, size_t family, long long job, const char *stage,
                  bool *io_named, struct cai_buf *out) {
    const struct family *k = &families[family];
    for (size_t i = 0; i < f->n; i++) {
        if (f->at[i].family != family)
            continue;
        if (!*io_named)
            cai_buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", k->name, k->help, k->name);
        *io_named = true;
        cai_buf_printf(out, "%s{job=\"%lld\",stage=\"%s\"", k->name, job, stage);
        if (k->label) {
            cai_buf_printf(out, ",%s=\"", k->label);
            put_label(out, f->at[i].part);
            cai_buf_putc(out, '"');
        }
        cai_buf_printf(out, "} %.9g\n", f->at[i].value);
    }
}
