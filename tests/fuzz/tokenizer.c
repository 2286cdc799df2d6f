/* tokenizer.json, then a NUL and a text: refused, or the text encodes to known ids, and these
 * decode to UTF-8, to the same as they come one by one, never within a character. */
#include "base/error.h"
#include "base/text.h"
#include "hf/tokenizer.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void streamed(const struct hf_tokenizer *t, const struct hf_ids *ids, bool skip,
                     const struct cai_buf *whole) {
    struct hf_stream *s = hf_stream_new(t, skip);
    struct cai_buf all = {0};
    for (size_t i = 0; i <= ids->n; i++) {
        size_t before = all.len;
        if ((i < ids->n ? hf_stream_push(s, ids->data[i], &all) : hf_stream_end(s, &all)) < 0)
            break;
        CAI_CHECK(all.len == before ||
                  cai_utf8_valid(all.data + before, all.len - before) == all.len - before);
        CAI_CHECK(i < ids->n || (all.len == whole->len &&
                                 (!all.len || memcmp(all.data, whole->data, all.len) == 0)));
    }
    hf_stream_free(s);
    cai_buf_free(&all);
}

static void round_trip(const struct hf_tokenizer *t, const char *text, size_t len, bool special) {
    struct hf_ids ids = {0};
    struct cai_buf back = {0};
    if (hf_tokenizer_encode(t, text, len, special, &ids) == 0) {
        for (size_t i = 0; i < ids.n; i++)
            CAI_CHECK(special || hf_tokenizer_token(t, ids.data[i]).s);
        if (hf_tokenizer_decode(t, ids.data, ids.n, special, &back) == 0) {
            CAI_CHECK(!back.len || cai_utf8_valid(back.data, back.len) == back.len);
            streamed(t, &ids, special, &back);
        }
    }
    cai_buf_free(&back);
    hf_ids_free(&ids);
}

/* Back to where a character begins. */
static size_t whole(const char *text, size_t len, size_t at) {
    while (at > 0 && at < len && ((unsigned char)text[at] & 0xC0) == 0x80)
        at--;
    return at;
}

static void marked(const struct hf_tokenizer *t, const char *text, size_t len) {
    size_t half = whole(text, len, len / 2);
    struct hf_range plain[] = {{whole(text, len, len / 4), half},
                               {half, whole(text, len, len - len / 8)}};
    struct hf_ids ids = {0};
    size_t *ends = NULL;
    if (hf_tokenizer_encode_marked(t, text, len, plain, 2, &ids, &ends) == 0)
        for (size_t i = 0; i < ids.n; i++)
            CAI_CHECK(ends[i] <= len && (i == 0 || ends[i] >= ends[i - 1]));
    free(ends);
    hf_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *json = (const char *)data;
    const char *nul = memchr(json, 0, size);
    size_t json_len = nul ? (size_t)(nul - json) : size;
    const char *text = nul ? nul + 1 : "Hello  w\xC3\xB6rld 123\n\n <s>e\xCC\x81";
    size_t len = nul ? size - json_len - 1 : strlen(text);
    struct hf_tokenizer *t;
    if (hf_tokenizer_parse("fuzz", json, json_len, &t) < 0) {
        CAI_CHECK(cai_error_text()[0]);
        return 0;
    }
    round_trip(t, text, len, true);
    round_trip(t, text, len, false);
    marked(t, text, len);
    hf_tokenizer_free(t);
    return 0;
}
