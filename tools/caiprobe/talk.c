/* talk.c: one reply after the other, shown while it is written. Each line of input is a whole
 * conversation, so nothing is kept between replies. For: caictl chat. */
#include "probe.h"

#include <signal.h>
#include <string.h>

enum { ROOM_MIN = 8 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static bool stopping(void *context)
{
    (void)context;
    return interrupted;
}

struct reply {
    struct hf_stream *stream;
    struct cai_buf text;
    size_t tokens, shown; /* shown: bytes of text printed so far */
    int rc;
};

static void show(struct reply *r)
{
    if (r->text.len == r->shown)
        return;
    print_json(json_pack("{s:s%}", "piece", r->text.data + r->shown, r->text.len - r->shown));
    fflush(stdout);
    r->shown = r->text.len;
}

static void drawn(void *context, int32_t id)
{
    struct reply *r = context;
    if (r->rc < 0)
        return;
    r->tokens++;
    r->rc = hf_stream_push(r->stream, id, &r->text);
    show(r);
}

static int write_reply(struct probe *p, const struct hf_ids *ids, struct engine *e, struct reply *r,
                       const char **ret_stop)
{
    static const char *const names[] = {"end", "stop", "length", "too_long"};
    struct gen_request request = {
        .ids = ids->data, .n_ids = ids->n,
        .key = cai_key_make((uint64_t)p->a->seed, 0, "caiprobe/talk", ids->n, 0)};
    struct gen_result result = {0};
    engine_on_stop(e, stopping, NULL);
    engine_on_token(e, drawn, r);
    int rc = engine_generate(e, &request, 1, &p->a->sampling, NULL, NULL, &result);
    bool cut = rc < 0 && interrupted;
    *ret_stop = cut ? "cut" : names[rc == 0 ? result.finish : 0];
    if (rc == 0)
        gen_result_free(&result);
    if (cut)
        cai_error_clear();
    return cut ? 0 : rc < 0 ? rc : r->rc;
}

static int answer(struct probe *p, const struct hf_ids *ids, int64_t room)
{
    struct engine_options o = {.slots = 1, .capacity = (int64_t)ids->n + room,
                               .end_id = hf_chat_end_id(p->chat)};
    struct reply r = {.stream = hf_stream_new(p->t, true)};
    struct engine *e;
    const char *stop = "";
    int rc = engine_new(p->m, p->t, &o, &e);
    if (rc == 0) {
        rc = write_reply(p, ids, e, &r, &stop);
        engine_free(e);
    }
    if (rc == 0)
        rc = hf_stream_end(r.stream, &r.text);
    if (rc == 0) {
        show(&r);
        print_json(json_pack("{s:s%, s:s, s:i}", "text", r.text.data ? r.text.data : "", r.text.len,
                             "stop", stop, "tokens", (int)r.tokens));
    }
    hf_stream_free(r.stream);
    cai_buf_free(&r.text);
    return rc;
}

/* A conversation that leaves no room for a reply is answered with "too_long", not an error:
 * whoever talks can begin anew. */
int probe_talk(struct probe *p, const json_t *line)
{
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    struct arguments own = *p->a;
    struct hf_ids ids = {0};
    interrupted = 0;
    sigaction(SIGINT, &act, NULL);
    int rc = get_prompt(p, line, &ids);
    int64_t room = p->m->config.max_positions - (int64_t)ids.n;
    own.sampling.max_tokens = room < own.sampling.max_tokens ? (int)room : own.sampling.max_tokens;
    struct probe with = *p; /* get_prompt has loaded the tokenizer and the format */
    with.a = &own;
    if (rc == 0 && room < ROOM_MIN)
        print_json(json_pack("{s:s, s:s, s:i}", "text", "", "stop", "too_long", "tokens", 0));
    else if (rc == 0)
        rc = answer(&with, &ids, own.sampling.max_tokens);
    hf_ids_free(&ids);
    return rc;
}
