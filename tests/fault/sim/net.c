/* net.c: channel.h between processes of the simulation. As ZeroMQ over a stream: a connection
 * keeps its order and loses nothing while it lasts; what was under way is lost with it, and a
 * new one has a new identity. Beyond that, frames can come twice or overtake one another. */
#include "base/check.h"
#include "base/error.h"
#include "proto/channel.h"
#include "sim.h"
#include <stdlib.h>
#include <string.h>

enum { FD_CHANNELS = SIM_FD + 100, CHANNELS = 256, PATIENCE_US = 15000000, PERSON = 1 };

struct packet {
    uint8_t *data;
    size_t len;
    uint32_t connection;
    int64_t due_us;
    struct packet *next;
};
struct queue {
    struct packet *first, **last;
};
struct channel {
    struct proc *owner;
    bool router, control, used;
    uint32_t connection;        /* a worker's, to the router that lives */
    struct queue in;            /* arrived */
    struct queue up, down;      /* a worker's, under way */
    int64_t up_us, down_us;     /* when the newest of them is due */
};

struct link links[SIM_WORKERS_MAX];
static struct channel channels[CHANNELS];
static uint32_t next_connection = PERSON;
static uint64_t frame_epoch, frame_lease;

uint64_t net_epoch_of_frame(void) { return frame_epoch; }
uint64_t net_lease_of_frame(void) { return frame_lease; }

/* ---- queues ------------------------------------------------------------------------------------- */

static struct packet *new_packet(const void *data, size_t len, uint32_t connection, int64_t due) {
    struct packet *p = cai_alloc(sizeof *p);
    *p = (struct packet){cai_alloc(len + 1), len, connection, due, NULL};
    memcpy(p->data, data, len);
    return p;
}

static void push(struct queue *q, struct packet *p) {
    p->next = NULL;
    if (!q->first)
        q->last = &q->first;
    *q->last = p;
    q->last = &p->next;
}

static struct packet *pop(struct queue *q) {
    struct packet *p = q->first;
    if (p)
        q->first = p->next;
    return p;
}

/* In the order of their times. */
static void insert(struct queue *q, struct packet *p) {
    struct packet **at = &q->first;
    while (*at && (*at)->due_us <= p->due_us)
        at = &(*at)->next;
    p->next = *at;
    *at = p;
    for (q->last = &q->first; *q->last;)
        q->last = &(*q->last)->next;
}

static void clear(struct queue *q) {
    for (struct packet *p; (p = pop(q));) {
        free(p->data);
        free(p);
    }
}

void net_init(void) {
    for (uint32_t i = 0; i < SIM_WORKERS_MAX; i++)
        links[i] = (struct link){.delay_us = 100, .jitter_us = 200};
}

static struct channel *router(bool control) {
    for (int i = 0; i < CHANNELS; i++)
        if (channels[i].used && channels[i].router && channels[i].control == control)
            return &channels[i];
    return NULL;
}

static struct channel *channel_of_worker(uint32_t number) {
    for (int i = 0; i < CHANNELS; i++)
        if (channels[i].used && !channels[i].router && channels[i].owner->number == number)
            return &channels[i];
    return NULL;
}

static void forget(struct channel *c) {
    clear(&c->in);
    clear(&c->up);
    clear(&c->down);
    c->used = false;
}

/* What is under way to a caid that is gone waits for the next one, or is lost. */
static void reconnect(struct channel *c, bool keep_up) {
    clear(&c->down);
    if (!keep_up)
        clear(&c->up);
    c->connection = ++next_connection;
    for (struct packet *p = c->up.first; p; p = p->next)
        p->connection = c->connection;
    c->down_us = 0;
}

void net_break(uint32_t worker) {
    struct channel *c = channel_of_worker(worker);
    if (c)
        reconnect(c, false);
    told("connection of worker-%u breaks", worker);
}

void net_proc_ended(struct proc *p) {
    bool was_router = false;
    for (int i = 0; i < CHANNELS; i++)
        if (channels[i].used && channels[i].owner == p) {
            was_router = was_router || channels[i].router;
            forget(&channels[i]);
        }
    for (int i = 0; was_router && i < CHANNELS; i++)
        if (channels[i].used && !channels[i].router)
            reconnect(&channels[i], draw_chance(0.5));
}

/* ---- on the way ------------------------------------------------------------------------------------ */

static void send_on(struct queue *q, int64_t *io_last, const struct link *l, const void *data,
                    size_t len, uint32_t connection) {
    int64_t delay = l->delay_us + (int64_t)draw_below((uint64_t)l->jitter_us + 1);
    int64_t due = world.now_us + delay;
    if (l->late > 0 && draw_chance(l->late)) {
        insert(q, new_packet(data, len, connection, due + draw_between(1, 50) * SIM_MS));
    } else {
        due = due > *io_last ? due : *io_last;
        *io_last = due;
        insert(q, new_packet(data, len, connection, due));
    }
    if (l->twice > 0 && draw_chance(l->twice))
        insert(q, new_packet(data, len, connection, due + draw_between(0, 30) * SIM_MS));
}

static int64_t open_at(int64_t due, int64_t cut) { return due > cut ? due : cut; }

static void deliver_worker(struct channel *c) {
    const struct link *l = &links[c->owner->number];
    struct channel *r = router(false);
    while (r && c->up.first && open_at(c->up.first->due_us, l->cut_up_us) <= world.now_us) {
        struct packet *p = pop(&c->up);
        push(&r->in, p);
        proc_poke(r->owner);
    }
    while (c->down.first && open_at(c->down.first->due_us, l->cut_down_us) <= world.now_us) {
        push(&c->in, pop(&c->down));
        proc_poke(c->owner);
    }
    bool old = (c->up.first && world.now_us - c->up.first->due_us > PATIENCE_US) ||
               (c->down.first && world.now_us - c->down.first->due_us > PATIENCE_US);
    if (old)
        reconnect(c, false);
}

void net_deliver(void) {
    for (int i = 0; i < CHANNELS; i++)
        if (channels[i].used && !channels[i].router)
            deliver_worker(&channels[i]);
}

static int64_t next_of(const struct queue *q, int64_t cut, bool open, int64_t at) {
    if (!q->first)
        return at;
    int64_t due = open_at(q->first->due_us, cut), old = q->first->due_us + PATIENCE_US + 1;
    due = open && due < old ? due : old;
    return due < at ? due : at;
}

int64_t net_next_us(void) {
    int64_t at = SIM_NEVER;
    bool open = router(false) != NULL;
    for (int i = 0; i < CHANNELS; i++) {
        const struct channel *c = &channels[i];
        if (!c->used || c->router)
            continue;
        at = next_of(&c->up, links[c->owner->number].cut_up_us, open, at);
        at = next_of(&c->down, links[c->owner->number].cut_down_us, true, at);
    }
    return at;
}

/* ---- channel.h ---------------------------------------------------------------------------------------- */

static struct channel *new_channel(const char *endpoint, bool is_router) {
    int i = 0;
    while (i < CHANNELS && channels[i].used)
        i++;
    CAI_CHECK(i < CHANNELS);
    channels[i] = (struct channel){.owner = proc_here(), .router = is_router, .used = true,
                                   .control = strstr(endpoint, "/control") != NULL,
                                   .connection = ++next_connection};
    return &channels[i];
}

int channel_bind(void *zmq, const char *endpoint, size_t max_bytes, struct channel **ret) {
    (void)zmq, (void)max_bytes;
    *ret = new_channel(endpoint, true);
    return 0;
}

int channel_connect(void *zmq, const char *endpoint, size_t max_bytes, struct channel **ret) {
    (void)zmq, (void)max_bytes;
    *ret = new_channel(endpoint, false);
    return 0;
}

/* No other machine takes part: nothing listens on a network here. */
int channel_open_socket(void *zmq, const char *endpoint, bool is_router, size_t max_bytes,
                        struct channel **ret);
int channel_open_socket(void *zmq, const char *endpoint, bool is_router, size_t max_bytes,
                        struct channel **ret) {
    (void)zmq, (void)is_router, (void)max_bytes, (void)ret;
    return cai_fail(CAI_ESTATE, "%s: a network in the simulation", endpoint);
}

void channel_close(struct channel *c) {
    if (c && c->used)
        forget(c);
}

int channel_fd(const struct channel *c) { return FD_CHANNELS + (int)(c - channels); }

bool net_readable(int fd) {
    return fd >= FD_CHANNELS && fd < FD_CHANNELS + CHANNELS && channels[fd - FD_CHANNELS].in.first;
}

static struct channel *peer_channel(const struct channel_peer *peer) {
    uint32_t id;
    memcpy(&id, peer->id, sizeof id);
    for (int i = 0; i < CHANNELS; i++)
        if (channels[i].used && !channels[i].router && channels[i].connection == id)
            return &channels[i];
    return NULL;
}

static void note_sent(struct channel *to, const Cai__V1__Frame *f) {
    switch (f->body_case) {
    case CAI__V1__FRAME__BODY_WELCOME: check_welcomed(f->welcome->epoch); break;
    case CAI__V1__FRAME__BODY_GRANT: check_granted(to->owner, f->grant); break;
    case CAI__V1__FRAME__BODY_DONE_ACK: check_acknowledged(f->done_ack->lease); break;
    case CAI__V1__FRAME__BODY_REPORT_ACK:
        check_committed(f->report_ack->lease, f->report_ack->seq);
        break;
    default: break;
    }
}

int channel_send(struct channel *c, const struct channel_peer *peer, const Cai__V1__Frame *frame) {
    if (c->control) {
        if (frame->body_case == CAI__V1__FRAME__BODY_REPLY)
            person_reply(frame->reply);
        return 0;
    }
    size_t len = cai__v1__frame__get_packed_size(frame);
    CAI_AUTO(mem) uint8_t *packed = cai_alloc(len + 1);
    cai__v1__frame__pack(frame, packed);
    if (!c->router) {
        send_on(&c->up, &c->up_us, &links[c->owner->number], packed, len, c->connection);
        return 0;
    }
    struct channel *to = peer_channel(peer);
    if (!to)
        return cai_fail(CAI_ENOTFOUND, "the peer is gone or does not read");
    note_sent(to, frame);
    send_on(&to->down, &to->down_us, &links[to->owner->number], packed, len, to->connection);
    return 0;
}

static void note_received(const Cai__V1__Frame *f) {
    frame_epoch = frame_lease = 0;
    if (f->body_case == CAI__V1__FRAME__BODY_DONE) {
        frame_epoch = f->done->epoch;
        frame_lease = f->done->lease;
    } else if (f->body_case == CAI__V1__FRAME__BODY_REPORT) {
        check_reported(f->report);
    }
}

int channel_receive(struct channel *c, struct channel_peer *ret_peer, Cai__V1__Frame **ret) {
    struct packet *p = pop(&c->in);
    if (!p)
        return 0;
    if (ret_peer) {
        ret_peer->len = sizeof p->connection;
        memcpy(ret_peer->id, &p->connection, sizeof p->connection);
        ret_peer->from = c;
        ret_peer->uid = ret_peer->gid = 0; /* all are root */
    }
    *ret = cai__v1__frame__unpack(NULL, p->len, p->data);
    CAI_CHECK(*ret);
    if (c->router)
        note_received(*ret);
    free(p->data);
    free(p);
    return 1;
}

void net_request(const char *verb, const char *json, const char *key) {
    struct channel *r = router(true);
    if (!r)
        return;
    Cai__V1__Request request = CAI__V1__REQUEST__INIT;
    request.verb = (char *)verb;
    request.json = (char *)json;
    request.key = (char *)key;
    Cai__V1__Frame frame = CAI__V1__FRAME__INIT;
    frame.body_case = CAI__V1__FRAME__BODY_REQUEST;
    frame.request = &request;
    size_t len = cai__v1__frame__get_packed_size(&frame);
    CAI_AUTO(mem) uint8_t *packed = cai_alloc(len + 1);
    cai__v1__frame__pack(&frame, packed);
    push(&r->in, new_packet(packed, len, PERSON, 0));
    proc_poke(r->owner);
}
