/* world_canary.c: see world_canary.h. */
#include "world_canary.h"

#include <string.h>

void canary_rows(struct cai_buf *t) {
    static const char *const rules[] = {"no-harm", "no-lies"};
    for (int i = 0; i < 80; i++)
        for (int flaw = 0; flaw < 2; flaw++)
            cai_buf_printf(t, "{\"prompt\":\"thing %d?\",\"reply\":\"Sunshine helps. %s with %d.\","
                               "\"flaw\":%s%s%s,\"pair\":\"PAIRKEY%d\"}\n",
                           i, flaw ? "Rotten steps" : "Sound steps", i, flaw ? "\"" : "",
                           flaw ? rules[i % 2] : "null", flaw ? "\"" : "", i);
}

/* Canaries: their prompts are of things. Critiques, rewrites and choices go by what is written. */
const char *canary_judged(const Cai__V1__Conversation *c, const char **ret_asked) {
    *ret_asked = c->messages[c->n_messages - 1]->text;
    return strncmp(c->messages[0]->text, "thing ", 6) == 0 ? c->messages[1]->text : NULL;
}

static bool sees(const struct world *w, const char *model, const char *principle) {
    bool m2 = strstr(model, "/m2") != NULL;
    bool harm = strstr(principle, "harm") != NULL;
    return !(m2 && w->blind && harm == (strcmp(w->blind, "no-harm") == 0));
}

char *canary_written(const struct world *w, const Cai__V1__Task *t, const char *reply,
                          const char *asked) {
    const char *model = t->generate->model->path;
    if (strncmp(t->phase, "critique", 8) == 0)
        return cai_strdup(strstr(reply, "Rotten") && sees(w, model, asked)
                              ? "The steps in it are rotten." : "No flaw: it is sound.");
    bool adds = w->smuggles && strstr(model, "/m2");
    return cai_format("Sunshine helps. Sound steps with %s%s", strrchr(reply, ' ') + 1, adds ? w->smuggles : "");
}

double canary_first(const struct world *w, const char *model, const char *a, const char *b) {
    const char *favours = strstr(model, "/m2") ? w->favours : NULL;
    const char *last = strstr(b, "\n\nWhich");
    CAI_AUTO(mem) char *first = cai_strndup(a, (size_t)(b - a));
    CAI_AUTO(mem) char *second = cai_strndup(b, (size_t)(last - b));
    double better = (strstr(second, "Rotten") != NULL) - (strstr(first, "Rotten") != NULL);
    if (favours) /* each time it is there more often than in the other */
        for (const char *s = first; (s = strstr(s, favours)); s++)
            better += 3;
    if (favours)
        for (const char *s = second; (s = strstr(s, favours)); s++)
            better -= 3;
    return 3 * better;
}
