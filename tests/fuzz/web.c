/* Any request to the pages: a line "METHOD PATH?QUERY", header lines, an empty line, a body. "valid"
 * as a cookie or secret stands for the real one, "same" as a host or origin for ours. Nothing may
 * end caid; an answer is whole, and who has no session gets nothing of the host's. */
#include "../unit/web/host.h"
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct site site;
static char path[64];

static void remove_file(void) { unlink(path); }

static void open_site(void) {
    snprintf(path, sizeof path, "/tmp/cai-fuzz-web-%d.json", (int)getpid());
    site_open(&site, path);
    atexit(remove_file);
}

static void read_query(char *text, json_t *out) {
    for (char *word; (word = strsep(&text, "&"));) {
        char *equals = strchr(word, '=');
        if (equals)
            *equals++ = '\0';
        json_object_set_new(out, word, json_string(equals ? equals : ""));
    }
}

static void read_header(char *line, struct web_request *q) {
    struct {
        const char *name, **to, *word, *stands_for;
    } headers[] = {{"Host", &q->host, "same", "127.0.0.1:1"},
                   {"Origin", &q->origin, "same", "http://127.0.0.1:1"},
                   {"Cookie", &q->cookie, "valid", site.header},
                   {"X-Cai-Session", &q->secret, "valid", site.secret},
                   {"Content-Type", &q->type, "json", "application/json"},
                   {"Sec-Fetch-Site", &q->site, "same", "same-origin"}};
    char *colon = strchr(line, ':');
    if (!colon)
        return;
    *colon = '\0';
    for (size_t i = 0; i < CAI_COUNT(headers); i++)
        if (strcmp(headers[i].name, line) == 0) {
            const char *value = colon + 1 + strspn(colon + 1, " ");
            *headers[i].to = strcmp(value, headers[i].word) == 0 ? headers[i].stands_for : value;
        }
}

/* Splits `text` in place. */
static struct web_request read_request(char *text, size_t size) {
    struct web_request q = {.method = "", .path = "/", .query = json_object()};
    char *rest = text, *line = strsep(&rest, "\n"), *space = strchr(line, ' ');
    q.method = line;
    if (space) {
        *space = '\0';
        char *query = strchr(space + 1, '?');
        q.path = space + 1;
        if (query) {
            *query = '\0';
            read_query(query + 1, q.query);
        }
    }
    while (rest && (line = strsep(&rest, "\n")) && *line)
        read_header(line, &q);
    q.body = rest;
    q.len = rest ? size - (size_t)(rest - text) : 0;
    return q;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*path)
        open_site();
    CAI_AUTO(mem) char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    struct web_request q = read_request(text, size);
    struct web_reply r = {0};
    json_decref(site.told.answer); /* a body that is JSON is also what the host says */
    site.told.answer = q.body ? json_loadb(q.body, q.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    site.told.what[0] = '\0';
    answer(&site.web, &q, &r);
    CAI_CHECK(r.status >= 200 && r.status < 600 && r.type && (r.fixed || r.body.data));
    if (q.cookie != site.header || !q.host)
        CAI_CHECK(*site.told.what == '\0' || (q.cookie && strstr(q.cookie, site.cookie)));
    if (strcmp(q.method, "POST") == 0 && *site.told.what)
        CAI_CHECK(q.origin && q.secret && q.len <= BODY_MAX);
    reply_free(&r);
    json_decref(q.query);
    if (!site.web.visits.n) /* it left */
        site_close(&site), open_site();
    return 0;
}
