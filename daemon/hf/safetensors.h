/* safetensors.h: one safetensors file. Internal to the room; folders are weights.c. */
#ifndef CAI_HF_SAFETENSORS_H
#define CAI_HF_SAFETENSORS_H

#include "hf/hf.h"

#define HF_MAX_HEADER ((size_t)8 << 20)
#define HF_MAX_TENSORS 50000

struct json_t;

struct hf_file {
    void *map;
    size_t size;
    struct hf_tensor *tensors; /* in the order of their bytes; names are owned */
    size_t n;
    struct json_t *metadata; /* the object __metadata__, or NULL */
};

int hf_file_open(const char *path, struct hf_file *ret);
void hf_file_close(struct hf_file *f);
/* The header's checks on bytes in memory; `data` is the whole file. For fuzzing too. */
int hf_file_parse(const char *path, const void *data, size_t size, struct hf_file *ret);
const char *hf_dtype_name(enum hf_dtype t); /* "F32" … as the format spells it */

#endif
