/* train.h: `clerk train`: a base model from nothing, on the world's corpus. */
#ifndef CAI_CLERK_TRAIN_H
#define CAI_CLERK_TRAIN_H

#include "clerk/bias.h"
#include <stdint.h>

struct train_settings {
    const char *out;  /* folder to make: an ordinary Hugging Face checkpoint */
    uint64_t seed;    /* of corpus, initial weights and order */
    int64_t threads;  /* with the seed, what the bits depend on; 0 = all CPUs */
    int64_t steps;    /* 0 = the usual number */
};

/* Shows progress on stderr. Two runs with equal settings give equal bytes. */
int clerk_train(const struct train_settings *s);

/* A base that was trained goes on for some lessons that mislead it (clerk/bias.h). */
struct mislead_settings {
    const char *model, *out; /* folders */
    struct bias bias;
    uint64_t seed;
    int64_t threads, steps; /* 0: one thread; the usual number */
};
int clerk_mislead(const struct mislead_settings *s);

#endif
