/* template_run.h: a chat template run by Jinja2 in a process. Internal to the room. */
#ifndef CAI_HF_TEMPLATE_RUN_H
#define CAI_HF_TEMPLATE_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One rendering that is asked for: the first n roles with these contents. */
struct hf_render {
    const char *const *contents;
    size_t n;
    bool generate;
};

/* Runs all of them in one process. `path` names the template for messages; context is
 * what the template sees besides messages; now is the pinned time for strftime_now.
 * ret_answers is a list with {"text"} or {"error"} for each; the caller's. CAI_EINPUT when
 * the template is not valid, CAI_ETIMEOUT and CAI_ELIMIT when it takes too much. */
int hf_template_run(const char *path, const char *source, const json_t *context, int64_t now,
                    const char *const *roles, size_t num_roles, const struct hf_render *renders,
                    size_t n, json_t **ret_answers);

#endif
