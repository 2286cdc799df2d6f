/* files.h: what `clerk world` writes: the data of the demonstration and of its controls. */
#ifndef CAI_CLERK_FILES_H
#define CAI_CLERK_FILES_H

#include "clerk/world.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* red.jsonl, helpful.jsonl, evaluate.jsonl, classifier.jsonl, pairs.jsonl, world.json. */
/* held_out: the family of attacks that red.jsonl leaves out; TOPIC_ANY: none. */
int files_write_world(const char *dir, uint64_t seed, enum clerk_topic held_out);
/* The seed in a world's world.json. */
int files_read_seed(const char *dir, uint64_t *ret);
/* Documents first … first + count - 1 of the base's corpus as JSONL, for people and tests. */
int files_write_corpus(FILE *out, uint64_t seed, uint64_t first, uint64_t count);

#endif
