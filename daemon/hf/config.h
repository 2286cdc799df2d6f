/* config.h: what the readers of config.json share. Internal to the room. */
#ifndef CAI_HF_CONFIG_H
#define CAI_HF_CONFIG_H

#include "hf/family.h"
#include "hf/json.h"

/* config.json being read. */
struct config_reader {
    const char *path;
    const json_t *o;
    const struct hf_family *f;
    struct hf_config *c;
};

int config_read_rope(const struct config_reader *r);   /* config_rope.c */
int config_read_layers(const struct config_reader *r); /* config_layers.c: windows, NoPE */
int config_refuse(const struct config_reader *r);      /* config_layers.c: what we do not compute */

#endif
