/* Any bytes as a safetensors file: refused, or every byte of every tensor is readable. */
#include "base/error.h"
#include "hf/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hf_file f = {0};
    if (hf_file_parse("fuzz", data, size, &f) < 0) {
        CAI_CHECK(cai_error_text()[0]);
        return 0;
    }
    size_t total = 0;
    unsigned sum = 0;
    for (size_t i = 0; i < f.n; i++) {
        const unsigned char *p = f.tensors[i].data;
        CAI_CHECK(f.tensors[i].bytes == 0 || (p >= data && p + f.tensors[i].bytes <= data + size));
        for (size_t k = 0; k < f.tensors[i].bytes; k++)
            sum += p[k];
        total += f.tensors[i].bytes;
    }
    CAI_CHECK(total <= size && sum <= 255 * total);
    hf_file_close(&f);
    return 0;
}
