/* place.h: where a member of a JSON line stands, for findings. The parser keeps no places; the
 * line, which it has accepted, is walked again when something is wrong in it. */
#ifndef CAI_INPUT_PLACE_H
#define CAI_INPUT_PLACE_H

#include <stddef.h>

/* Byte offset of the value at `path` ("chosen", "messages.3.content") in a line of valid JSON;
 * of the deepest member on the way that exists, when it does not. */
size_t input_place(const char *line, size_t len, const char *path);

#endif
