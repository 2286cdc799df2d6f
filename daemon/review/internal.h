/* internal.h: what the files of people's review in this room share. */
#ifndef CAI_REVIEW_INTERNAL_H
#define CAI_REVIEW_INTERNAL_H

#include "review/review.h"
#include "stage/review.h"

/* Whether that reader may read what belongs to `owner`'s jobs. */
bool review_sees(const struct reviewer *who, int64_t owner);
int review_may(const struct reviewer *who); /* anything at all; CAI_EAUTH */
/* The job, when the reader may see it; free with store_job_free. */
int review_job(struct store *s, const struct reviewer *who, int64_t job, struct store_job *ret);
bool review_has_read(const struct reading *list, size_t n, const char *name);
/* "open", "draft", "second" or "disputed"; of gold what any other would be. */
const char *review_state_name(const struct book_item *i, bool draft);

#endif
