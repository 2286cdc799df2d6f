/* checkpoint.h: resumable state in folders that are whole or absent.
 *
 *   absent → step-N.tmp (every rank writes its tensors-R.safetensors, rank 0 state.json
 *   and MANIFEST.json) → step-N (renamed, durable) → committed by caid → older removed
 *
 * MANIFEST.json: {"format": 1, "files": [{"name", "bytes", "sha256"}]}, sorted by name;
 * its own SHA-256 is what caid commits and hands back on resume. The newest folders are
 * kept, as many as the job says (keep.checkpoints).
 *
 * Each rank writes its own part, so the folder must be one that all ranks see. A part of a
 * tensor is called NAME@FIRST, FIRST being the element of the whole that it begins with: so
 * any number of ranks can take up what any other number wrote. The bits of a run are the
 * unbroken one's with the same number, and its numbers but for the order of sums with
 * another. */
#ifndef CAI_LEARN_CHECKPOINT_H
#define CAI_LEARN_CHECKPOINT_H

#include "learn/host.h"
#include "learn/trainer.h"

#include <jansson.h>

/* A tensor of the state, fp32. Without ranges: the whole, equal on all ranks, so that rank 0
 * alone writes it; with them: those elements of the whole that this rank has. */
struct checkpoint_tensor {
    const char *name;
    ct_tensor *t;
    const struct shard_range *ranges; /* [n_ranges] */
    int n_ranges;
};

struct checkpoint {
    const char *folder;             /* Train.checkpoints */
    uint32_t keep;                  /* Train.keep; 0 counts as 1 */
    struct comm *comm;              /* NULL: this process alone */
    const struct learn_host *host;  /* may be NULL */
};

/* Collective. state: a JSON object, borrowed; only rank 0's is written. Returns when the
 * checkpoint is committed. */
int checkpoint_save(const struct checkpoint *c, uint64_t step,
                    const struct checkpoint_tensor *tensors, size_t n, const json_t *state);
/* Verifies the manifest (its hash, when not "", then every file's size and SHA-256) and
 * fills the tensors; *ret_state is the caller's. CAI_EINPUT names what does not match. */
int checkpoint_load(const struct checkpoint *c, const char *folder, const char *manifest_hash,
                    const struct checkpoint_tensor *tensors, size_t n, json_t **ret_state);
/* Adds a trainer's parameters and moments as PREFIX.flat … (needs room for 3), and its
 * counts to state; and the way back. */
size_t checkpoint_add_trainer(const struct trainer *t, const char *prefix,
                              struct checkpoint_tensor *tensors, size_t n, json_t *state);
/* Of an adapter only its own parameters are in the state: adds to it, below PREFIX, where the
 * base lies and its hash. checkpoint_set_trainer refuses another. */
int checkpoint_add_base(const struct trainer *t, const char *prefix, json_t *state);
int checkpoint_set_trainer(struct trainer *t, const char *prefix, const json_t *state);

#endif
