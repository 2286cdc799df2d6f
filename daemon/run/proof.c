/* proof.c: a worker of another machine must see caid's state folder, at the same path: models,
 * datasets and checkpoints are named by path, and rank 0 writes there. caid writes a file of
 * random words; the worker reads it through its own mount and writes them beside it. Not for
 * local workers, which share the file system (workers.c). */
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "run/gate.h"
#include <sodium.h>
#include <string.h>
#include <unistd.h>

enum { WORD_BYTES = 16, WORD = 2 * WORD_BYTES + 1, PENDING_MAX = 256, PENDING_MS = 30000 };

struct proof {
    struct channel_peer peer;
    char word[WORD], file[WORD + 8]; /* below the state folder */
    int64_t until_ms;
    struct proof *next;
};

static void random_word(char out[WORD]) {
    unsigned char bytes[WORD_BYTES];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(out, WORD, bytes, sizeof bytes);
}

static void end(struct run *r, struct proof **at) {
    struct proof *p = *at;
    CAI_AUTO(mem) char *path = cai_path_join(r->o.state_dir, p->file);
    CAI_AUTO(mem) char *back = cai_format("%s.back", path);
    *at = p->next;
    unlink(path);
    unlink(back);
    free(p);
}

static bool same(const struct channel_peer *a, const struct channel_peer *b) {
    return a->len == b->len && memcmp(a->id, b->id, a->len) == 0 && a->from == b->from &&
           strcmp(a->public_key, b->public_key) == 0;
}

static struct proof **find(struct run *r, const struct channel_peer *peer) {
    struct proof **at = &r->proofs;
    int64_t now = cai_now_ms();
    while (*at && !same(&(*at)->peer, peer)) {
        if (now > (*at)->until_ms)
            end(r, at);
        else
            at = &(*at)->next;
    }
    return at;
}

static int ask(struct run *r, const struct channel_peer *peer) {
    size_t n = 0;
    for (const struct proof *p = r->proofs; p; p = p->next)
        n++;
    if (n >= PENDING_MAX)
        return cai_fail(CAI_ELIMIT, "%d workers are being asked already; it is asked later",
                        PENDING_MAX);
    CAI_AUTO(mem) char *folder = cai_path_join(r->o.state_dir, "proof");
    CAI_TRY(cai_dir_make(folder));
    struct proof *p = cai_alloc(sizeof *p);
    *p = (struct proof){.peer = *peer, .until_ms = cai_now_ms() + PENDING_MS, .next = r->proofs};
    char name[WORD];
    random_word(name);
    random_word(p->word);
    snprintf(p->file, sizeof p->file, "proof/%s", name);
    r->proofs = p;
    CAI_AUTO(mem) char *path = cai_path_join(r->o.state_dir, p->file);
    int rc = cai_file_write_atomic(path, p->word, strlen(p->word));
    if (rc < 0) {
        end(r, &r->proofs);
        return rc;
    }
    Cai__V1__Challenge m = CAI__V1__CHALLENGE__INIT;
    m.folder = (char *)r->o.state_dir;
    m.file = p->file;
    (void)workers_send(r, peer, CAI__V1__FRAME__BODY_CHALLENGE, &m);
    return 0;
}

/* What the worker wrote beside the file. */
static bool wrote_back(const struct run *r, const struct proof *p) {
    CAI_AUTO(mem) char *back = cai_format("%s/%s.back", r->o.state_dir, p->file);
    CAI_AUTO(buf) struct cai_buf text = {0};
    return cai_file_read(back, WORD, &text) == 0 && text.len == WORD - 1 &&
           memcmp(text.data, p->word, WORD - 1) == 0;
}

int proof_check(struct run *r, const struct channel_peer *peer, const Cai__V1__Hello *h) {
    struct proof **at = find(r, peer);
    if (!*at || (!*h->proof && !*h->trouble)) {
        if (*at)
            end(r, at);
        return ask(r, peer);
    }
    bool right = strlen(h->proof) == WORD - 1 && sodium_memcmp(h->proof, (*at)->word, WORD - 1) == 0;
    bool written = right && wrote_back(r, *at);
    end(r, at);
    if (right && written)
        return 1;
    return cai_fail(CAI_EAUTH,
                    "it does not %s caid's state folder %s%s%.200s: mount the same folder at the same "
                    "path on its machine, readable and writable for its user",
                    right ? "write to" : "see", r->o.state_dir, *h->trouble ? ": " : "", h->trouble);
}

void proofs_free(struct run *r) {
    while (r->proofs)
        end(r, &r->proofs);
}
