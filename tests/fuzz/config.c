/* Any bytes as config.json: refused, or sizes that a model can be made of. */
#include "base/error.h"
#include "hf/hf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hf_config c;
    if (hf_config_parse("fuzz", (const char *)data, size, &c) < 0) {
        CAI_CHECK(cai_error_text()[0]);
        return 0;
    }
    CAI_CHECK(c.vocab_size > 0 && c.hidden_size > 0 && c.num_layers > 0 && c.num_heads > 0);
    CAI_CHECK(c.num_heads % c.num_kv_heads == 0 && c.head_dim > 0);
    CAI_CHECK(c.eos_token_id < c.vocab_size && c.rope_theta >= 0 && c.rms_norm_eps >= 0);
    return 0;
}
