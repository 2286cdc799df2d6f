/* half.c: a model seen with its matrices in bfloat16. Everything else (embedding, norms,
 * biases, tables) is the original's own, and activations stay fp32 between matrices, so the
 * forward passes are the same code. A view is fresh → stale (the original was trained) →
 * fresh (model_half_refresh). Not for: training, which is in fp32 alone. */
#include "model/internal.h"

#include "base/check.h"
#include "base/error.h"

struct model_half {
    struct model seen; /* borrowed, but for the layers' array and the copies in it */
    struct copy {
        ct_tensor *to;
        const ct_tensor *from;
    } *copies;
    int n;
};

/* *w, a handle of the original or NULL, becomes a copy of ours. Products in bfloat16 take
 * rows two elements at a time: a matrix of an odd width stays as it is. */
static int narrow(struct model_half *h, ct_tensor **w)
{
    if (!*w || ct_size(*w, -1) % 2)
        return 0;
    struct copy *c = &h->copies[h->n];
    ct_scope *s = ct_scope_open();
    ct_tensor *t = ct_linear_half(s, *w);
    int rc = ct_scope_status(s);
    if (rc == 0)
        rc = ct_keep(t, &c->to);
    ct_scope_close(s);
    CAI_TRY(rc);
    c->from = *w;
    *w = c->to;
    h->n++;
    return 0;
}

/* Where matrices are seen as one, that one is used, and not its parts. */
static int narrow_layer(struct model_half *h, struct model_layer *l)
{
    bool as_one = layer_heads_fuse(l);
    ct_tensor **of_attention[] = {&l->q, &l->k, &l->v}, **of_feed[] = {&l->gate, &l->up};
    if (as_one)
        CAI_TRY(narrow(h, &l->qkv));
    for (int i = 0; i < 3 && !as_one; i++)
        CAI_TRY(narrow(h, of_attention[i]));
    CAI_TRY(narrow(h, &l->o));
    l->qkv = as_one ? l->qkv : NULL;
    as_one = layer_gate_fuses(l);
    if (as_one)
        CAI_TRY(narrow(h, &l->gate_up));
    for (int i = 0; i < 2 && !as_one; i++)
        CAI_TRY(narrow(h, of_feed[i]));
    l->gate_up = as_one ? l->gate_up : NULL;
    return narrow(h, &l->down);
}

int model_half_new(const struct model *m, struct model_half **ret)
{
    struct model_half *h = cai_alloc(sizeof(*h));
    int64_t layers = m->config.num_layers;
    h->seen = *m;
    h->seen.half = true;
    h->seen.layers = cai_alloc((size_t)layers * sizeof(*h->seen.layers));
    h->copies = cai_alloc((size_t)(7 * layers + 1) * sizeof(*h->copies));
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < layers; i++) {
        h->seen.layers[i] = m->layers[i];
        rc = narrow_layer(h, &h->seen.layers[i]);
    }
    if (rc == 0)
        rc = narrow(h, &h->seen.lm_head);
    if (rc < 0) {
        model_half_free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

void model_half_free(struct model_half *h)
{
    if (!h)
        return;
    for (int i = 0; i < h->n; i++)
        ct_free(h->copies[i].to);
    free(h->copies);
    free(h->seen.layers);
    free(h);
}

const struct model *model_half_seen(const struct model_half *h)
{
    return &h->seen;
}

int model_half_refresh(struct model_half *h)
{
    for (int i = 0; i < h->n; i++)
        CAI_TRY(ct_linear_half_(h->copies[i].to, h->copies[i].from));
    return 0;
}

int64_t model_half_bytes(const struct model *m)
{
    int64_t n = m->base ? m->base->n : m->n; /* an adapter's own matrices stay as they are */
    return 2 * (n - (m->config.tie_word_embeddings ? 0 : ct_numel(m->embedding)));
}
