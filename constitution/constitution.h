/* constitution.h: principles as plain data, read from YAML, immutable and hashed.
 * Rendering principles into messages is render.h; choosing which principle is
 * used where is the stages' (counted draws over `weight`). */
#ifndef CAI_CONSTITUTION_CONSTITUTION_H
#define CAI_CONSTITUTION_CONSTITUTION_H

#include "base/arena.h"
#include "base/buf.h"
#include "input/report.h"
#include <stdbool.h>
#include <stdint.h>

enum principle_phase { PHASE_SFT = 1, PHASE_RL = 2 };

struct turn {
    const char *role; /* "user" or "assistant"; in data also "system", first */
    const char *text;
};

struct principle {
    const char *id, *title, *critique, *revision, *choice, *rationale; /* NULL when absent */
    uint32_t tier;
    double weight;
    bool enabled;
    uint32_t phases; /* bits of principle_phase: given, or by which texts exist */
    const char *const *tags;
    size_t n_tags;
    const char *source_name, *source_ref;
    int64_t source_votes; /* -1 = absent */
};

/* A worked critique and revision, shown before the real one. no_flaw: the reply was
 * fine and the critique says so (then revision is NULL). */
struct critique_example {
    const struct turn *turns; /* ends with the assistant's reply that is judged */
    size_t n_turns;
    const char *critique_request, *critique, *revision_request, *revision;
    bool no_flaw;
};
struct choice_example {
    const struct turn *turns; /* ends with the user */
    size_t n_turns;
    const char *choice, *a, *b;
    const char *reasoning; /* why; shown only where reasons are asked for. NULL when absent */
    char answer; /* 'A' or 'B' */
};

/* The words around principles; every one has a default that is written to the canonical
 * form, so that a revision says all of what a model is shown. */
struct constitution_frames {
    const char *critique; /* how a critique is asked for: "{principle}" */
    const char *revision; /* "{principle}" */
    const char *choice;   /* "{conversation}" "{principle}" "{a}" "{b}" */
    const char *reasoned_choice; /* the same, where reasons come before the answer */
    const char *critique_prefix, *revision_prefix, *choice_prefix; /* begins the model's reply */
    const char *reasoning_prefix, *reasoned_prefix; /* begin the reasons, and the answer after them */
    const char *option_a, *option_b;                               /* whole option strings */
    const char *no_flaw; /* a critique that begins so means "keep the reply" */
    const char *any_critique, *any_revision; /* in place of a principle's where none is named */
    const char *critiqueable; /* "{principle}": is there a flaw at all? */
    const char *helpful;      /* after a critique: is it right, and of use? */
    const char *verdict_prefix, *option_yes, *option_no; /* how these two are answered */
    const char *tamper;       /* "{principle}": put a flaw into the reply */
    const char *debate;       /* "{principle}" "{question}" "{mine}" "{debate}": a speech */
    const char *debate_prefix;
    const char *debated_choice; /* as choice, and "{debate}" "{said_a}" "{said_b}" */
};

struct constitution {
    struct cai_arena arena;
    const char *name, *license;
    uint32_t revisions, per_comparison; /* sampling: defaults for the job */
    struct principle *principles;
    size_t n_principles;
    struct critique_example *critique_examples;
    size_t n_critique_examples;
    struct choice_example *choice_examples;
    size_t n_choice_examples;
    struct constitution_frames frames;
    char revision[65]; /* SHA-256 of the canonical form */
};

/* Parses and validates. Every finding (up to 20, then a count) goes to `report`, with
 * file:line:column, code (C…, W…) and help. 0, or CAI_EINPUT when there is an error. */
int constitution_load(const char *path, struct input_report *report, struct constitution **ret);
/* `dir` is where `examples:` files may lie; NULL forbids them. */
int constitution_parse(const char *name, const char *text, size_t len, const char *dir,
                       struct input_report *report, struct constitution **ret);
void constitution_free(struct constitution *c);
/* The canonical form: JSON with sorted keys and every default filled in. parse(canonical)
 * gives the same revision; comments and order of keys do not change it. */
void constitution_canonical(const struct constitution *c, struct cai_buf *ret);
/* Whether it has what these phases need (bits of principle_phase): C022, or 0. */
int constitution_serves(const struct constitution *c, uint32_t phases, struct input_report *report);
const struct principle *constitution_find(const struct constitution *c, const char *id);
/* Differences for people, principle by principle; returns their number. */
size_t constitution_diff(const struct constitution *a, const struct constitution *b,
                         struct cai_buf *ret);

/* YAML for people; reading it back gives the same revision. Comments are not kept. */
void constitution_write_yaml(const struct constitution *c, struct cai_buf *ret);

/* The frames with their defaults as scdoc, for constitution(5). */
void constitution_write_manual(struct cai_buf *ret);

/* Importers: "cai-paper" (CritiqueRevisionInstructions.json or RLMadisonInstructions.json)
 * and "hf" ({"constitutions":[{critic, revision}], …}); YAML to `ret`, one principle per
 * published pair. */
int constitution_import(const char *format, const char *path, struct input_report *report,
                        struct cai_buf *ret);

#endif
