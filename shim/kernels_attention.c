/* kernels_attention.c: causal attention of one sequence and one key/value head, forward
 * and backward, a block of query rows at a time: scores of a block are held whole, so no
 * running maximum is needed (Dao et al. 2022 section 3.1 gives the backward used here).
 * A row's bits depend on its own query and the keys before it only, whether it comes in
 * a pack, as a prompt's continuation or alone. */
#include "shim/kernels_attend.h"

int64_t KERNEL(kernel_attention_scratch)(int64_t positions, int64_t d, bool backward) {
    int64_t length = padded(positions), width = padded(d);
    int64_t keys = length * d, values = positions * width, scores = KERNEL_BLOCK * length;
    return backward ? 2 * keys + values + 2 * scores + 2 * KERNEL_BLOCK * width
                    : keys + values + scores;
}

/* What a forward pass works on: packed keys; values packed, or in their own rows. */
struct sides {
    const float *keys, *values;
    int64_t value_sliver, value_row;
    float *scores; /* [rows at a time, lds] */
    int64_t lds;
};

static struct sides prepare(const struct kernel_attention *a) {
    int64_t positions = a->past + a->rows;
    struct sides s = {.keys = a->k, .lds = padded(positions), .scores = a->scratch};
    if (!a->keys_packed) {
        float *keys = s.scores;
        KERNEL(kernel_pack)(positions, a->d, (struct kernel_matrix){a->k, 1, a->k_row}, keys);
        s.keys = keys;
        s.scores += s.lds * a->d;
    }
    /* Few rows read the values once: copying them would cost more than it saves. */
    if (a->rows < ROWS && a->d % NR == 0) {
        s.values = a->v;
        s.value_sliver = NR;
        s.value_row = a->k_row;
        return s;
    }
    float *values = s.scores;
    KERNEL(kernel_pack)(a->d, positions, (struct kernel_matrix){a->v, a->k_row, 1}, values);
    s.values = values;
    s.value_sliver = positions * NR;
    s.value_row = NR;
    s.scores += positions * padded(a->d);
    return s;
}

/* Rows that go together: row r is at q + r · q_row and sees `seen` + r · grow of `cols`. */
struct block {
    int64_t rows, cols, seen, grow;
    const float *q;
    int64_t q_row;
    float *out;
    int64_t out_row;
    float *lse; /* may be NULL */
    int64_t lse_row;
};

static void attend(const struct kernel_attention *a, const struct sides *s,
                   const struct block *b) {
    /* Positions that no row attends to: whole blocks of sums, so that what is left adds up
     * as it would with the zeros. */
    int64_t skip = first_seen(a, b->seen) / KERNEL_KC * KERNEL_KC, cols = b->cols - skip;
    KERNEL(kernel_product)(b->rows, cols, a->d, (struct kernel_matrix){b->q, b->q_row, 1},
                           s->keys + skip * a->d, a->d * NR, NR, s->scores, s->lds, false);
    for (int64_t r = 0; r < b->rows; r++) {
        int64_t seen = b->seen + r * b->grow, first = first_seen(a, seen);
        float lse = softmax_row(a, s->scores + r * s->lds, first - skip, seen - skip, cols);
        if (b->lse)
            b->lse[r * b->lse_row] = lse;
    }
    KERNEL(kernel_product)(b->rows, a->d, cols, (struct kernel_matrix){s->scores, s->lds, 1},
                           s->values + skip * s->value_row, s->value_sliver, s->value_row, b->out,
                           b->out_row, false);
}

/* Decoding: the heads of the group are the rows. */
static void attend_one(const struct kernel_attention *a, const struct sides *s) {
    for (int64_t g = 0; g < a->group; g += KERNEL_BLOCK) {
        struct block b = {.rows = a->group - g < KERNEL_BLOCK ? a->group - g : KERNEL_BLOCK,
                          .cols = a->past + 1, .seen = a->past + 1, .q = a->q + g * a->d,
                          .q_row = a->d, .out = a->out + g * a->d, .out_row = a->d,
                          .lse = a->lse ? a->lse + g : NULL, .lse_row = 1};
        attend(a, s, &b);
    }
}

void KERNEL(kernel_attention)(const struct kernel_attention *a) {
    struct sides s = prepare(a);
    if (a->rows == 1) {
        attend_one(a, &s);
        return;
    }
    for (int64_t g = 0; g < a->group; g++)
        for (int64_t i = 0; i < a->rows; i += KERNEL_BLOCK) {
            int64_t rows = a->rows - i < KERNEL_BLOCK ? a->rows - i : KERNEL_BLOCK;
            struct block b = {.rows = rows, .cols = a->past + i + rows, .seen = a->past + i + 1,
                              .grow = 1, .q = a->q + i * a->q_row + g * a->d, .q_row = a->q_row,
                              .out = a->out + i * a->out_row + g * a->d, .out_row = a->out_row,
                              .lse = a->lse ? a->lse + i * a->lse_row + g : NULL,
                              .lse_row = a->lse_row};
            attend(a, &s, &b);
        }
}

/* ---- backward -------------------------------------------------------------------------- */

struct packs {
    float *keys_t, *values_t, *keys, *p, *ds, *q, *d_out;
    int64_t lds;
};

static struct packs pack_all(const struct kernel_attention *f) {
    struct packs k;
    k.lds = padded(f->rows);
    k.keys_t = f->scratch;
    k.values_t = k.keys_t + k.lds * f->d;
    k.keys = k.values_t + k.lds * f->d;
    k.p = k.keys + f->rows * padded(f->d);
    k.ds = k.p + KERNEL_BLOCK * k.lds;
    k.q = k.ds + KERNEL_BLOCK * k.lds;
    k.d_out = k.q + KERNEL_BLOCK * padded(f->d);
    KERNEL(kernel_pack)(f->rows, f->d, (struct kernel_matrix){f->k, 1, f->k_row}, k.keys_t);
    KERNEL(kernel_pack)(f->rows, f->d, (struct kernel_matrix){f->v, 1, f->k_row}, k.values_t);
    KERNEL(kernel_pack)(f->d, f->rows, (struct kernel_matrix){f->k, f->k_row, 1}, k.keys);
    return k;
}

/* The block of query rows i … i + rows of head g. */
static void grad_block(const struct kernel_attention_grad *g, const struct packs *k, int64_t head,
                       int64_t i, int64_t rows) {
    const struct kernel_attention *f = &g->f;
    int64_t cols = i + rows, d = f->d, at = i * f->q_row + head * d, lds = k->lds;
    struct kernel_matrix q = {f->q + at, f->q_row, 1}, d_out = {g->d_out + at, f->q_row, 1};
    KERNEL(kernel_product)(rows, cols, d, q, k->keys_t, d * NR, NR, k->p, lds, false);
    KERNEL(kernel_product)(rows, cols, d, d_out, k->values_t, d * NR, NR, k->ds, lds, false);
    for (int64_t r = 0; r < rows; r++) {
        int64_t row = at + r * f->q_row;
        float delta = dot(d, g->d_out + row, f->out + row);
        grad_row(f, k->p + r * lds, k->ds + r * lds, first_seen(f, i + r + 1), i + r + 1, cols,
                 f->lse[(i + r) * f->lse_row + head], delta);
    }
    KERNEL(kernel_product)(rows, d, cols, (struct kernel_matrix){k->ds, lds, 1}, k->keys,
                           f->rows * NR, NR, g->d_q + at, f->q_row, false);
    KERNEL(kernel_pack)(d, rows, (struct kernel_matrix){q.p, f->q_row, 1}, k->q);
    KERNEL(kernel_pack)(d, rows, (struct kernel_matrix){d_out.p, f->q_row, 1}, k->d_out);
    KERNEL(kernel_product)(cols, d, rows, (struct kernel_matrix){k->p, 1, lds}, k->d_out,
                           rows * NR, NR, g->d_v, f->k_row, true);
    KERNEL(kernel_product)(cols, d, rows, (struct kernel_matrix){k->ds, 1, lds}, k->q, rows * NR,
                           NR, g->d_k, f->k_row, true);
}

void KERNEL(kernel_attention_grad)(const struct kernel_attention_grad *g) {
    const struct kernel_attention *f = &g->f;
    struct packs k = pack_all(f);
    for (int64_t j = 0; j < f->rows; j++) {
        memset(g->d_k + j * f->k_row, 0, (size_t)f->d * sizeof(float));
        memset(g->d_v + j * f->k_row, 0, (size_t)f->d * sizeof(float));
    }
    for (int64_t head = 0; head < f->group; head++)
        for (int64_t i = 0; i < f->rows; i += KERNEL_BLOCK)
            grad_block(g, &k, head, i, f->rows - i < KERNEL_BLOCK ? f->rows - i : KERNEL_BLOCK);
}
