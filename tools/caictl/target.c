/* target.c: a model as a person names it → its folder. */
#include "base/error.h"
#include "base/file.h"
#include "export.h"
#include "input/schema.h"
#include "look.h"
#include <stdlib.h>
#include <string.h>

bool target_is_job(const char *text, int64_t *ret) {
    return schema_integer(text, ret) && *ret > 0;
}

static char *model_name(int64_t job, const json_t *model) {
    int64_t round = integer_of(model, "round");
    if (strcmp(text_of(model, "stage"), "start") == 0)
        return cai_format("start of job %lld", (long long)job);
    if (strcmp(text_of(model, "stage"), "ppo") == 0)
        return cai_format("job %lld after PPO", (long long)job);
    return cai_format("job %lld round %lld", (long long)job, (long long)round);
}

static int find_in_job(const char *text, int64_t job, int64_t round, struct target *ret) {
    const json_t *model[1];
    json_t *show;
    int code = client_call("show", json_pack("{s:I}", "id", (json_int_t)job), false, &show);
    if (code)
        return code;
    if (folder_find(show, "policy", round, model, 1) == 0) {
        json_decref(show);
        return complain(EXIT_NOT_FOUND, "'%s': job %lld has no such model yet; `caictl show %lld` "
                                        "lists what it has", text, (long long)job, (long long)job);
    }
    *ret = (struct target){cai_strdup(text_of(model[0], "path")), model_name(job, model[0]), show};
    return EXIT_OK;
}

int target_find(const char *text, struct target *ret) {
    const char *colon = strchr(text, ':');
    CAI_AUTO(mem) char *id = colon ? cai_strndup(text, (size_t)(colon - text)) : cai_strdup(text);
    CAI_AUTO(mem) char *config = cai_path_join(text, "config.json");
    CAI_AUTO(mem) char *adapter = cai_path_join(text, "adapter_config.json");
    int64_t job, round = -1;
    *ret = (struct target){0};
    if (target_is_job(id, &job)) {
        if (colon && (!schema_integer(colon + 1, &round) || round < 0))
            return complain(EXIT_USAGE, "'%s': after the colon comes a round, 0 for the start", text);
        return find_in_job(text, job, round, ret);
    }
    if (!cai_file_exists(config) && !cai_file_exists(adapter))
        return complain(EXIT_NOT_FOUND, "'%s' is no job's number and no folder of a model (it has "
                                        "no config.json)", text);
    *ret = (struct target){cai_strdup(text), cai_strdup(text), NULL};
    return EXIT_OK;
}

void target_free(struct target *t) {
    free(t->path);
    free(t->name);
    json_decref(t->show);
    *t = (struct target){0};
}
