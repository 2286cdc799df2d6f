/* page.c: the pages as the server writes them: a frame from pages/NAME.html with @WORDS@ in the
 * places of what changes. The dashboard's table is whole without a script; everything that models
 * wrote reaches a browser as JSON alone, and never passes here. */
#include "base/error.h"
#include "base/text.h"
#include "web/inside.h"
#include <sodium.h>
#include <string.h>

void page_escape(struct cai_buf *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&': cai_buf_puts(out, "&amp;"); break;
        case '<': cai_buf_puts(out, "&lt;"); break;
        case '>': cai_buf_puts(out, "&gt;"); break;
        case '"': cai_buf_puts(out, "&quot;"); break;
        case '\'': cai_buf_puts(out, "&#39;"); break;
        default: cai_buf_putc(out, *text);
        }
    }
}

struct word {
    const char *name, *html; /* html: escaped already */
};

/* The frame with each @NAME@ replaced; a name that is not among `words` stays, which a test sees. */
static void put_page(const char *path, const struct word *words, struct cai_buf *out) {
    const struct asset *a = asset_find(path);
    CAI_CHECK(a);
    const char *s = (const char *)a->data, *end = s + a->len;
    while (s < end) {
        const char *at = memchr(s, '@', (size_t)(end - s));
        cai_buf_append(out, s, (size_t)((at ? at : end) - s));
        if (!at)
            return;
        s = at;
        for (const struct word *w = words; w->name && s == at; w++) {
            size_t n = strlen(w->name);
            if ((size_t)(end - at) > n + 1 && strncmp(at + 1, w->name, n) == 0 && at[n + 1] == '@') {
                cai_buf_puts(out, w->html);
                s = at + n + 2;
            }
        }
        if (s == at)
            cai_buf_putc(out, *s++);
    }
}

static const char *text_in(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}
static double number_in(const json_t *o, const char *name) {
    return json_number_value(json_object_get(o, name));
}

static void put_cell(struct cai_buf *out, const char *text) {
    cai_buf_puts(out, "<td>");
    page_escape(out, *text ? text : "–");
    cai_buf_puts(out, "</td>");
}

/* ---- the dashboard --------------------------------------------------------------------------------- */

/* "round 2 of 3 · Label", or what it waits for. */
static void put_place(struct cai_buf *out, const json_t *job) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    const char *title = text_in(job, "title"), *reason = text_in(job, "reason");
    double round = number_in(job, "round"), rounds = number_in(job, "rounds");
    if (*title && round <= rounds)
        cai_buf_printf(&text, "round %.0f of %.0f · ", round, rounds);
    cai_buf_puts(&text, title);
    if (*reason)
        cai_buf_printf(&text, "%s%s", *title ? " · " : "", reason);
    put_cell(out, text.len ? text.data : "");
}

static void put_progress(struct cai_buf *out, const json_t *job) {
    double done = number_in(job, "done"), total = number_in(job, "total");
    const json_t *eta = json_object_get(job, "eta_s");
    char left[32];
    cai_buf_puts(out, "<td>");
    if (total > 0)
        cai_buf_printf(out, "<progress max=\"%.0f\" value=\"%.2f\" aria-label=\"progress\"></progress> "
                            "%.0f of %.0f ", total, done, done, total);
    page_escape(out, total > 0 ? text_in(job, "unit") : "–");
    if (json_is_number(eta)) {
        cai_text_duration(left, sizeof left, json_number_value(eta));
        cai_buf_printf(out, ", %s left", left);
    }
    cai_buf_puts(out, "</td>");
}

static void put_job(struct cai_buf *out, const json_t *job) {
    const char *state = text_in(job, "state");
    cai_buf_printf(out, "<tr><td>%.0f</td>", number_in(job, "id"));
    put_cell(out, text_in(job, "name"));
    cai_buf_puts(out, "<td><span class=\"state ");
    page_escape(out, state);
    cai_buf_puts(out, "\">");
    page_escape(out, state);
    cai_buf_puts(out, "</span></td>");
    put_place(out, job);
    put_progress(out, job);
    cai_buf_puts(out, "</tr>\n");
}

static void put_worker(struct cai_buf *out, const json_t *worker) {
    const json_t *job = json_object_get(worker, "job");
    CAI_AUTO(mem) char *doing = json_is_integer(job)
                                    ? cai_format("job %lld, %s", (long long)json_integer_value(job),
                                                 text_in(worker, "stage"))
                                    : cai_strdup("");
    cai_buf_puts(out, "<tr>");
    put_cell(out, text_in(worker, "name"));
    put_cell(out, text_in(worker, "host"));
    put_cell(out, text_in(worker, "state"));
    put_cell(out, doing);
    put_cell(out, text_in(worker, "reason"));
    cai_buf_puts(out, "</tr>\n");
}

/* Rows of what the host lists; a row that says so when there are none, or why not. */
static char *rows_of(struct web *w, const struct web_person *who, const char *what, int columns,
                     const char *none, void (*put)(struct cai_buf *, const json_t *)) {
    struct cai_buf out = {0};
    json_t *args = json_object(), *reply = NULL, *row;
    size_t i;
    int rc = w->host.ask(w->host.of, who, what, args, &reply);
    json_t *rows = json_object_get(reply, "rows");
    json_array_foreach(rows, i, row)
        put(&out, row);
    if (rc < 0 || !json_array_size(rows)) {
        cai_buf_printf(&out, "<tr><td colspan=\"%d\">", columns);
        page_escape(&out, rc < 0 ? cai_error_text() : none);
        cai_buf_puts(&out, "</td></tr>\n");
    }
    json_decref(args);
    json_decref(reply);
    return cai_buf_detach(&out);
}

static void put_framed(const char *path, const struct web_person *who, const char *jobs,
                       const char *workers, struct web_reply *ret) {
    CAI_AUTO(buf) struct cai_buf name = {0};
    page_escape(&name, who->name);
    const struct word words[] = {{"NAME", name.data ? name.data : ""}, {"JOBS", jobs},
                                 {"WORKERS", workers}, {0}};
    ret->type = "text/html; charset=utf-8";
    put_page(path, words, &ret->body);
}

void page_dashboard(struct web *w, const struct web_person *who, struct web_reply *ret) {
    CAI_AUTO(mem) char *jobs = rows_of(w, who, "jobs", 5, "No job yet: caictl submit job.yaml", put_job);
    CAI_AUTO(mem) char *workers = rows_of(w, who, "workers", 5, "No worker is connected.", put_worker);
    put_framed("/dashboard.html", who, jobs, workers, ret);
}

void page_review(struct web *w, const struct web_person *who, struct web_reply *ret) {
    (void)w;
    put_framed("/review.html", who, "", "", ret);
}

/* ---- before there is a session ---------------------------------------------------------------------- */

/* The session's second secret is base64: it needs no escape. */
void page_entered(const char *secret, struct web_reply *ret) {
    const struct word words[] = {{"SECRET", secret}, {0}};
    ret->status = 200;
    ret->type = "text/html; charset=utf-8";
    put_page("/entered.html", words, &ret->body);
}

/* Of what stands between <style> and </style>, as a content security policy names it. */
static void style_hash(const struct cai_buf *page, char *out, size_t size) {
    unsigned char hash[crypto_hash_sha256_BYTES];
    const char *from = strstr(page->data, "<style>"), *to = strstr(page->data, "</style>");
    CAI_CHECK(from && to && size > sodium_base64_ENCODED_LEN(sizeof hash, sodium_base64_VARIANT_ORIGINAL));
    from += strlen("<style>");
    crypto_hash_sha256(hash, (const unsigned char *)from, (size_t)(to - from));
    sodium_bin2base64(out, size, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
}

void page_refused(const char *says, struct web_reply *ret) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    page_escape(&text, says);
    const struct word words[] = {{"SAYS", text.data ? text.data : ""}, {0}};
    ret->type = "text/html; charset=utf-8";
    put_page("/refused.html", words, &ret->body);
    style_hash(&ret->body, ret->style, sizeof ret->style);
}
