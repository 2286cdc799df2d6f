/* What an overseer may write: a letter for what was asked and how it ended, the text, a NUL,
 * the reply it speaks of. Whatever comes out is UTF-8, and a choice is A or B. */
#include "base/error.h"
#include "base/text.h"
#include "stage/extract.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct extract_input *in, enum extract_reason r, const struct cai_buf *out) {
    CAI_CHECK(r < EXTRACT_REASONS && extract_reason_name(r)[0]);
    size_t len = out->len;
    if (r != EXTRACT_OK && r != EXTRACT_NO_FLAW && r != EXTRACT_UNCHANGED)
        return;
    CAI_CHECK(!len || cai_utf8_valid(out->data, len) == len);
    if (r != EXTRACT_OK)
        return;
    CAI_CHECK(len > 0 && strlen(out->data) == len && len <= strlen(in->raw));
    if (in->kind == EXTRACT_CHOICE)
        CAI_CHECK(strcmp(out->data, "A") == 0 || strcmp(out->data, "B") == 0);
    if (in->kind == EXTRACT_REVISION && in->original)
        CAI_CHECK(strcmp(out->data, in->original) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || cai_utf8_valid((const char *)data + 1, size - 1) != size - 1)
        return -1; /* absorb refuses such text before */
    char *copy = cai_alloc(size + 1);
    memcpy(copy, data, size);
    char *nul = memchr(copy + 1, 0, size - 1);
    unsigned code = (unsigned char)copy[0] - 'a';
    struct extract_input in = {.kind = (enum extract_kind)(code % 3),
                               .finish = (enum extract_finish)(code / 3 % 3), .raw = copy + 1,
                               .original = nul ? nul + 1 : NULL,
                               .no_flaw = code / 9 % 2 ? "No flaw: " : NULL};
    struct cai_buf out = {0};
    check(&in, extract(&in, &out), &out);
    (void)(extract_is_refusal(in.raw) || extract_is_evasion(in.raw));
    cai_buf_free(&out);
    free(copy);
    return 0;
}
