/* review_plant.h: a flaw put into a text on purpose, so that a reader who looks finds it: its words
 * stand in an order drawn by chance. For gold items. */
#ifndef CAI_STAGE_REVIEW_PLANT_H
#define CAI_STAGE_REVIEW_PLANT_H

#include "stage/stage.h"

/* Enough different words for the flaw to be seen. */
bool plant_possible(const char *text);
const char *plant(const struct stage_context *c, const char *what, uint64_t item, const char *text,
                  struct cai_arena *a);

#endif
