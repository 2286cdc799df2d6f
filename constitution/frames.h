/* frames.h: the words around principles: their defaults, and filling "{name}" slots. Private
 * to the room. */
#ifndef CAI_CONSTITUTION_FRAMES_H
#define CAI_CONSTITUTION_FRAMES_H

#include "constitution/constitution.h"

struct frame_field {
    const char *key;
    size_t offset;        /* in struct constitution_frames */
    const char *text;     /* the default */
    const char *slots;    /* names allowed, separated by blanks; "" = no slots */
    const char *required; /* names that must occur */
};
enum { FRAME_FIELDS = 23 };
extern const struct frame_field frame_fields[FRAME_FIELDS];

/* Replaces each {name} that is listed, in one pass: inserted text is never searched again.
 * pairs: name, value, …, NULL. */
const char *frame_fill(struct cai_arena *arena, const char *frame, const char *const *pairs);
/* The length of a "{name}" at s and its name's place, or 0. */
size_t frame_slot(const char *s, const char **ret_name, size_t *ret_len);

#endif
