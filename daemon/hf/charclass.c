/* charclass.c: the table of character classes, from Oniguruma's own ranges, so that a hand
 * matcher and a pattern agree, with what `tokenizers` knows beyond them. Not for normal
 * forms (normal_form.c). */
#include "hf/charclass.h"
#include "base/arena.h"
#include "base/check.h"
#include "hf/unicode_tables.h"

#include <oniguruma.h>
#include <pthread.h>
#include <string.h>

#define CODE_POINTS 0x110000

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint16_t *table; /* [CODE_POINTS]; lives as long as the process */

static void add_range(uint32_t first, uint32_t last, uint32_t classes) {
    for (uint32_t c = first; c <= last && c < CODE_POINTS; c++)
        table[c] |= (uint16_t)classes;
}

static void add_property(const char *name, uint32_t classes) {
    OnigUChar *s = (OnigUChar *)name; /* which it only reads */
    OnigEncoding utf8 = ONIG_ENCODING_UTF8;
    int ctype = ONIGENC_PROPERTY_NAME_TO_CTYPE(utf8, s, s + strlen(name));
    OnigCodePoint unused;
    const OnigCodePoint *ranges = NULL; /* their number, then first and last of each */
    CAI_CHECK(ctype >= 0 && utf8->get_ctype_code_range(ctype, &unused, &ranges) == ONIG_NORMAL);
    for (OnigCodePoint i = 0; i < ranges[0]; i++)
        add_range(ranges[1 + 2 * i], ranges[2 + 2 * i], classes);
}

/* Categories that Oniguruma leaves empty here may be newer than it is. */
static void add_newer(void) {
    const uint32_t known =
        HF_LETTER | HF_MARK | HF_NUMBER | HF_PUNCT | HF_SYMBOL | HF_SPACE | HF_WORD;
    for (size_t i = 0; i < CAI_COUNT(hf_newer_classes); i++) {
        const struct hf_class_range *r = &hf_newer_classes[i];
        for (uint32_t c = r->first; c <= r->last; c++)
            if (!(table[c] & known))
                table[c] |= (uint16_t)(r->classes | HF_NEWER | (r->classes & HF_NUMBER ? HF_DIGIT : 0));
    }
}

static void make_table(void) {
    static const struct {
        const char *name;
        uint32_t classes;
    } properties[] = {{"Lu", HF_UPPER},       {"Lt", HF_UPPER},  {"Ll", HF_LOWER},
                      {"Lm", HF_OTHER_LETTER}, {"Lo", HF_OTHER_LETTER}, {"M", HF_MARK | HF_WORD},
                      {"N", HF_NUMBER | HF_DIGIT},       {"P", HF_PUNCT},   {"S", HF_SYMBOL},
                      {"Space", HF_SPACE},    {"Alphabetic", HF_WORD}, {"Nd", HF_WORD},
                      {"Pc", HF_WORD}};
    OnigEncoding used[] = {ONIG_ENCODING_UTF8};
    CAI_CHECK(onig_initialize(used, 1) == ONIG_NORMAL);
    table = cai_alloc(CODE_POINTS * sizeof *table);
    for (size_t i = 0; i < CAI_COUNT(properties); i++)
        add_property(properties[i].name, properties[i].classes);
    add_range('\n', '\n', HF_NEWLINE);
    add_range('\r', '\r', HF_NEWLINE);
    add_range(0x200C, 0x200D, HF_WORD); /* joiners */
    add_newer();
    add_range(0x11DE0, 0x11DE9, HF_DIGIT);
    add_range(0x16FF4, 0x16FF6, HF_DIGIT);
}

const uint16_t *hf_classes(void) {
    pthread_once(&once, make_table);
    return table;
}

bool hf_is_punctuation(uint32_t c) {
    if (c < 0x80)
        return (hf_classes()[c] & (HF_PUNCT | HF_SYMBOL)) != 0;
    if (c == 0x166D || c == 0x111C9)
        return true; /* were punctuation in Unicode 8 */
    for (size_t i = 0; i < CAI_COUNT(hf_not_punctuation); i++)
        if (c >= hf_not_punctuation[i].first && c <= hf_not_punctuation[i].last)
            return false;
    return (hf_classes()[c] & HF_PUNCT) != 0;
}
