/* load.c: models out of folders. Not for: models out of nothing (new.c), what a folder's
 * files must look like (hf). */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

/* Whether all are numbers; without a branch, at the speed of memory. */
static bool all_finite(const float *x, int64_t n)
{
    uint32_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof(bits));
        bits &= 0x7fffffffu;
        worst = bits > worst ? bits : worst;
    }
    return worst < 0x7f800000u;
}

static int check_finite(const char *name, const float *x, int64_t n)
{
    int64_t i = 0;
    if (all_finite(x, n))
        return 0;
    while (isfinite(x[i]))
        i++;
    return cai_fail(CAI_ENUMERIC, "tensor %s: element %lld is not a finite number", name,
                    (long long)i);
}

/* A stretch of rows that lie together in the file: converted in pieces that are looked at
 * while they are near the processor. False when one of them is no number. */
static bool read_stretch(const struct hf_tensor *t, int64_t at, float *out, int64_t n)
{
    enum { PIECE = 1 << 14 };
    bool good = true;
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t many = n - i < PIECE ? n - i : PIECE;
        hf_tensor_floats(t, at + i, out + i, many);
        good = all_finite(out + i, many) && good;
    }
    return good;
}

/* The parameter's rows, from where the file has them. */
int model_read_param(const struct hf_tensor *t, const struct hf_param *p, float *out)
{
    int64_t rows = p->shape[0], cols = p->ndim == 2 ? p->shape[1] : 1;
    bool good = true;
    if (p->transposed) {
        CAI_AUTO(mem) float *line = cai_realloc(NULL, (size_t)p->file_rows, sizeof(*line));
        for (int64_t c = 0; c < cols; c++) {
            hf_tensor_floats(t, c * p->file_rows, line, p->file_rows);
            for (int64_t r = 0; r < rows; r++)
                out[r * cols + c] = line[hf_param_file_row(p, r)];
        }
        return check_finite(t->name, out, rows * cols);
    }
    for (int64_t r = 0; r < rows; r += p->block)
        good = read_stretch(t, hf_param_file_row(p, r) * cols, out + r * cols,
                            p->block * cols) && good;
    return good ? 0 : check_finite(t->name, out, rows * cols);
}

/* Shapes are compared with the file before memory for them is taken, so that a wrong
 * config.json cannot ask for more than the file holds. */
static int check_weights(const struct hf_weights *w, const struct hf_config *c,
                         enum model_head head, bool fresh_head)
{
    CAI_AUTO(mem) struct hf_param *params = NULL;
    int n;
    CAI_TRY(hf_params(c, head == MODEL_HEAD_SCALAR, &params, &n));
    CAI_TRY(hf_params_check_unused(w, c, params, n));
    for (int i = 0; i < n; i++) {
        const struct hf_tensor *t;
        if (!fresh_head || params[i].slot != HF_SCORE)
            CAI_TRY(hf_param_find(w, c, &params[i], &t));
    }
    return 0;
}

static int fill_host(struct model *m, const struct hf_weights *w, bool fresh_head, float *flat)
{
    for (int i = 0; i < m->n_params; i++) {
        const struct model_param *p = &m->params[i];
        const struct hf_tensor *t;
        if (fresh_head && p->file.slot == HF_SCORE)
            continue;
        CAI_TRY(hf_param_find(w, &m->config, &p->file, &t));
        CAI_TRY(model_read_param(t, &p->file, flat + p->offset));
        if (p->file.slot == HF_SCORE)
            CAI_TRY(model_check_score(flat + p->offset, p->numel));
    }
    return 0;
}

static int fill(struct model *m, const struct hf_weights *w, bool fresh_head)
{
    float *flat;
    int rc = model_host_open(m, &flat);
    if (rc == 0)
        rc = fill_host(m, w, fresh_head, flat);
    int closed = model_host_close(m, flat, rc == 0);
    return rc < 0 ? rc : closed;
}

int model_check_score(const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (w[i] != 0)
            return 0;
    return cai_fail(CAI_EINPUT, "score.weight is all zero: this head was never set; train it, or "
                    "start from the language model");
}

static int load(const char *dir, const struct hf_config *c, bool fresh_head, struct model **ret)
{
    enum model_head head =
        c->sequence_classification || fresh_head ? MODEL_HEAD_SCALAR : MODEL_HEAD_LM;
    struct hf_weights *w = NULL;
    struct model *m = NULL;
    char stamp[sizeof(m->stamp)];
    int rc = hf_weights_open(dir, &w);
    if (rc < 0)
        return rc;
    rc = hf_weights_stamp(dir, stamp);
    if (rc == 0)
        rc = check_weights(w, c, head, fresh_head);
    if (rc == 0)
        rc = model_alloc(c, head, dir, &m);
    if (rc == 0)
        rc = fill(m, w, fresh_head);
    hf_weights_close(w);
    if (rc < 0) {
        model_free(m);
        return cai_fail_in("%s", dir);
    }
    memcpy(m->stamp, stamp, sizeof(stamp));
    *ret = m;
    return 0;
}

int model_load(const char *dir, struct model **ret)
{
    struct hf_config c;
    if (hf_adapter_is(dir))
        return model_load_adapted(dir, ret);
    CAI_TRY(hf_config_load(dir, &c));
    return load(dir, &c, false, ret);
}

void model_score_weights(const struct hf_config *c, struct cai_key key, float *ret)
{
    double deviation = 1.0 / sqrt((double)(c->hidden_size + 1));
    for (int64_t i = 0; i < c->hidden_size; i++)
        ret[i] = (float)(deviation * cai_rng_normal(key, (uint64_t)i));
}

int model_draw_score(struct model *m, struct cai_key key)
{
    const struct model_param *score = model_find(m, HF_SCORE); /* [1, D] */
    CAI_AUTO(mem) float *w = cai_realloc(NULL, (size_t)score->numel, sizeof(*w));
    CAI_CHECK(score->numel == m->config.hidden_size);
    model_score_weights(&m->config, key, w);
    return ct_write_host_(score->view, CT_F32, w);
}

int model_load_scalar(const char *dir, struct cai_key key, struct model **ret)
{
    struct hf_config c;
    if (hf_adapter_is(dir)) {
        struct model *m;
        CAI_TRY(model_load_adapted(dir, &m));
        if (m->head == MODEL_HEAD_SCALAR) {
            *ret = m;
            return 0;
        }
        int rc = model_adapt_scalar(m, key, ret);
        model_free(m);
        return rc;
    }
    CAI_TRY(hf_config_load(dir, &c));
    bool fresh = !c.sequence_classification;
    CAI_TRY(load(dir, &c, fresh, ret));
    int rc = fresh ? model_draw_score(*ret, key) : 0;
    if (rc < 0) {
        model_free(*ret);
        *ret = NULL;
    }
    return rc;
}
