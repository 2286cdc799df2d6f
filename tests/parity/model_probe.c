/* model_probe: the model and its training behind JSON Lines, so that parity tests in Python
 * can ask. Losses are the mean negative log-probability of every token but each row's
 * first; of a scalar head, the mean score over the rows' last tokens.
 *     model_probe < requests > answers
 * {"op":"gradient","model":DIR,"rows":[[id…]…],"recompute":bool,"to":DIR}
 *        → {"loss"}; the gradients are written as if they were the model's weights
 * {"op":"adapt","model":DIR,"rank","alpha","rslora","scalar","targets":[…],"rows","steps",
 *        "rate","to":DIR} → {"losses":[…]}; a fresh adapter, trained so many steps
 * Failures answer {"error"}. Not installed. */
#include "probe_lines.h"
#include "base/check.h"
#include "base/error.h"
#include "base/buf.h"
#include "learn/packing.h"
#include "learn/trainer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rows {
    int32_t **ids;
    struct span *spans;
    size_t n;
};

static void rows_free(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->ids[i]);
    free(r->ids);
    free(r->spans);
}

/* A scalar head is read at the last token of each row. */
static void rows_read(const json_t *list, bool scalar, struct rows *ret)
{
    ret->n = json_array_size(list);
    ret->ids = cai_alloc(ret->n * sizeof(*ret->ids) + 1);
    ret->spans = cai_alloc(ret->n * sizeof(*ret->spans) + 1);
    for (size_t i = 0; i < ret->n; i++) {
        const json_t *row = json_array_get(list, i);
        int64_t n = (int64_t)json_array_size(row);
        ret->ids[i] = cai_alloc((size_t)n * sizeof(int32_t) + 1);
        for (int64_t j = 0; j < n; j++)
            ret->ids[i][j] = (int32_t)json_integer_value(json_array_get(row, (size_t)j));
        ret->spans[i] = (struct span){ret->ids[i], n, scalar ? n - 1 : 1, n};
    }
}

struct loss {
    double sign, value;
};

static int mean_loss(void *context, const double *out, double *grad, int64_t n)
{
    struct loss *l = context;
    l->value = 0;
    for (int64_t i = 0; i < n; i++) {
        l->value += l->sign * out[i] / (double)n;
        grad[i] = l->sign / (double)n;
    }
    return 0;
}

static int backward(struct trainer *t, const json_t *q, double *ret_loss)
{
    struct model *m = trainer_model(t);
    bool scalar = m->head == MODEL_HEAD_SCALAR;
    struct loss loss = {scalar ? 1 : -1, 0};
    struct rows rows;
    struct micro *micro;
    rows_read(json_object_get(q, "rows"), scalar, &rows);
    int rc = micro_new(m, rows.spans, rows.n, &micro);
    if (rc == 0)
        rc = trainer_backward(t, micro, mean_loss, &loss);
    if (rc == 0)
        micro_free(micro);
    rows_free(&rows);
    *ret_loss = loss.value;
    return rc;
}

static struct trainer_options options(const json_t *q)
{
    return (struct trainer_options){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .temperature = 1,
                                    .recompute = json_is_true(json_object_get(q, "recompute"))};
}

/* The gradient of every parameter takes the parameter's place. */
static int put_gradients(struct model *m)
{
    ct_scope *s = ct_scope_open();
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_params; i++) {
        ct_tensor *view = m->params[i].view;
        ct_tensor *g = ct_grad(s, view);
        rc = g ? ct_copy_(ct_detach(s, view), g) : cai_fail(CAI_ESTATE, "no gradient");
    }
    ct_scope_close(s);
    return rc;
}

static int do_gradient(const json_t *q, json_t *a)
{
    struct model *m;
    struct trainer *t = NULL;
    struct trainer_options o = options(q);
    double loss;
    CAI_TRY(model_load(json_string_value(json_object_get(q, "model")), &m));
    int rc = trainer_new(m, &o, &t);
    if (rc == 0)
        rc = backward(t, q, &loss);
    if (rc == 0)
        rc = put_gradients(m);
    if (rc == 0)
        rc = model_save(m, json_string_value(json_object_get(q, "to")));
    if (rc == 0)
        json_object_set_new(a, "loss", json_real(loss));
    trainer_free(t);
    model_free(m);
    return rc;
}

static void read_adapter(const json_t *q, struct hf_adapter *ret)
{
    *ret = (struct hf_adapter){.rank = json_integer_value(json_object_get(q, "rank")),
                               .alpha = json_number_value(json_object_get(q, "alpha")),
                               .rslora = json_is_true(json_object_get(q, "rslora")),
                               .scalar = json_is_true(json_object_get(q, "scalar"))};
    const json_t *list = json_object_get(q, "targets");
    for (size_t i = 0; i < json_array_size(list) && i < HF_ADAPTER_TARGETS; i++)
        snprintf(ret->targets[ret->n_targets++], sizeof(ret->targets[0]), "%s",
                 json_string_value(json_array_get(list, i)));
}

static int train(struct model *m, const json_t *q, json_t *losses)
{
    struct trainer_options o = options(q);
    struct trainer *t;
    int64_t steps = json_integer_value(json_object_get(q, "steps"));
    double rate = json_number_value(json_object_get(q, "rate")), loss;
    CAI_TRY(trainer_new(m, &o, &t));
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < steps; i++) {
        struct trainer_report report;
        rc = backward(t, q, &loss);
        if (rc == 0)
            rc = trainer_step(t, rate, &report);
        if (rc == 0)
            json_array_append_new(losses, json_real(loss));
    }
    trainer_free(t);
    return rc;
}

static int do_adapt(const json_t *q, json_t *a)
{
    struct hf_adapter how;
    struct model *base, *m = NULL;
    json_t *losses = json_array();
    json_object_set_new(a, "losses", losses);
    read_adapter(q, &how);
    CAI_TRY(model_load(json_string_value(json_object_get(q, "model")), &base));
    int rc = model_adapt(base, &how, cai_key_make(1, 0, "probe", 0, 0), &m);
    model_free(base);
    if (rc == 0)
        rc = train(m, q, losses);
    if (rc == 0)
        rc = model_save(m, json_string_value(json_object_get(q, "to")));
    model_free(m);
    return rc;
}

static int answer(const json_t *q, json_t *a)
{
    const char *op = json_string_value(json_object_get(q, "op"));
    if (op && !strcmp(op, "gradient"))
        return do_gradient(q, a);
    if (op && !strcmp(op, "adapt"))
        return do_adapt(q, a);
    return cai_fail(CAI_EINPUT, "unknown op");
}

int main(void)
{
    if (ct_init(1) < 0)
        return 1;
    answer_lines(answer, JSON_COMPACT);
    return 0;
}
