/* memory.c: see memory.h. Control groups of version 2 only: version 1 is seen as no limit. */
#include "worker/memory.h"

#include "base/check.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first number that `format` finds in a line of the file; 0 when there is none. */
static uint64_t find_number(const char *path, const char *format) {
    char line[512];
    unsigned long long found = 0;
    FILE *f = fopen(path, "re");
    while (f && found == 0 && fgets(line, sizeof line, f))
        if (sscanf(line, format, &found) != 1)
            found = 0;
    if (f)
        fclose(f);
    return found;
}

/* The group's path, "" for none: the line "0::/a/b". */
static void find_group(const char *path, char *ret, size_t size) {
    char line[1024];
    FILE *f = fopen(path, "re");
    ret[0] = '\0';
    while (f && !ret[0] && fgets(line, sizeof line, f))
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(ret, size, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f)
        fclose(f);
}

/* The least of the groups' own limits, from this one up; "max" is none. */
static uint64_t group_limit(const char *root) {
    char group[1024];
    CAI_AUTO(mem) char *list = cai_format("%s/proc/self/cgroup", root);
    uint64_t least = 0;
    find_group(list, group, sizeof group);
    while (group[0]) {
        CAI_AUTO(mem) char *path = cai_format("%s/sys/fs/cgroup%s/memory.max", root, group);
        uint64_t limit = find_number(path, "%llu");
        if (limit && (!least || limit < least))
            least = limit;
        *strrchr(group, '/') = '\0';
    }
    return least;
}

uint64_t memory_of_machine(const char *root) {
    CAI_AUTO(mem) char *path = cai_format("%s/proc/meminfo", root);
    uint64_t machine = 1024 * find_number(path, "MemTotal: %llu kB"), group = group_limit(root);
    return group && (!machine || group < machine) ? group : machine;
}

uint64_t memory_for_tasks(uint64_t said, uint64_t machine, uint64_t device) {
    if (device)
        return said && said < device ? said : device;
    return said ? said : machine; /* of the machine's a person may know better: swap, say */
}

int memory_parse(const char *text, uint64_t *ret) {
    static const char units[] = "kMGT";
    char *end;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end == 'K' ? 'k' : *end) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        value *= 1000;
    if (end == text || !(value >= 1 && value < 1e18) || (*end && (!unit || end[1])))
        return cai_fail(CAI_EINPUT, "'%.40s' is no amount of memory: use bytes, or 800M, 1.5G",
                        text);
    *ret = (uint64_t)value;
    return 0;
}
