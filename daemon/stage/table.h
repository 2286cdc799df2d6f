/* table.h: the rows of the stage table, one per file. */
#ifndef CAI_STAGE_TABLE_H
#define CAI_STAGE_TABLE_H

#include "stage/stage.h"

extern const struct stage stage_red_team, stage_revise, stage_audit, stage_review_texts,
    stage_consist, stage_sft, stage_label, stage_review, stage_prefer, stage_skill,
    stage_evaluate, stage_ppo;

#endif
