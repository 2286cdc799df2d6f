/* settings.h: the one table of settings. Private to the room. */
#ifndef CAI_JOB_SETTINGS_H
#define CAI_JOB_SETTINGS_H

#include "input/schema.h"
#include "job/job.h"

/* What a text setting names. */
enum setting_role { ROLE_PLAIN, ROLE_MODEL, ROLE_FILE, ROLE_CONSTITUTION };

struct setting {
    struct schema_field field; /* key: the dotted path, as in --set; offset in struct job_spec */
    enum setting_role role;
    const char *fallback; /* the default as it is written; NULL = none */
    const char *source;   /* where the default is from */
    const char *help;
};
extern const struct setting settings[];
extern const size_t n_settings;

/* By dotted path, or NULL. */
const struct setting *setting_find(const char *path, size_t len);
/* True when settings lie under `path`: "stages.sft". */
bool setting_is_group(const char *path);
/* The distinct names one level below `prefix` ("" for the top); returns their number. */
size_t setting_children(const char *prefix, char names[][40], size_t max);
void settings_default(struct job_spec *j);

#endif
