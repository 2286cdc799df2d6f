/* link.c: connecting to caid; the proof that its state folder is here. */
#include "worker/link.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include <limits.h>
#include <string.h>

enum { NEXT_KEY_MS = 2000 };

static int connect_now(struct link *l) {
    l->since_ms = cai_now_ms();
    return l->key ? channel_connect_curve(l->zmq, l->endpoint, CHANNEL_TASK_MAX, l->key, l->server,
                                          &l->channel)
                  : channel_connect(l->zmq, l->endpoint, CHANNEL_TASK_MAX, &l->channel);
}

int link_open(struct link *l, void *zmq, const char *endpoint, const struct key_file *key) {
    *l = (struct link){.zmq = zmq, .endpoint = endpoint, .key = key};
    if (strncmp(endpoint, "tcp://", 6) != 0)
        l->key = NULL;
    return connect_now(l);
}

void link_close(struct link *l) {
    channel_close(l->channel);
    l->channel = NULL;
}

void link_look(struct link *l) {
    int standing = l->key ? channel_standing(l->channel) : 0;
    if (standing >= 0)
        return;
    if (strcmp(l->told, cai_error_text()) != 0)
        cai_error("%s: %s", l->endpoint, cai_error_text());
    snprintf(l->told, sizeof l->told, "%s", cai_error_text());
    if (standing != CAI_EPROTO || l->key->n_servers < 2 || cai_now_ms() - l->since_ms < NEXT_KEY_MS)
        return;
    struct channel *old = l->channel;
    l->server = (l->server + 1) % l->key->n_servers;
    if (connect_now(l) < 0) {
        cai_error("%s", cai_error_text());
        l->channel = old;
    } else {
        channel_close(old);
    }
}

/* Both name one folder here. */
static bool same_folder(const char *a, const char *b) {
    char real_a[PATH_MAX], real_b[PATH_MAX];
    return realpath(a, real_a) && realpath(b, real_b) && strcmp(real_a, real_b) == 0;
}

/* caid gives a name of its own making; whatever else is not read. */
static bool name_of_proof(const char *file) {
    return strncmp(file, "proof/", 6) == 0 && strlen(file) < 64 &&
           strspn(file + 6, "0123456789abcdef") == strlen(file + 6);
}

static int read_and_write(const Cai__V1__Challenge *m, struct link_proof *ret) {
    CAI_AUTO(mem) char *path = cai_path_join(m->folder, m->file);
    CAI_AUTO(mem) char *back = cai_format("%s.back", path);
    CAI_AUTO(buf) struct cai_buf text = {0};
    CAI_TRY(cai_file_read(path, sizeof ret->word - 1, &text));
    snprintf(ret->word, sizeof ret->word, "%.*s", (int)text.len, text.data ? text.data : "");
    return cai_file_write_atomic(back, text.data, text.len);
}

void link_prove(const char *state_dir, const Cai__V1__Challenge *m, struct link_proof *ret) {
    *ret = (struct link_proof){0};
    if (!name_of_proof(m->file))
        snprintf(ret->trouble, sizeof ret->trouble, "caid asks for a strange file");
    else if (!same_folder(state_dir, m->folder))
        snprintf(ret->trouble, sizeof ret->trouble, "--state is %.100s here", state_dir);
    else if (read_and_write(m, ret) < 0)
        snprintf(ret->trouble, sizeof ret->trouble, "%.200s", cai_error_text());
}

void link_interface(const char *interface, Cai__V1__Gang *io) {
    if (!interface || !io)
        return;
    if (io->interface != (char *)protobuf_c_empty_string)
        free(io->interface);
    io->interface = cai_strdup(interface);
}
