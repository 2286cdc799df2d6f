/* server.c: HTTP by libmicrohttpd, polled from outside: one listening socket, few connections, one
 * request each.
 *
 *   connection   accepted → its head is read → [refused, its body unread] → its body → answered
 *                → closed; after DEADLINE_MS in any of these it is ended
 *
 * When there are many, the oldest that has asked nothing yet makes room. Bodies are kept whole and
 * are never parsed by the library (no form). Not for what a request means (answer.c). */
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "web/inside.h"
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    DEADLINE_MS = 20000,
    IDLE_S = 10,      /* without a byte */
    CROWD = 40,       /* connections from which on the oldest silent one goes */
    CONNECTIONS = 48,
    CONNECTION_BYTES = 16 << 10, /* of the library's, for a head */
    BACKLOG = 64
};

struct connection {
    int fd;
    int64_t since_ms;
    bool asked, ended;
    struct connection *next, **at;
};
/* A request whose body is still coming. */
struct incoming {
    struct cai_buf body;
    enum refusal refused;
    bool headed;
};
struct server {
    struct MHD_Daemon *daemon;
    int epoll_fd;
    struct connection *first;
    size_t n;
};

/* ---- connections ----------------------------------------------------------------------------------- */

static void end(struct web *w, struct connection *c, enum refusal why) {
    if (!c->ended)
        refusals_note(&w->refusals, why, NULL);
    c->ended = true;
    shutdown(c->fd, SHUT_RDWR); /* the library sees its end, and closes it */
}

static void make_room(struct web *w) {
    struct connection *oldest = NULL;
    for (struct connection *c = w->server->first; c; c = c->next)
        if (!c->asked && !c->ended && (!oldest || c->since_ms < oldest->since_ms))
            oldest = c;
    if (oldest)
        end(w, oldest, REFUSED_CROWD);
}

static void link_in(struct server *s, struct connection *c) {
    c->next = s->first;
    c->at = &s->first;
    if (c->next)
        c->next->at = &c->next;
    s->first = c;
    s->n++;
}

static void on_connection(void *of, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
    struct web *w = of;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct connection *c = *socket_context;
        *c->at = c->next;
        if (c->next)
            c->next->at = c->at;
        w->server->n--;
        free(c);
        return;
    }
    if (w->server->n >= CROWD)
        make_room(w);
    struct connection *c = cai_alloc(sizeof *c);
    *c = (struct connection){
        .fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
        .since_ms = cai_now_ms()};
    link_in(w->server, c);
    *socket_context = c;
}

static struct connection *connection_of(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* ---- answers ----------------------------------------------------------------------------------------- */

/* Scripts, styles and requests from here alone; nothing inline; no text becomes markup: browsers
 * that know trusted types refuse innerHTML. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src %s; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";
static const char *const headers[][2] = {
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Connection", "close"},
};

static void add_policy(struct MHD_Response *m, const struct web_reply *r) {
    char style[80] = "'self'", text[sizeof policy + sizeof style];
    if (*r->style)
        snprintf(style, sizeof style, "'sha256-%s'", r->style);
    snprintf(text, sizeof text, policy, style);
    MHD_add_response_header(m, "Content-Security-Policy", text);
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct web_reply *r) {
    struct MHD_Response *m =
        r->fixed ? MHD_create_response_from_buffer(r->fixed_len, (void *)r->fixed, MHD_RESPMEM_PERSISTENT)
                 : MHD_create_response_from_buffer(r->body.len, r->body.data, MHD_RESPMEM_MUST_COPY);
    if (!m)
        return MHD_NO;
    for (size_t i = 0; i < CAI_COUNT(headers); i++)
        MHD_add_response_header(m, headers[i][0], headers[i][1]);
    add_policy(m, r);
    MHD_add_response_header(m, "Content-Type", r->type);
    if (*r->cookie)
        MHD_add_response_header(m, "Set-Cookie", r->cookie);
    if (*r->allow)
        MHD_add_response_header(m, "Allow", r->allow);
    enum MHD_Result rc = MHD_queue_response(connection, (unsigned)r->status, m);
    MHD_destroy_response(m);
    return rc;
}

static enum MHD_Result refuse(struct web *w, struct MHD_Connection *connection,
                              const struct web_request *q, enum refusal why) {
    struct web_reply r = {0};
    answer_refusal(w, q, why, &r);
    enum MHD_Result rc = send_reply(connection, &r);
    reply_free(&r);
    return rc;
}

/* ---- requests ------------------------------------------------------------------------------------------ */

static const char *header(struct MHD_Connection *c, const char *name) {
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static enum MHD_Result add_word(void *of, enum MHD_ValueKind kind, const char *name,
                                const char *value) {
    (void)kind;
    json_object_set_new(of, name, json_string(value ? value : "")); /* what is no UTF-8, is left out */
    return MHD_YES;
}

static struct web_request read_head(struct MHD_Connection *c, const char *url, const char *method) {
    struct web_request q = {.method = method, .path = url, .host = header(c, "Host"),
                            .origin = header(c, "Origin"), .site = header(c, "Sec-Fetch-Site"),
                            .type = header(c, "Content-Type"), .cookie = header(c, "Cookie"),
                            .secret = header(c, "X-Cai-Session"), .query = json_object()};
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, add_word, q.query);
    return q;
}

static bool is_too_long(struct MHD_Connection *c) {
    const char *length = header(c, "Content-Length");
    return length && strtoull(length, NULL, 10) > BODY_MAX;
}

/* First call of a request: its head alone. What is refused here, is not read further. */
static enum MHD_Result begin(struct web *w, struct MHD_Connection *connection,
                             const struct web_request *q, struct incoming *in) {
    enum refusal why = answer_head(w, q);
    in->headed = true;
    connection_of(connection)->asked = true;
    if (why == REFUSED_NOT && is_too_long(connection))
        why = REFUSED_LONG;
    return why == REFUSED_NOT ? MHD_YES : refuse(w, connection, q, why);
}

static enum MHD_Result finish(struct web *w, struct MHD_Connection *connection,
                              struct web_request *q, struct incoming *in) {
    struct web_reply r = {0};
    if (in->refused != REFUSED_NOT)
        return refuse(w, connection, q, in->refused);
    q->body = in->body.data;
    q->len = in->body.len;
    answer(w, q, &r);
    enum MHD_Result rc = cai_buf_status(&r.body) == 0 ? send_reply(connection, &r) : MHD_NO;
    reply_free(&r);
    return rc;
}

static enum MHD_Result on_request(void *of, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *io_len, void **context) {
    struct web *w = of;
    struct incoming *in = *context;
    (void)version;
    if (!in)
        return MHD_NO;
    if (*io_len) { /* a part of the body */
        if (in->body.len + *io_len > BODY_MAX)
            in->refused = REFUSED_LONG;
        else
            cai_buf_append(&in->body, data, *io_len);
        *io_len = 0;
        return MHD_YES;
    }
    struct web_request q = read_head(connection, url, method);
    enum MHD_Result rc = in->headed ? finish(w, connection, &q, in) : begin(w, connection, &q, in);
    json_decref(q.query);
    return rc;
}

/* The request's line is there. */
static void *on_line(void *of, const char *uri, struct MHD_Connection *connection) {
    (void)of, (void)uri, (void)connection;
    return cai_alloc(sizeof(struct incoming));
}

static void on_completed(void *of, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)of, (void)connection, (void)code;
    struct incoming *in = *context;
    if (in)
        cai_buf_free(&in->body);
    free(in);
    *context = NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static int bind_port(int fd, unsigned port) {
    int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return bind(fd, (struct sockaddr *)&at, sizeof at);
}

/* The port that the state folder remembers, or 0. */
static unsigned remembered(const char *path) {
    CAI_AUTO(buf) struct cai_buf text = {0};
    int port = cai_file_read(path, 16, &text) == 0 && text.data ? atoi(text.data) : 0;
    return port > 0 && port < 65536 ? (unsigned)port : 0;
}

/* A port of our own: the one of last time, unless somebody else has it now. */
static int bind_any(struct web *w, int fd) {
    CAI_AUTO(mem) char *path = cai_format("%s/web/port", w->o.state_dir);
    unsigned last = remembered(path);
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    char text[16];
    if (last && bind_port(fd, last) == 0)
        return 0;
    if (last)
        cai_warn("port %u of the page is somebody else's now; links and sessions begin anew", last);
    if (bind_port(fd, 0) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return cai_fail_errno("a port of 127.0.0.1");
    w->visits.n = 0; /* their address has another server now */
    w->visits.changed = true;
    w->visits.written_s = 0;
    snprintf(text, sizeof text, "%u\n", ntohs(at.sin_port));
    return cai_file_write_atomic(path, text, strlen(text));
}

static int listen_tcp(struct web *w, int fd) {
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    const char *port = strchr(w->o.listen, ':');
    if (!port)
        CAI_TRY(bind_any(w, fd));
    else if (bind_port(fd, (unsigned)atoi(port + 1)) < 0)
        return cai_fail_errno("%s", w->o.listen);
    if (listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return cai_fail_errno("%s", w->o.listen);
    snprintf(w->address, sizeof w->address, "127.0.0.1:%u", ntohs(at.sin_port));
    snprintf(w->cookie_name, sizeof w->cookie_name, "cai_%u", ntohs(at.sin_port));
    return 0;
}

/* For a proxy on this machine: who may open the socket, the file's mode says. */
static int listen_unix(struct web *w, int fd) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int n = snprintf(at.sun_path, sizeof at.sun_path, "%s/web", w->o.runtime_dir);
    if (n < 0 || (size_t)n >= sizeof at.sun_path)
        return cai_fail(CAI_EINPUT, "%s/web: too long for a socket's path", w->o.runtime_dir);
    unlink(at.sun_path);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || chmod(at.sun_path, 0660) < 0 ||
        listen(fd, BACKLOG) < 0)
        return cai_fail_errno("%s", at.sun_path);
    snprintf(w->address, sizeof w->address, "unix:%s", at.sun_path);
    snprintf(w->cookie_name, sizeof w->cookie_name, "cai_caid");
    return 0;
}

static int open_socket(struct web *w, int *ret_fd) {
    bool local = strcmp(w->o.listen, "unix") == 0;
    int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cai_fail_errno("a socket for pages");
    int rc = local ? listen_unix(w, fd) : listen_tcp(w, fd);
    if (rc < 0)
        close(fd);
    else
        *ret_fd = fd;
    return rc;
}

__attribute__((format(printf, 2, 0))) static void on_library(void *of, const char *format, va_list ap) {
    char text[256];
    (void)of;
    vsnprintf(text, sizeof text, format, ap);
    text[strcspn(text, "\n")] = '\0';
    cai_debug("web: %s", text);
}

int server_open(struct web *w) {
    int fd = -1;
    CAI_TRY(open_socket(w, &fd));
    struct server *s = w->server = cai_alloc(sizeof *s);
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, w, MHD_OPTION_EXTERNAL_LOGGER,
        on_library, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, w, MHD_OPTION_NOTIFY_COMPLETED, on_completed, w, MHD_OPTION_URI_LOG_CALLBACK,
        on_line, w, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    if (!s->daemon) {
        close(fd);
        free(s);
        w->server = NULL;
        return cai_fail(CAI_EINTERNAL, "libmicrohttpd does not start");
    }
    s->epoll_fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return 0;
}

void server_close(struct web *w) {
    if (!w->server)
        return;
    MHD_stop_daemon(w->server->daemon); /* closes the socket too */
    free(w->server);
    w->server = NULL;
}

/* ---- turns ---------------------------------------------------------------------------------------------- */

int web_fd(const struct web *w) { return w ? w->server->epoll_fd : -1; }

int64_t web_wait_ms(const struct web *w) {
    MHD_UNSIGNED_LONG_LONG ms;
    return w && MHD_get_timeout(w->server->daemon, &ms) == MHD_YES ? (int64_t)ms : -1;
}

void web_turn(struct web *w) {
    if (!w)
        return;
    int64_t now = cai_now_ms();
    for (struct connection *c = w->server->first; c; c = c->next)
        if (!c->ended && now - c->since_ms > DEADLINE_MS)
            end(w, c, REFUSED_SLOW);
    MHD_run(w->server->daemon);
    refusals_beat(&w->refusals);
    visits_beat(&w->visits, cai_wall_ms() / 1000);
}
