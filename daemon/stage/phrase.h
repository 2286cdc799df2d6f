/* phrase.h: matching short English phrases in what models write: ASCII case ignored, runs
 * of white space equal to one space, ' also matching ’. For what reads such texts. */
#ifndef CAI_STAGE_PHRASE_H
#define CAI_STAGE_PHRASE_H

#include <stdbool.h>
#include <stddef.h>

struct view {
    const char *s;
    size_t n;
};

/* Bytes of v that `phrase` covers at its beginning, ending at a word's end; 0 = no match. */
size_t phrase_at(struct view v, const char *phrase);
/* The longest of a NULL-terminated list. */
size_t phrase_any(struct view v, const char *const *list);
/* Whether one of the list stands anywhere, beginning at a word. */
bool phrase_in(struct view v, const char *const *list);

/* Markdown before a heading or label: its length. */
size_t phrase_marks(struct view v);

struct view view_trim(struct view v);
struct view view_skip(struct view v, size_t n);
bool view_equal(struct view a, struct view b); /* white space runs are equal */
struct view view_line(struct view v);          /* the first line, without its end */
/* The first paragraph, and in *ret_rest what follows the blank line, trimmed (empty when none). */
struct view view_paragraph(struct view v, struct view *ret_rest);

#endif
