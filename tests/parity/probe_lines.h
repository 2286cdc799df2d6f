/* probe_lines.h: a probe's conversation with its Python test: a JSON question a line, a JSON
 * answer a line, errors in it. */
#ifndef CAI_TEST_PARITY_PROBE_LINES_H
#define CAI_TEST_PARITY_PROBE_LINES_H

#include "base/error.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Until the input ends; `how`: jansson's flags for the answers. */
static inline void answer_lines(int (*answer)(const json_t *q, json_t *a), size_t how)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_auto_t *q = json_loadb(line, (size_t)n, 0, NULL);
        json_auto_t *a = json_object();
        if (answer(q, a) < 0)
            json_object_set_new(a, "error", json_string(cai_error_text()));
        json_dumpf(a, stdout, how);
        putchar('\n');
        fflush(stdout);
    }
    free(line);
}

#endif
