/* check.c: findings about principles taken together, and whether a constitution serves what a
 * job wants of it. */
#include "constitution/frames.h"
#include "constitution/read.h"
#include <stdlib.h>
#include <string.h>

struct entry {
    const char *text;
    size_t index;
};

static int by_text(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    int d = strcmp(x->text, y->text);
    return d ? d : (x->index > y->index) - (x->index < y->index);
}

/* Index of an earlier principle with the same text per principle, or its own. n log n, so that
 * 1,000 long principles are checked at once. */
static size_t *first_equal(const struct constitution *c,
                           const char *(*get)(const struct principle *)) {
    size_t n = c->n_principles;
    struct entry *e = cai_realloc(NULL, n + 1, sizeof *e);
    size_t *first = cai_realloc(NULL, n + 1, sizeof *first);
    for (size_t i = 0; i < n; i++)
        e[i] = (struct entry){get(&c->principles[i]), i};
    qsort(e, n, sizeof *e, by_text);
    for (size_t i = 0; i < n; i++) {
        bool same = i && *e[i].text && strcmp(e[i].text, e[i - 1].text) == 0;
        first[e[i].index] = same ? first[e[i - 1].index] : e[i].index;
    }
    free(e);
    return first;
}

static const char *get_id(const struct principle *p) {
    return p->id;
}
static const char *get_critique(const struct principle *p) {
    return p->critique ? p->critique : "";
}
static const char *get_choice(const struct principle *p) {
    return p->choice ? p->choice : "";
}

static const struct yaml_node *at_key(const struct yaml_node *map, const char *key) {
    const struct yaml_node *node = yaml_get(map, key);
    return node ? node : map;
}

static void check_texts(struct reading *r, const struct yaml_node *map, const struct principle *p) {
    const struct yaml_node *id = at_key(map, "id");
    if (p->critique && !p->revision)
        input_report_add(r->report, id->line, id->column, "C021", "write how to revise",
                         "principle '%s' has 'critique' but no 'revision'", p->id);
    if (p->revision && !p->critique)
        input_report_add(r->report, id->line, id->column, "C021", "write what to criticise",
                         "principle '%s' has 'revision' but no 'critique'", p->id);
    if (!p->critique && !p->revision && !p->choice)
        input_report_add(r->report, id->line, id->column, "C025",
                         "write 'critique' and 'revision', or 'choice', or both",
                         "principle '%s' has no text for any stage", p->id);
    if ((p->phases & PHASE_SFT && !p->critique) || (p->phases & PHASE_RL && !p->choice)) {
        const struct yaml_node *at = at_key(map, "phases");
        bool sft = p->phases & PHASE_SFT && !p->critique;
        input_report_add(r->report, at->line, at->column, "C026",
                         "write the text, or take the phase out",
                         "principle '%s' is for phase '%s' but has no '%s'", p->id,
                         sft ? "sft" : "rl", sft ? "critique" : "choice");
    }
}

static void check_placeholders(struct reading *r, const struct yaml_node *map) {
    static const char *const keys[] = {"critique", "revision", "choice"};
    for (size_t k = 0; k < CAI_COUNT(keys); k++) {
        const struct yaml_node *node = yaml_get(map, keys[k]);
        const char *name;
        size_t len;
        for (const char *s = node && node->kind == YAML_TEXT ? node->text : ""; *s; s++)
            if (frame_slot(s, &name, &len)) {
                input_report_add(r->report, node->line, node->column, "W101",
                                 "placeholders work in 'frames' only",
                                 "'%s' contains '{%.*s}': placeholders are not substituted",
                                 keys[k], (int)len, name);
                break;
            }
    }
}

static void check_equal(struct reading *r, const struct yaml_node *list) {
    const struct constitution *c = r->c;
    size_t *id = first_equal(c, get_id), *critique = first_equal(c, get_critique),
           *choice = first_equal(c, get_choice);
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct yaml_node *at = at_key(&list->values[i], "id");
        if (id[i] != i) {
            const struct yaml_node *first = at_key(&list->values[id[i]], "id");
            input_report_add(r->report, at->line, at->column, "C020", "give each its own id",
                             "duplicate principle id '%s', first at %u:%u", c->principles[i].id,
                             first->line, first->column);
        } else if (critique[i] != i || choice[i] != i) {
            size_t other = critique[i] != i ? critique[i] : choice[i];
            input_report_add(r->report, at->line, at->column, "W102",
                             "it will be drawn twice as often",
                             "principle '%s' and '%s' have equal text", c->principles[other].id,
                             c->principles[i].id);
        }
    }
    free(id);
    free(critique);
    free(choice);
}

void check_principles(struct reading *r, const struct yaml_node *list) {
    const struct constitution *c = r->c;
    double sum = 0;
    size_t enabled = 0, choices = 0;
    for (size_t i = 0; i < c->n_principles; i++) {
        const struct principle *p = &c->principles[i];
        if (list->values[i].kind == YAML_MAP) {
            check_texts(r, &list->values[i], p);
            check_placeholders(r, &list->values[i]);
        }
        sum += p->enabled ? p->weight : 0;
        enabled += p->enabled;
        choices += p->enabled && p->phases & PHASE_RL;
    }
    check_equal(r, list);
    if (c->n_principles && !enabled)
        input_report_add(r->report, list->line, list->column, "C023", "enable at least one",
                         "no principle is enabled");
    else if (c->n_principles && sum == 0)
        input_report_add(r->report, list->line, list->column, "C023",
                         "give at least one a weight above 0", "all weights are 0");
    else if (c->n_principles && !choices)
        input_report_add(r->report, list->line, list->column, "W104",
                         "write 'choice' texts before a job labels with it",
                         "no enabled principle has 'choice': the label stage cannot run");
}

static double phase_weight(const struct constitution *c, uint32_t phase) {
    double sum = 0;
    for (size_t i = 0; i < c->n_principles; i++)
        if (c->principles[i].enabled && c->principles[i].phases & phase)
            sum += c->principles[i].weight;
    return sum;
}

int constitution_serves(const struct constitution *c, uint32_t phases,
                        struct input_report *report) {
    size_t errors = report->errors;
    if (phases & PHASE_SFT && phase_weight(c, PHASE_SFT) <= 0)
        input_report_add(
            report, 0, 0, "C022", "write 'critique' and 'revision', or switch the stage off",
            "no enabled principle with a weight has 'critique': stage revise cannot run");
    if (phases & PHASE_RL && phase_weight(c, PHASE_RL) <= 0)
        input_report_add(report, 0, 0, "C022", "write 'choice', or switch the stage off",
                         "no enabled principle with a weight has 'choice': stage label cannot run");
    return report->errors > errors ? input_report_status(report) : 0;
}
