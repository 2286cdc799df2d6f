/* manual.c: the frames of constitution(5), written from their table as scdoc. */
#include "constitution/frames.h"
#include <string.h>

static void put_plain(struct cai_buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '\n')
            cai_buf_puts(out, "\\\\n"); /* shown as a backslash and n, on one line */
        else if (strchr("\\*_`#[]|<>", *text))
            cai_buf_printf(out, "\\%c", *text);
        else
            cai_buf_putc(out, *text);
    }
}

void constitution_write_manual(struct cai_buf *ret) {
    for (size_t i = 0; i < FRAME_FIELDS; i++) {
        const struct frame_field *f = &frame_fields[i];
        cai_buf_putc(ret, '*');
        put_plain(ret, f->key);
        cai_buf_puts(ret, "*\n\t");
        if (*f->slots) {
            cai_buf_puts(ret, "Places: ");
            put_plain(ret, f->slots);
            cai_buf_puts(ret, "; needed: ");
            put_plain(ret, *f->required ? f->required : "none");
            cai_buf_puts(ret, ". ");
        }
        cai_buf_puts(ret, "Default: \"");
        put_plain(ret, f->text);
        cai_buf_puts(ret, "\"\n\n");
    }
}
