/* disk.c: the simulation's disk. It knows what is durable: a file's writes since its last fsync
 * and a folder's changes since the folder's last fsync may be kept, lost or torn when the power
 * goes, as POSIX allows: a new file whose folder was not synced can be gone, a rename can be
 * undone, a write can be there in part (whole sectors of 512 bytes). Any call can be made to
 * fail, or to be its caller's last. */
#include "base/buf.h"
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "sim.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, DEPTH_MAX = 16 };

struct bytes {
    char *data;
    size_t len, cap;
};
struct pending { /* a write that is not synced; data NULL: the file's new size is `at` */
    char *data;
    size_t len, at;
    struct pending *next;
};
struct entry {
    char *name;
    struct node *node;
};
struct names {
    struct entry *entry;
    size_t n;
};
struct node {
    bool dir, poisoned;
    struct bytes now, durable;
    struct pending *pending, **last;
    struct names names, durable_names;
};
/* A change of folders that is not synced: `name` now is `node` (NULL: gone); a rename also
 * takes `from` away, in the same moment. */
struct change {
    struct node *dir, *node;
    char *name, *from;
    struct change *next;
};

struct disk disk;
static struct node *root;
static struct change *changes, **last_change = &changes;

/* ---- faults ------------------------------------------------------------------------------------- */

/* 0, or the errno that this call fails with. */
static int step(enum disk_op op) {
    if (disk.hook)
        disk.hook(op);
    if (disk.caid_only && !(proc_here() && proc_here()->is_caid))
        return 0;
    disk.ops++;
    if (disk.kill_at && disk.ops == disk.kill_at && proc_here()) {
        told("killed in call %llu of the disk", (unsigned long long)disk.ops);
        proc_kill(proc_here(), -9);
    }
    bool fails = disk.fail_from && disk.ops >= disk.fail_from &&
                 disk.ops < disk.fail_from + disk.fail_count;
    disk.failed += fails;
    return fails ? disk.fail_errno : 0;
}

static int fail_with(int error) {
    errno = error;
    return -1;
}

/* ---- bytes -------------------------------------------------------------------------------------- */

static void resize(struct bytes *b, size_t len) {
    if (len > b->cap) {
        b->cap = len + len / 2 + 64;
        b->data = realloc(b->data, b->cap);
        CAI_CHECK(b->data);
    }
    if (len > b->len)
        memset(b->data + b->len, 0, len - b->len);
    b->len = len;
}

static void put(struct bytes *b, const char *from, size_t len, size_t at) {
    if (at + len > b->len)
        resize(b, at + len);
    memcpy(b->data + at, from, len);
}

static void apply(struct bytes *b, const struct pending *p) {
    if (p->data)
        put(b, p->data, p->len, p->at);
    else
        resize(b, p->at);
}

/* Some of its sectors. */
static void apply_torn(struct bytes *b, const struct pending *p) {
    if (!p->data)
        return;
    for (size_t i = 0; i < p->len;) {
        size_t n = SECTOR - (p->at + i) % SECTOR;
        n = n < p->len - i ? n : p->len - i;
        if (draw_chance(0.5))
            put(b, p->data + i, n, p->at + i);
        i += n;
    }
}

static void drop_pending(struct node *n) {
    while (n->pending) {
        struct pending *p = n->pending;
        n->pending = p->next;
        free(p->data);
        free(p);
    }
    n->last = &n->pending;
}

static void pend(struct node *n, const void *data, size_t len, size_t at) {
    struct pending *p = cai_alloc(sizeof *p);
    *p = (struct pending){.len = len, .at = at};
    if (data) {
        p->data = cai_alloc(len + 1);
        memcpy(p->data, data, len);
    }
    *n->last = p;
    n->last = &p->next;
}

/* ---- names -------------------------------------------------------------------------------------- */

static struct entry *find_entry(const struct names *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->entry[i].name, name) == 0)
            return &s->entry[i];
    return NULL;
}

static void set_entry(struct names *s, const char *name, struct node *node) {
    struct entry *e = find_entry(s, name);
    if (e && node) {
        e->node = node;
    } else if (e) {
        free(e->name);
        memmove(e, e + 1, (size_t)(s->entry + s->n - e - 1) * sizeof *e);
        s->n--;
    } else if (node) {
        s->entry = cai_realloc(s->entry, s->n + 1, sizeof *s->entry);
        s->entry[s->n++] = (struct entry){cai_strdup(name), node};
    }
}

static void apply_change(struct names *s, const struct change *c) {
    if (c->from)
        set_entry(s, c->from, NULL);
    set_entry(s, c->name, c->node);
}

static void change(struct node *dir, const char *name, struct node *node, const char *from) {
    struct change *c = cai_alloc(sizeof *c);
    *c = (struct change){dir, node, cai_strdup(name), from ? cai_strdup(from) : NULL, NULL};
    apply_change(&dir->names, c);
    *last_change = c;
    last_change = &c->next;
}

static struct node *new_node(bool dir) {
    struct node *n = cai_alloc(sizeof *n);
    *n = (struct node){.dir = dir};
    n->last = &n->pending;
    return n;
}

void disk_init(void) {
    disk = (struct disk){.free_bytes = (int64_t)100 << 30};
    root = new_node(true);
    set_entry(&root->names, "sim", new_node(true));
    set_entry(&root->durable_names, "sim", root->names.entry[0].node);
}

/* The folder that a path's last part is in; NULL: there is none. */
static struct node *parent_of(const char *path, char name[256]) {
    struct node *n = root;
    while (*path == '/')
        path++;
    for (;;) {
        size_t len = strcspn(path, "/");
        snprintf(name, 256, "%.*s", (int)len, path);
        path += len;
        while (*path == '/')
            path++;
        if (!*path)
            return n;
        struct entry *e = n->dir ? find_entry(&n->names, name) : NULL;
        if (!e)
            return NULL;
        n = e->node;
    }
}

struct node *node_find(const char *path) {
    char name[256];
    struct node *dir = parent_of(path, name);
    struct entry *e = dir ? find_entry(&dir->names, name) : NULL;
    return e ? e->node : NULL;
}

/* ---- calls --------------------------------------------------------------------------------------- */

struct node *node_open(const char *path, bool create, bool exclusive, bool truncate) {
    char name[256];
    struct node *dir = parent_of(path, name);
    struct entry *e = dir && dir->dir ? find_entry(&dir->names, name) : NULL;
    if (!dir || (!e && !create) || (e && exclusive)) {
        errno = e ? EEXIST : ENOENT;
        return NULL;
    }
    if (!e || truncate) {
        int error = step(DISK_OPEN);
        if (error) {
            errno = error;
            return NULL;
        }
        e = find_entry(&dir->names, name);
    }
    if (!e) {
        struct node *n = new_node(false);
        change(dir, name, n, NULL);
        return n;
    }
    if (truncate && e->node->now.len) {
        resize(&e->node->now, 0);
        pend(e->node, NULL, 0, 0);
    }
    return e->node;
}

size_t node_size(const struct node *n) { return n->now.len; }
bool node_is_dir(const struct node *n) { return n->dir; }

size_t node_read(const struct node *n, void *to, size_t len, size_t at) {
    if (at >= n->now.len)
        return 0;
    size_t have = n->now.len - at < len ? n->now.len - at : len;
    memcpy(to, n->now.data + at, have);
    return have;
}

int node_write(struct node *n, const void *from, size_t len, size_t at) {
    int error = step(DISK_WRITE);
    size_t part = error ? disk.short_writes ? len / 2 : 0 : len;
    if (part) {
        put(&n->now, from, part, at);
        pend(n, from, part, at);
    }
    return error ? fail_with(error) : 0;
}

int node_truncate(struct node *n, size_t size) {
    int error = step(DISK_TRUNCATE);
    if (error)
        return fail_with(error);
    resize(&n->now, size);
    pend(n, NULL, 0, size);
    return 0;
}

static void sync_dir(struct node *dir) {
    struct change **at = &changes;
    while (*at) {
        struct change *c = *at;
        if (c->dir != dir) {
            at = &c->next;
            continue;
        }
        apply_change(&dir->durable_names, c);
        *at = c->next;
        free(c->name);
        free(c->from);
        free(c);
    }
    last_change = at;
}

int node_sync(struct node *n) {
    int error = step(DISK_SYNC);
    if (error) {
        /* As Linux does it: the pages count as clean from now on and may never be written. */
        if (!n->dir)
            drop_pending(n);
        return fail_with(error);
    }
    if (n->dir) {
        sync_dir(n);
        return 0;
    }
    for (const struct pending *p = n->pending; p; p = p->next)
        apply(&n->durable, p);
    drop_pending(n);
    return 0;
}

int node_sync_parent(const char *path) {
    char name[256];
    struct node *dir = parent_of(path, name);
    return dir ? node_sync(dir) : fail_with(ENOENT);
}

int node_unlink(const char *path) {
    char name[256];
    struct node *dir = parent_of(path, name);
    struct entry *e = dir ? find_entry(&dir->names, name) : NULL;
    if (!e)
        return fail_with(ENOENT);
    if (e->node->dir && e->node->names.n)
        return fail_with(ENOTEMPTY);
    int error = step(DISK_UNLINK);
    if (error)
        return fail_with(error);
    change(dir, name, NULL, NULL);
    return 0;
}

int node_rename(const char *from, const char *to) {
    char a[256], b[256];
    struct node *source = parent_of(from, a), *target = parent_of(to, b);
    struct entry *e = source ? find_entry(&source->names, a) : NULL;
    if (!e || !target)
        return fail_with(ENOENT);
    struct entry *old = find_entry(&target->names, b);
    if (old && old->node->dir && old->node->names.n)
        return fail_with(ENOTEMPTY);
    int error = step(DISK_RENAME);
    if (error)
        return fail_with(error);
    struct node *n = find_entry(&source->names, a)->node;
    change(target, b, n, source == target ? a : NULL);
    if (source != target)
        change(source, a, NULL, NULL);
    return 0;
}

int node_mkdir(const char *path) {
    char name[256];
    struct node *dir = parent_of(path, name);
    if (!dir)
        return fail_with(ENOENT);
    if (find_entry(&dir->names, name))
        return fail_with(EEXIST);
    int error = step(DISK_MKDIR);
    if (error)
        return fail_with(error);
    change(dir, name, new_node(true), NULL);
    return 0;
}

const char *node_entry(const struct node *n, size_t i, struct node **ret) {
    if (i >= n->names.n)
        return NULL;
    if (ret)
        *ret = n->names.entry[i].node;
    return n->names.entry[i].name;
}

/* ---- the power goes --------------------------------------------------------------------------------- */

static void lose_writes(struct node *n, enum disk_loss loss) {
    size_t count = 0, i = 0;
    for (const struct pending *p = n->pending; p; p = p->next)
        count++;
    size_t keep = loss == LOSE_ALL ? 0 : loss == LOSE_TAIL ? draw_below(count + 1) : count;
    for (const struct pending *p = n->pending; p; p = p->next, i++) {
        double fate = (double)draw_below(1000) / 1000;
        if (i < keep && (loss != LOSE_SOME || fate < 0.5))
            apply(&n->durable, p);
        else if ((loss == LOSE_TAIL && i == keep) || (loss == LOSE_SOME && fate > 0.75))
            apply_torn(&n->durable, p);
    }
    drop_pending(n);
    resize(&n->now, 0);
    resize(&n->now, n->durable.len);
    if (n->durable.len)
        memcpy(n->now.data, n->durable.data, n->durable.len);
}

static void lose_below(struct node *n, enum disk_loss loss, int depth) {
    CAI_CHECK(depth < DEPTH_MAX);
    if (!n->dir) {
        lose_writes(n, loss);
        return;
    }
    while (n->names.n)
        set_entry(&n->names, n->names.entry[0].name, NULL);
    for (size_t i = 0; i < n->durable_names.n; i++) {
        set_entry(&n->names, n->durable_names.entry[i].name, n->durable_names.entry[i].node);
        lose_below(n->durable_names.entry[i].node, loss, depth + 1);
    }
}

void disk_power_cut(enum disk_loss loss) {
    size_t count = 0, i = 0;
    for (const struct change *c = changes; c; c = c->next)
        count++;
    size_t keep = loss == LOSE_ALL ? 0 : loss == LOSE_NONE ? count : draw_below(count + 1);
    /* Folders' changes come through in their order, up to some point. */
    while (changes) {
        struct change *c = changes;
        changes = c->next;
        if (i++ < keep)
            apply_change(&c->dir->durable_names, c);
        free(c->name);
        free(c->from);
        free(c);
    }
    last_change = &changes;
    lose_below(root, loss, 0);
}

/* ---- looking ------------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void describe(const struct node *n, const char *path, struct cai_buf *out) {
    if (!n->dir) {
        char hash[CAI_SHA256_HEX];
        cai_sha256(n->now.data ? n->now.data : "", n->now.len, hash);
        cai_buf_printf(out, "%s %s\n", path, hash);
        return;
    }
    struct names sorted = {cai_alloc((n->names.n + 1) * sizeof(struct entry)), n->names.n};
    if (n->names.n)
        memcpy(sorted.entry, n->names.entry, n->names.n * sizeof *sorted.entry);
    qsort(sorted.entry, sorted.n, sizeof *sorted.entry, by_name);
    for (size_t i = 0; i < sorted.n; i++) {
        const char *name = sorted.entry[i].name;
        if (strstr(name, ".tmp-") || /* what a crash leaves behind */
            (person.expects_wakes && strstr(name, ".ckpt")))
            continue;
        CAI_AUTO(mem) char *below = cai_format("%s/%s", path, name);
        describe(sorted.entry[i].node, below, out);
    }
    free(sorted.entry);
}

void node_digest(const char *path, char ret_hex[65]) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    const struct node *n = node_find(path);
    if (n)
        describe(n, "", &b);
    told("files of %s:\n%s", path, b.data ? b.data : "");
    cai_sha256(b.data ? b.data : "", b.len, ret_hex);
}
