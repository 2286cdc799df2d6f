/* numbers.c: logits, score: what a model says of given tokens. Options and texts: options.c. */
#include "base/check.h"
#include "probe.h"

/* The K most probable ids of a row, ties by id. */
static json_t *top_of(const float *row, int64_t vocab, int64_t k)
{
    json_t *out = json_array();
    CAI_AUTO(mem) bool *taken = cai_alloc((size_t)vocab);
    for (int64_t i = 0; i < k && i < vocab; i++) {
        int64_t best = -1;
        for (int64_t j = 0; j < vocab; j++)
            if (!taken[j] && (best < 0 || row[j] > row[best]))
                best = j;
        taken[best] = true;
        json_array_append_new(out, json_pack("[I, f]", (json_int_t)best, (double)row[best]));
    }
    return out;
}

/* Log-softmax over all rows of one sequence: [n, V] on the host, the caller's. */
static int log_probabilities(const struct model *m, const struct hf_ids *ids, float **ret)
{
    const int32_t *list[1] = {ids->data};
    int64_t n = (int64_t)ids->n;
    struct pack *pack;
    CAI_TRY(pack_new(m, list, &n, 1, &pack));
    ct_scope *s = ct_scope_open();
    ct_tensor *hidden = transformer_hidden(s, m, pack);                    /* [n, D] */
    ct_tensor *logprobs = ct_log_softmax(s, head_logits(s, m, hidden));    /* [n, V] */
    int rc = ct_scope_status(s);
    if (rc == 0) {
        *ret = cai_realloc(NULL, (size_t)(n * m->config.vocab_size), sizeof(float));
        rc = ct_read_f32(logprobs, *ret, n * m->config.vocab_size);
    }
    ct_scope_close(s);
    pack_free(pack);
    return rc;
}

int probe_logits(struct probe *p, const json_t *line)
{
    struct hf_ids ids = {0};
    CAI_AUTO(mem) float *rows = NULL;
    const struct model *m;
    int64_t vocab = p->m->config.vocab_size;
    int rc = get_ids(json_object_get(line, "ids"), &ids);
    if (rc == 0)
        rc = probe_seen(p, &m);
    if (rc == 0)
        rc = log_probabilities(m, &ids, &rows);
    if (rc == 0) {
        json_t *out = json_object(), *list = json_array();
        for (size_t i = 0; i + 1 < ids.n; i++)
            json_array_append_new(
                list, json_real((double)rows[(int64_t)i * vocab + ids.data[i + 1]]));
        json_object_set_new(out, "logprobs", list);
        json_object_set_new(out, "top",
                            top_of(rows + ((int64_t)ids.n - 1) * vocab, vocab, p->a->top));
        print_json(out);
    }
    hf_ids_free(&ids);
    return rc;
}

int probe_score(struct probe *p, const json_t *line)
{
    struct hf_ids ids = {0};
    float value = 0;
    int rc;
    if (json_object_get(line, "ids")) {
        rc = get_ids(json_object_get(line, "ids"), &ids);
    } else { /* up to the end-of-turn marker of the last message */
        CAI_AUTO(mem) struct hf_message *messages = NULL;
        size_t n;
        CAI_TRY(get_messages(line, &messages, &n));
        CAI_TRY(probe_chat(p));
        CAI_AUTO(mem) size_t *starts = cai_alloc(n * sizeof(*starts));
        CAI_AUTO(mem) size_t *ends = cai_alloc(n * sizeof(*ends));
        rc = hf_chat_encode(p->chat, messages, n, false, NULL, &ids, starts, ends);
        if (rc == 0)
            ids.n = ends[n - 1];
    }
    const int32_t *list[1] = {ids.data};
    int64_t n = (int64_t)ids.n, last = n - 1;
    const struct model *m = NULL;
    struct pack *pack = NULL;
    if (rc == 0)
        rc = probe_seen(p, &m);
    if (rc == 0)
        rc = pack_new(p->m, list, &n, 1, &pack);
    if (rc == 0) {
        ct_scope *s = ct_scope_open();
        ct_tensor *hidden = transformer_hidden(s, m, pack); /* [n, D] */
        ct_tensor *out = head_scalar(s, m, ct_narrow(s, hidden, 0, last, 1));
        rc = ct_scope_status(s);
        if (rc == 0)
            rc = ct_read_f32(out, &value, 1);
        ct_scope_close(s);
    }
    pack_free(pack);
    hf_ids_free(&ids);
    CAI_TRY(rc);
    print_json(json_pack("{s:f}", "score", (double)value));
    return 0;
}
