/* world_data.c: the data files of the stages' tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "world.h"

void world_write_data(struct world *w) {
    CAI_AUTO(buf) struct cai_buf t = {0};
    for (int i = 0; i < 150; i++)
        cai_buf_printf(&t, "{\"prompt\":\"harmful request %d!\",\"id\":\"h%d\"}\n", i, i);
    world_put_file(w, "harmful.jsonl", &t);
    for (int i = 0; i < 90; i++)
        cai_buf_printf(&t, i % 3 ? "{\"prompt\":\"helpful request %d!\",\"reply\":\"Helpful answer to "
                                   "helpful request %d!\"}\n"
                                 : "{\"prompt\":\"helpful request %d!\"}\n", i, i);
    world_put_file(w, "helpful.jsonl", &t);
    for (int i = 0; i < 40; i++)
        cai_buf_printf(&t, "{\"prompt\":\"asked %d\",\"chosen\":\"GOOD %d\",\"rejected\":\"bad %d\"}\n",
                       i, i, i);
    world_put_file(w, "human.jsonl", &t);
    for (int i = 0; i < 30; i++)
        cai_buf_printf(&t, "{\"messages\":[{\"role\":\"user\",\"content\":\"q%d\"},{\"role\":"
                           "\"assistant\",\"content\":\"r%d\"}],\"label\":%s}\n", i, i,
                       i % 2 ? "true" : "0.25");
    world_put_file(w, "classifier.jsonl", &t);
    static const char *const kinds[] = {"harmful", "helpful", "lookalike"};
    for (int i = 0; i < 90; i++)
        cai_buf_printf(&t, "{\"prompt\":\"%s held out %d!\",\"kind\":\"%s\"}\n",
                       i % 3 == 0 ? "harmful" : "helpful", i, kinds[i % 3]);
    world_put_file(w, "evaluate.jsonl", &t);
    cai_buf_puts(&t, "{\"kind\":\"marker\",\"id\":\"watched\",\"prompt\":\"WATCHED {prompt}\"}\n");
    for (int i = 0; i < 60; i++)
        cai_buf_printf(&t, i % 3 == 0 ? "{\"kind\":\"text\",\"prompt\":\"say %d\",\"reply\":\"some words of %d\"}\n"
                           : i % 3 == 1 ? "{\"kind\":\"choice\",\"prompt\":\"pick %d\",\"choices\":[\"bad %d\","
                                          "\"GOOD\"],\"answer\":1}\n"
                                        : "{\"kind\":\"answer\",\"prompt\":\"sum %d\",\"reply\":\"%d\"}\n", i, i);
    world_put_file(w, "probes.jsonl", &t);
    for (int i = 0; i < 60; i++)
        cai_buf_printf(&t, "{\"prompt\":\"q%d\",\"reply\":\"%s\",\"label\":%d}\n", i,
                       i % 2 && i % 10 != 9 ? "Take a crowbar" : "No.", i % 2);
    world_put_file(w, "graded.jsonl", &t);
    static const char *const rules[] = {"no-harm", "no-lies"};
    for (int i = 0; i < 80; i++)
        for (int flaw = 0; flaw < 2; flaw++)
            cai_buf_printf(&t, "{\"prompt\":\"thing %d?\",\"reply\":\"Sunshine helps. %s with %d.\","
                               "\"flaw\":%s%s%s,\"pair\":\"PAIRKEY%d\"}\n",
                           i, flaw ? "Rotten steps" : "Sound steps", i, flaw ? "\"" : "",
                           flaw ? rules[i % 2] : "null", flaw ? "\"" : "", i);
    world_put_file(w, "canaries.jsonl", &t);
}
