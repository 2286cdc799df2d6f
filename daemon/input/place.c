/* place.c: walks a line of JSON along a path. Not a parser: what is no JSON ends the walk where
 * it is, within the line. */
#include "input/place.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    const char *at, *end;
};

static void skip_space(struct walk *w) {
    while (w->at < w->end && strchr(" \t\r\n", *w->at) && *w->at)
        w->at++;
}

static void skip_string(struct walk *w) {
    for (w->at++; w->at < w->end && *w->at != '"'; w->at++)
        w->at += *w->at == '\\' && w->at + 1 < w->end;
    w->at += w->at < w->end;
}

static void skip_value(struct walk *w) {
    size_t depth = 0;
    do {
        if (w->at == w->end)
            return;
        char c = *w->at;
        if (c == '"') {
            skip_string(w);
            continue;
        }
        depth += c == '{' || c == '[';
        if (c == '}' || c == ']')
            depth -= depth > 0;
        w->at++;
    } while (depth || (w->at < w->end && !strchr(",}]", *w->at)));
}

/* Over ',' to the next member; false at the end. */
static bool next(struct walk *w) {
    skip_space(w);
    bool more = w->at < w->end && *w->at == ',';
    w->at += more;
    skip_space(w);
    return more;
}

static bool into_object(struct walk *w, const char *name, size_t n) {
    w->at++;
    skip_space(w);
    do {
        const char *key = w->at + 1;
        if (w->at == w->end || *w->at != '"')
            return false;
        skip_string(w);
        bool same = (size_t)(w->at - key) == n + 1 && memcmp(key, name, n) == 0;
        skip_space(w);
        w->at += w->at < w->end; /* ':' */
        skip_space(w);
        if (same)
            return true;
        skip_value(w);
    } while (next(w));
    return false;
}

static bool into_list(struct walk *w, const char *name) {
    w->at++;
    skip_space(w);
    for (unsigned long i = strtoul(name, NULL, 10); i > 0; i--) {
        skip_value(w);
        if (!next(w))
            return false;
    }
    return w->at < w->end && *w->at != ']';
}

size_t input_place(const char *line, size_t len, const char *path) {
    struct walk w = {line, line + len};
    skip_space(&w);
    size_t found = (size_t)(w.at - line);
    while (*path && w.at < w.end) {
        size_t n = strcspn(path, ".");
        bool there = *w.at == '{'   ? into_object(&w, path, n)
                     : *w.at == '[' ? into_list(&w, path)
                                    : false;
        if (!there || w.at >= w.end)
            break;
        found = (size_t)(w.at - line);
        path += n + (path[n] == '.');
    }
    return found;
}
