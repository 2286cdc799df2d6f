/* sessions.c: connections of other machines: how many there are, which have proved a key, and
 * ending them. ZeroMQ owns the sockets; what is here is what it tells of them.
 *
 * Came → spoke (its first message; from then on its key is known) → left. One that says
 * nothing is ended after UNSPOKEN_MS, or earlier when there are too many of them: so half-open
 * connections cost a bounded number of descriptors. */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "run/gate.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    UNSPOKEN_MS = 15000,
    UNSPOKEN_MAX = 256,
    UNSPOKEN_OF_ADDRESS = 64,
    TOLD_MAX = 50, /* refusals of QUIET_MS that are logged one by one */
    QUIET_MS = 10000
};

struct session {
    int fd;
    bool ending;
    int64_t since_ms;
    struct sockaddr_storage remote;
    socklen_t remote_len;
    char address[INET6_ADDRSTRLEN], public_key[KEY_SIZE];
    struct session *next; /* the newest first */
};

static struct session **find(struct sessions *s, int fd) {
    struct session **at = &s->first;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

static bool spoke(const struct session *x) { return *x->public_key != '\0'; }

static void name_address(struct session *x) {
    const struct sockaddr_in *four = (const void *)&x->remote;
    const struct sockaddr_in6 *six = (const void *)&x->remote;
    bool is_six = x->remote.ss_family == AF_INET6;
    const void *bytes = is_six ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr;
    if ((!is_six && x->remote.ss_family != AF_INET) ||
        !inet_ntop(x->remote.ss_family, bytes, x->address, sizeof x->address))
        snprintf(x->address, sizeof x->address, "an address that has gone");
}

/* ZeroMQ's thread may have closed the number already, and another file may have it: only the
 * same connection is ended. What is no socket is not even touched: to close a second
 * descriptor of the database would free SQLite's locks. */
static void shut(struct session *x) {
    struct stat st;
    struct sockaddr_storage now;
    socklen_t len = sizeof now;
    x->ending = true;
    if (!x->remote_len || fstat(x->fd, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    int own = dup(x->fd);
    if (own < 0)
        return;
    if (getpeername(own, (struct sockaddr *)&now, &len) == 0 && len == x->remote_len &&
        memcmp(&now, &x->remote, len) == 0)
        shutdown(own, SHUT_RDWR);
    close(own);
}

static void drop(struct sessions *s, struct session **at) {
    struct session *x = *at;
    *at = x->next;
    s->n--;
    s->unspoken -= !spoke(x);
    free(x);
}

/* ---- the log --------------------------------------------------------------------------------- */

void sessions_refusal(struct sessions *s, const char *format, ...) {
    int64_t now = cai_now_ms();
    sessions_beat(s);
    if (!s->quiet_until_ms)
        s->quiet_until_ms = now + QUIET_MS;
    if (s->told >= TOLD_MAX) {
        s->untold++;
        return;
    }
    char text[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    s->told++;
    cai_log_about(CAI_LOG_WARN, CAI_ABOUT(EVENT_REFUSED), "%s", text);
}

void sessions_beat(struct sessions *s) {
    if (!s->quiet_until_ms || cai_now_ms() < s->quiet_until_ms)
        return;
    if (s->untold)
        cai_log_about(CAI_LOG_WARN, CAI_ABOUT(EVENT_REFUSED), "%u more were refused", s->untold);
    s->told = s->untold = 0;
    s->quiet_until_ms = 0;
}

/* ---- coming and going -------------------------------------------------------------------------- */

/* Too many that say nothing: the oldest of this address, or of all, makes room. */
static void bound(struct sessions *s, const struct session *newest) {
    size_t same = 0;
    struct session *oldest = NULL, *oldest_same = NULL;
    for (struct session *x = s->first; x; x = x->next) {
        if (spoke(x) || x->ending)
            continue;
        oldest = x;
        if (strcmp(x->address, newest->address) == 0) {
            same++;
            oldest_same = x;
        }
    }
    if (same > UNSPOKEN_OF_ADDRESS)
        shut(oldest_same);
    else if (s->unspoken > UNSPOKEN_MAX && oldest)
        shut(oldest);
}

static void came(struct sessions *s, int fd) {
    struct session **old = find(s, fd);
    if (*old)
        drop(s, old);
    struct session *x = cai_alloc(sizeof *x);
    *x = (struct session){.fd = fd, .since_ms = cai_now_ms(), .next = s->first,
                          .remote_len = sizeof x->remote};
    if (getpeername(fd, (struct sockaddr *)&x->remote, &x->remote_len) < 0)
        x->remote_len = 0;
    name_address(x);
    s->first = x;
    s->n++;
    s->unspoken++;
    bound(s, x);
}

static void left(struct sessions *s, int fd) {
    struct session **at = find(s, fd);
    if (*at && !spoke(*at) && !s->told_why)
        sessions_refusal(s, "a connection from %s is refused: %s", (*at)->address,
                         *s->failed     ? s->failed
                         : (*at)->ending ? "it said nothing for too long"
                                         : "it left without a word");
    s->failed[0] = '\0';
    s->told_why = false;
    if (*at)
        drop(s, at);
}

void sessions_note(struct sessions *s, const struct channel_note *note) {
    if (note->event == CHANNEL_CAME)
        came(s, note->fd);
    else if (note->event == CHANNEL_LEFT)
        left(s, note->fd);
    else if (!*note->text)
        s->told_why = true;
    else
        snprintf(s->failed, sizeof s->failed, "%s", note->text);
}

void sessions_spoke(struct sessions *s, const struct channel_peer *peer) {
    struct session *x = *find(s, peer->fd);
    if (!x)
        return;
    s->unspoken -= !spoke(x) && *peer->public_key;
    memcpy(x->public_key, peer->public_key, KEY_SIZE);
}

size_t sessions_end(struct sessions *s, bool (*f)(void *c, const char *public_key, int64_t age_ms),
                    void *c) {
    size_t n = 0;
    int64_t now = cai_now_ms();
    for (struct session *x = s->first; x; x = x->next) {
        bool late = !spoke(x) && now - x->since_ms > UNSPOKEN_MS;
        if (!x->ending && (late || f(c, x->public_key, now - x->since_ms))) {
            shut(x);
            n += spoke(x);
        }
    }
    return n;
}

size_t sessions_of(const struct sessions *s, const char *public_key) {
    size_t n = 0;
    for (const struct session *x = s->first; x; x = x->next)
        n += !x->ending && strcmp(x->public_key, public_key) == 0;
    return n;
}

const char *sessions_address(const struct sessions *s, int fd) {
    for (const struct session *x = s->first; x; x = x->next)
        if (x->fd == fd)
            return x->address;
    return "somewhere";
}

void sessions_free(struct sessions *s) {
    while (s->first)
        drop(s, &s->first);
}
