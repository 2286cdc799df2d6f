/* task.c: what any stage does with its context: adding a task, asking what a person accepted. */
#include "stage/stage.h"

#include <stdlib.h>
#include <string.h>

bool stage_accepted(const struct stage_context *c, const char *gate) {
    size_t len = strlen(gate);
    for (const char *s = c->accepted; s && *s; s += strcspn(s, " ")) {
        s += strspn(s, " ");
        if (strcspn(s, " ") == len && strncmp(s, gate, len) == 0)
            return true;
    }
    return false;
}

int stage_task_add(const struct stage_context *c, const char *phase, uint32_t chunk, bool gang,
                   Cai__V1__Task *task) {
    task->job = (uint64_t)c->job_id;
    task->id = 0;
    task->round = c->round;
    task->stage = (char *)c->stage;
    task->phase = (char *)phase;
    task->chunk = chunk;
    task->seed = c->job->seed;
    /* Absent is float32: nothing changes for a worker that knows no other. */
    task->dtype = strcmp(c->job->models.dtype, "bfloat16") == 0 ? (char *)"bfloat16"
                                                                 : (char *)"";
    if (c->guise) {
        task->stage = (char *)c->guise->stage;
        task->phase = (char *)c->guise->phase;
        task->chunk = chunk + c->guise->chunk;
    }
    size_t len = cai__v1__task__get_packed_size(task);
    CAI_AUTO(mem) uint8_t *packed = cai_alloc(len + 1);
    cai__v1__task__pack(task, packed);
    struct store_task row = {.job = c->job_id, .round = c->round, .chunk = chunk,
                             .stage = c->stage, .phase = phase, .gang = gang, .payload = packed,
                             .payload_len = len};
    return store_task_add(c->store, &row, NULL);
}

static void replace(char **io, const char *text) {
    if (strcmp(*io, text) == 0)
        return;
    if (*io != protobuf_c_empty_string)
        free(*io);
    *io = cai_strdup(text);
}

void stage_task_unmask(Cai__V1__Task *task, const struct store_task *row) {
    replace(&task->stage, row->stage);
    replace(&task->phase, row->phase);
    task->chunk = row->chunk;
}
