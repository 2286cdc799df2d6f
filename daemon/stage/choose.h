/* choose.h: reading a written choice; see extract.h. */
#ifndef CAI_STAGE_CHOOSE_H
#define CAI_STAGE_CHOOSE_H

#include "stage/extract.h"

enum extract_reason extract_choice(const struct extract_input *in, struct cai_buf *ret);

#endif
