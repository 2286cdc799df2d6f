/* stream.c: ids to text as they come: what a push gives is final, ends between code points, and
 * all of it together is what hf_tokenizer_decode makes of all ids. Not for decoding itself
 * (decoder.c).
 *
 * States: open → (hf_stream_end) ended; only freeing is left then. */
#include "hf/decoder.h"
#include "hf/tokenizer.h"
#include "hf/unicode.h"
#include "base/check.h"
#include "base/error.h"

struct hf_stream {
    const struct hf_tokenizer *t;
    struct hf_decoder_run *run;
    struct cai_buf raw; /* decoded bytes that do not make a character yet */
    struct hf_ids held; /* all of them, for a chain that looks at the end of the text */
    bool skip_special, streams, ended;
};

struct hf_stream *hf_stream_new(const struct hf_tokenizer *t, bool skip_special) {
    struct hf_stream *s = cai_alloc(sizeof *s);
    s->t = t;
    s->skip_special = skip_special;
    s->streams = hf_decoder_streams(hf_tokenizer_decoder(t));
    s->run = hf_decoder_run_new(hf_tokenizer_decoder(t));
    return s;
}

void hf_stream_free(struct hf_stream *s) {
    if (!s)
        return;
    hf_decoder_run_free(s->run);
    cai_buf_free(&s->raw);
    hf_ids_free(&s->held);
    free(s);
}

int hf_stream_push(struct hf_stream *s, int32_t id, struct cai_buf *ret) {
    CAI_CHECK(!s->ended);
    if (!s->streams) {
        hf_ids_push(&s->held, id);
        return 0;
    }
    struct hf_string token = hf_tokenizer_token(s->t, id);
    if (!token.s || (s->skip_special && hf_tokenizer_is_special(s->t, id)))
        return 0;
    CAI_TRY(hf_decoder_push(s->run, &token, 1, false, &s->raw));
    if (!s->raw.len)
        return 0;
    size_t used = hf_utf8_lossy_open(s->raw.data, s->raw.len, ret);
    CAI_TRY(cai_buf_status(&s->raw));
    CAI_AUTO(buf) struct cai_buf rest = {0};
    cai_buf_append(&rest, s->raw.data + used, s->raw.len - used);
    struct cai_buf swap = s->raw;
    s->raw = rest;
    rest = swap;
    return cai_buf_status(ret);
}

int hf_stream_end(struct hf_stream *s, struct cai_buf *ret) {
    CAI_CHECK(!s->ended);
    s->ended = true;
    if (!s->streams)
        return hf_tokenizer_decode(s->t, s->held.data, s->held.n, s->skip_special, ret);
    CAI_TRY(hf_decoder_push(s->run, NULL, 0, true, &s->raw));
    hf_utf8_lossy(s->raw.data ? s->raw.data : "", s->raw.len, ret);
    return cai_buf_status(ret);
}
