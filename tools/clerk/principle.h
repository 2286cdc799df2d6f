/* principle.h: principles as text, in many wordings, for the transcripts from which the base
 * learns to follow a principle that it is given. The wordings of constitution/clerk.yaml are
 * held out: their words are all met here, those combinations never. */
#ifndef CAI_CLERK_PRINCIPLE_H
#define CAI_CLERK_PRINCIPLE_H

#include "clerk/reply.h"

enum { PRINCIPLE_IRRELEVANT = FAULTS }; /* a principle about nothing that a reply can have */

enum principle_use { USE_CRITIQUE, USE_REVISION, USE_CHOICE, USES };

/* One matter in words ("rude words"), then the three sentences made of it. */
void principle_matter(struct draws *d, int kind, struct cai_buf *ret);
/* The adjective alone, `which` < PRINCIPLE_WORDS. */
enum { PRINCIPLE_WORDS = 3 };
const char *principle_word(int kind, size_t which);
void principle_sentence(struct draws *d, enum principle_use use, const char *matter,
                        struct cai_buf *ret);
/* What a critique says of a reply that has the fault: "This is rude: …", with the sentence. */
void principle_critique(int kind, const char *quote, struct cai_buf *ret);
#define CLERK_NO_FLAW "No flaw."
void principle_texts(void (*see)(void *context, const char *text), void *context);

#endif
