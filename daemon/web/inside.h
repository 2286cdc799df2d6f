/* inside.h: what the files of this room share. A request goes server.c → entry.c (may it come
 * in?) → answer.c (what is it?) → api.c (what does the host say?). */
#ifndef CAI_WEB_INSIDE_H
#define CAI_WEB_INSIDE_H

#include "base/buf.h"
#include "web/web.h"

enum {
    BODY_MAX = 256 << 10,
    SECRET_BYTES = 32,
    SECRET_SIZE = 44, /* of a secret as text: base64 without padding, and NUL */
    HASH_BYTES = 32,
    VISITS_MAX = 256,
    LINKS_MAX = 64
};

/* One request, as far as anything here looks at it; NULL: the header is absent. */
struct web_request {
    const char *method, *path, *host, *origin, *site /* Sec-Fetch-Site */, *type, *cookie;
    const char *secret; /* X-Cai-Session */
    json_t *query;      /* an object of strings, or NULL */
    const char *body;
    size_t len;
};
struct web_reply {
    int status;
    const char *type;
    const void *fixed; /* bytes that last as long as the program; else `body` */
    size_t fixed_len;
    struct cai_buf body;
    char cookie[192], allow[16];
    char style[64]; /* hash of the one style sheet that stands in the page itself; "" = none */
};

/* ---- refusals: each has an id that never changes, for whoever reads the log -------------------- */
enum refusal {
    REFUSED_NOT,
    REFUSED_HOST,
    REFUSED_METHOD,
    REFUSED_PATH,
    REFUSED_LINK,
    REFUSED_SESSION,
    REFUSED_ORIGIN,
    REFUSED_SECRET,
    REFUSED_TYPE,
    REFUSED_LONG,
    REFUSED_BODY,
    REFUSED_SLOW,
    REFUSED_CROWD,
    REFUSED_COUNT
};
struct refusal_kind {
    const char *id, *says; /* for the log; for the person */
    int status;
};
extern const struct refusal_kind refusal_kinds[REFUSED_COUNT];
struct refusals { /* a flood of them is counted, not told */
    int64_t quiet_until_ms;
    unsigned told, untold;
};
void refusals_note(struct refusals *f, enum refusal why, const char *method);
void refusals_beat(struct refusals *f);

/* ---- visits.c -------------------------------------------------------------------------------- */
struct visit {
    unsigned char cookie[HASH_BYTES], secret[HASH_BYTES]; /* hashes: the file gives nobody in */
    struct web_person who;
    int64_t used_s;
};
struct link {
    unsigned char hash[HASH_BYTES];
    struct web_person who;
    int64_t until_s;
};
struct visits {
    struct visit at[VISITS_MAX];
    struct link links[LINKS_MAX];
    size_t n, n_links;
    char *path;
    int64_t idle_s, written_s;
    bool changed;
};
int visits_load(struct visits *s, const char *path, int64_t idle_s, int64_t now_s);
void visits_free(struct visits *s);
/* A link's token. */
void visits_invite(struct visits *s, const struct web_person *who, int64_t now_s,
                     char ret_token[SECRET_SIZE]);
/* The link is used up, whatever comes of it; the session is on the disk when this returns 0. */
int visits_enter(struct visits *s, const char *token, int64_t now_s,
                   char ret_cookie[SECRET_SIZE], char ret_secret[SECRET_SIZE]);
/* NULL when there is none, or it has ended. */
struct visit *visits_find(struct visits *s, const char *cookie, int64_t now_s);
bool visit_knows(const struct visit *s, const char *secret);
void visits_use(struct visits *s, struct visit *one, int64_t now_s);
void visits_leave(struct visits *s, struct visit *one);
/* Ends the idle ones, and writes who used theirs down, at most once a minute. */
void visits_beat(struct visits *s, int64_t now_s);

/* ---- entry.c: may this request come in? ----------------------------------------------------------- */
struct entry_names {
    const char *host;      /* of the configuration; "" = none */
    const char *cookie;    /* name of ours */
};
/* The host's name is one of ours: 127.0.0.1, localhost or [::1] with any port (a tunnel's is
 * another than ours), or that of the configuration. */
bool entry_host(const struct entry_names *n, const char *host);
/* Origin, where there is one, is the very host that was asked. */
bool entry_origin(const struct web_request *q, bool must);
/* The value of our cookie; false when there is none of that size. */
bool entry_cookie(const struct entry_names *n, const char *header, char ret[SECRET_SIZE]);

/* ---- the pages --------------------------------------------------------------------------------- */
struct asset {
    const char *path, *type;
    const unsigned char *data;
    size_t len;
};
extern const struct asset web_assets[]; /* made by the build; ended by a NULL path */
const struct asset *asset_find(const char *path);

struct web {
    struct web_host host;
    struct web_options o; /* strings are our own */
    char address[WEB_ADDRESS_SIZE], cookie_name[24];
    struct visits visits;
    struct refusals refusals;
    struct server *server;
};
struct entry_names web_names(const struct web *w);

/* ---- answer.c ------------------------------------------------------------------------------------ */
/* What the head of a request says alone; before its body is read. */
enum refusal answer_head(struct web *w, const struct web_request *q);
/* The whole of it. `ret` is {0} before. */
void answer(struct web *w, const struct web_request *q, struct web_reply *ret);
void answer_refusal(struct web *w, const struct web_request *q, enum refusal why,
                    struct web_reply *ret);
void reply_free(struct web_reply *r);

/* ---- api.c --------------------------------------------------------------------------------------- */
struct api {
    const char *path, *method, *what; /* what: as the host knows it */
    const char *args; /* "name:type": i integer >= 0, s string, o object; "!" = required */
    bool rests;       /* asked by a page that nobody need look at: no use of the session */
};
const struct api *api_find(const char *path, const char *method, bool *ret_other_method);
/* CAI_EINPUT with what is wrong. *ret is the caller's. */
int api_args(const struct api *a, const struct web_request *q, json_t **ret);
void api_answer(struct web *w, const struct api *a, const struct web_person *who,
                const struct web_request *q, struct web_reply *ret);

/* ---- page.c: what is readable without a script ---------------------------------------------------- */
void page_escape(struct cai_buf *out, const char *text);
/* A page of ours with @NAME@ replaced; rows of jobs and workers from the host. */
void page_dashboard(struct web *w, const struct web_person *who, struct web_reply *ret);
void page_review(struct web *w, const struct web_person *who, struct web_reply *ret);
void page_entered(const char *secret, struct web_reply *ret);
/* It carries its style in itself: who is refused gets no other file. */
void page_refused(const char *says, struct web_reply *ret);

/* ---- server.c ------------------------------------------------------------------------------------- */
int server_open(struct web *w);
void server_close(struct web *w);

#endif
