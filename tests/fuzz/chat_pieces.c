/* What a template may have made of marked messages, split at NULs: plain, wrapped, then
 * contents. Bytes 1 to 8 stand for the marks, so that the fuzzer meets them. Refused, or
 * pieces that give the plain text back. */
#include "base/error.h"
#include "base/text.h"
#include "hf/pieces.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *expand(const char *s, size_t len, bool wrapped) {
    struct cai_buf b = {0};
    for (size_t i = 0; i < len; i++) {
        if (s[i] < 1 || s[i] > 8) {
            cai_buf_putc(&b, s[i]);
            continue;
        }
        char *mark = (wrapped ? hf_mark_wrapped : hf_mark_plain)((size_t)s[i] - 1);
        cai_buf_puts(&b, mark);
        free(mark);
    }
    return cai_buf_detach(&b);
}

static void try_pieces(struct hf_pieces *p, const char *plain, const char *content) {
    char *marks[8];
    const char *contents[8];
    for (size_t i = 0; i < p->texts; i++)
        marks[i] = hf_mark_plain(i);
    CAI_CHECK(hf_pieces_check("fuzz", p, (const char *const *)marks, plain) == 0);
    for (size_t i = 0; i < p->texts; i++) {
        free(marks[i]);
        contents[i] = content;
    }
    struct cai_buf b = {0};
    hf_pieces_fill(p, contents, &b);
    CAI_CHECK(hf_pieces_check("fuzz", p, contents, b.data ? b.data : "") == 0);
    if (hf_pieces_check("fuzz", p, contents, "x") < 0)
        CAI_CHECK(cai_error_text()[0]);
    cai_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *s = (const char *)data;
    if (size < 1 || cai_utf8_valid(s, size) != size)
        return 0;
    size_t n = data[0] % 9, len[3] = {0};
    const char *part[3] = {"", "", ""};
    s++, size--;
    for (int i = 0; i < 3; i++) {
        const char *nul = memchr(s, 0, size);
        part[i] = s;
        len[i] = nul ? (size_t)(nul - s) : size;
        size -= len[i] + (nul != NULL);
        s += len[i] + (nul != NULL);
    }
    char *plain = expand(part[0], len[0], false);
    char *wrapped = expand(len[1] ? part[1] : part[0], len[1] ? len[1] : len[0], true);
    char *content = expand(part[2], len[2], false);
    struct hf_source of[8] = {{0, true}, {0, false}, {1, true}};
    for (int i = 0; i < 2; i++) {
        struct hf_pieces p;
        if (hf_pieces_build("fuzz", n, i ? of : NULL, plain, wrapped, &p) < 0)
            continue;
        try_pieces(&p, plain, content);
        hf_pieces_free(&p);
    }
    free(plain);
    free(wrapped);
    free(content);
    return 0;
}
