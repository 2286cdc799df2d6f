/* check.c: the promises, looked at after every slice of caid's: no task leased twice at once, a
 * gang whole or not at all, no result of an older epoch or of somebody else absorbed, the
 * ledger is what was absorbed, nothing acknowledged is gone, no epoch comes twice. */
#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "sim.h"
#include "store/sql.h"
#include <string.h>

enum { FACTS_MAX = 512, GRANTS_MAX = 4096, ITEMS = 4 };

uint64_t check_absorbed, check_stale, check_looks;

static struct grant {
    uint64_t lease;
    int64_t task;
    uint32_t pid, rank, world;
    bool gang;
} grants[GRANTS_MAX];
static size_t n_grants, slice_from; /* of this epoch; those of this slice */

static int64_t acknowledged[FACTS_MAX];
static size_t n_acknowledged;
static struct commit {
    int64_t task;
    char path[256], hash[65];
} commits[FACTS_MAX], reported;
static size_t n_commits;
static uint64_t reported_lease, reported_seq, highest_epoch, absorbed_lease;
static int64_t absorbed_task, known_job;
static sqlite3_stmt *consistency;
static int seen_changes;

/* ---- what was said -------------------------------------------------------------------------------- */

void check_welcomed(uint64_t epoch) {
    if (epoch < highest_epoch)
        broken("epoch %llu after %llu", (unsigned long long)epoch,
               (unsigned long long)highest_epoch);
    highest_epoch = epoch;
}

void check_granted(struct proc *worker, const Cai__V1__Grant *g) {
    CAI_CHECK(n_grants < GRANTS_MAX);
    grants[n_grants++] = (struct grant){g->lease, (int64_t)g->task->id, worker->pid, g->gang->rank,
                                        g->gang->world, *g->gang->rendezvous != '\0'};
    told("lease %llu: task %llu (%s %s) rank %u of %u to %s", (unsigned long long)g->lease,
         (unsigned long long)g->task->id, g->task->stage, g->task->phase, g->gang->rank,
         g->gang->world, worker->name);
}

static const struct grant *find_grant(uint64_t lease) {
    for (size_t i = 0; i < n_grants; i++)
        if (grants[i].lease == lease)
            return &grants[i];
    return NULL;
}

void check_job_exists(int64_t job) { known_job = job; }

void check_acknowledged(uint64_t lease) {
    if (lease != absorbed_lease || !absorbed_task)
        return;
    CAI_CHECK(n_acknowledged < FACTS_MAX);
    acknowledged[n_acknowledged++] = absorbed_task;
    absorbed_task = 0;
}

void check_reported(const Cai__V1__Report *m) {
    const struct grant *g = find_grant(m->lease);
    reported = (struct commit){.task = g ? g->task : 0};
    snprintf(reported.path, sizeof reported.path, "%s", m->checkpoint);
    snprintf(reported.hash, sizeof reported.hash, "%s", m->checkpoint_hash);
    reported_lease = m->lease;
    reported_seq = m->seq;
}

void check_committed(uint64_t lease, uint64_t seq) {
    if (lease != reported_lease || seq != reported_seq || !*reported.path)
        return;
    CAI_CHECK(n_commits < FACTS_MAX);
    commits[n_commits++] = reported;
}

/* ---- absorbing ------------------------------------------------------------------------------------ */

extern int __real_job_absorb(struct run *r, struct job_run *j, int64_t task,
                             Cai__V1__Result *result);
int __wrap_job_absorb(struct run *r, struct job_run *j, int64_t task, Cai__V1__Result *result);
int __wrap_job_absorb(struct run *r, struct job_run *j, int64_t task, Cai__V1__Result *result) {
    const struct grant *g = find_grant(net_lease_of_frame());
    if (net_epoch_of_frame() != r->epoch)
        broken("task %lld: a result of epoch %llu is absorbed in %llu", (long long)task,
               (unsigned long long)net_epoch_of_frame(), (unsigned long long)r->epoch);
    if (!g || g->task != task || g->rank != 0)
        broken("task %lld: absorbed from lease %llu, which is not its own", (long long)task,
               (unsigned long long)net_lease_of_frame());
    if (result->id != (uint64_t)task)
        broken("task %lld: absorbed what is the result of %llu", (long long)task,
               (unsigned long long)result->id);
    int rc = __real_job_absorb(r, j, task, result);
    absorbed_lease = net_lease_of_frame();
    absorbed_task = rc == 0 ? task : 0;
    check_absorbed += rc == 0;
    told("task %lld absorbed: %d", (long long)task, rc);
    return rc;
}

/* ---- the books in memory ----------------------------------------------------------------------------- */

static void check_pair(const struct lease *a, const struct lease *b) {
    if (a->worker && a->worker == b->worker)
        broken("worker %s has leases %llu and %llu", a->worker->name, (unsigned long long)a->id,
               (unsigned long long)b->id);
    if (a->task != b->task || a->revoked || b->revoked)
        return;
    if (!a->gang || a->gang != b->gang)
        broken("task %lld is leased twice: %llu and %llu", (long long)a->task,
               (unsigned long long)a->id, (unsigned long long)b->id);
    else if (a->rank == b->rank)
        broken("task %lld: rank %u twice", (long long)a->task, a->rank);
}

static void check_leases(const struct run *r) {
    for (const struct lease *a = r->leases; a; a = a->next) {
        if (a->worker && a->worker->lease != a)
            broken("lease %llu: its worker does not know it", (unsigned long long)a->id);
        for (const struct lease *b = a->next; b; b = b->next)
            check_pair(a, b);
    }
}

/* What a slice grants of a gang is all of it, or is taken back in the same slice. */
static void check_gangs(const struct run *r) {
    for (size_t i = slice_from; i < n_grants; i++) {
        const struct grant *g = &grants[i];
        if (!g->gang)
            continue;
        uint32_t ranks = 0;
        for (size_t k = slice_from; k < n_grants; k++)
            ranks |= grants[k].gang && grants[k].task == g->task ? 1u << grants[k].rank : 0;
        const struct lease *l = r->leases;
        while (l && l->id != g->lease)
            l = l->next;
        if (ranks != (1u << g->world) - 1 && l && !l->revoked)
            broken("task %lld: a gang of %u has ranks %#x", (long long)g->task, g->world, ranks);
    }
    slice_from = n_grants;
}

/* ---- the store ------------------------------------------------------------------------------------------ */

/* Columns that must be 0. */
static const char consistent[] =
    "SELECT (SELECT COUNT(*) FROM examples) - ?1 * (SELECT COUNT(*) FROM tasks WHERE"
    " stage = 'write' AND done = 1),"
    " (SELECT COUNT(*) FROM tasks WHERE phase = 'second') - (SELECT COUNT(*) FROM tasks WHERE"
    " phase = 'first' AND done = 1),"
    " (SELECT COUNT(*) FROM models WHERE kind = 'policy') - (SELECT COUNT(*) FROM tasks WHERE"
    " stage <> 'write' AND done = 1),"
    " (SELECT COUNT(*) FROM tasks WHERE done = 1 AND (result_hash IS NULL OR payload NOT NULL)),"
    " (SELECT COUNT(*) FROM jobs) > 1";
static const char *const column_names[] = {
    "examples without a ledger mark, or the other way about", "second tasks without a first",
    "models without a ledger mark, or the other way about", "a ledger mark without a hash",
    "a job doubled"};

static void check_store(struct run *r) {
    int changes = sqlite3_total_changes(r->store->db);
    if (changes == seen_changes)
        return;
    seen_changes = changes;
    check_looks++;
    if (!consistency)
        CAI_CHECK(sqlite3_prepare_v2(r->store->db, consistent, -1, &consistency, NULL) ==
                  SQLITE_OK);
    sqlite3_bind_int(consistency, 1, ITEMS);
    if (sqlite3_step(consistency) == SQLITE_ROW)
        for (int i = 0; i < 5; i++)
            if (sqlite3_column_int64(consistency, i) != 0)
                broken("%s: %lld", column_names[i], sqlite3_column_int64(consistency, i));
    sqlite3_reset(consistency);
}

void check_after_caid(void) {
    struct run *r = world.caid.alive ? world.caid.run : NULL;
    if (!r || sim_point.held == &world.caid)
        return;
    check_leases(r);
    check_gangs(r);
    check_store(r);
}

static int64_t number(struct store *s, const char *sql, const char *a, const char *b, int64_t c) {
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK) {
        broken("the store cannot be asked: %s", sqlite3_errmsg(s->db));
        return 0;
    }
    if (a)
        sqlite3_bind_text(q, 1, a, -1, SQLITE_STATIC);
    if (b)
        sqlite3_bind_text(q, 2, b, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, c);
    int64_t n = sqlite3_step(q) == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
    sqlite3_finalize(q);
    return n;
}

static void check_commits(struct store *s) {
    for (size_t i = 0; i < n_commits; i++) {
        const struct commit *c = &commits[i];
        if (number(s, "SELECT done FROM tasks WHERE id = ?3", NULL, NULL, c->task))
            continue;
        if (!number(s, "SELECT COUNT(*) FROM models WHERE path = ?1 AND hash = ?2 AND"
                       " kind = 'checkpoint' AND k = ?3", c->path, c->hash, c->task))
            broken("the committed checkpoint %s is not in the store", c->path);
        CAI_AUTO(mem) char *manifest = cai_path_join(c->path, "MANIFEST.json");
        CAI_AUTO(mem) char *state = cai_path_join(c->path, "state");
        char hash[CAI_SHA256_HEX] = "";
        if (cai_file_sha256(manifest, hash) < 0 || strcmp(hash, c->hash) != 0)
            broken("the committed checkpoint %s is not on the disk as it was", c->path);
        if (cai_file_sha256(state, hash) < 0)
            broken("the committed checkpoint %s has lost its state", c->path);
    }
}

/* What a task that is open reads, what a finished one left. */
static void check_files(struct store *s) {
    sqlite3_stmt *q = NULL;
    CAI_CHECK(sqlite3_prepare_v2(s->db, "SELECT path, hash FROM models WHERE kind = 'policy'", -1,
                                 &q, NULL) == SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        CAI_AUTO(mem) char *path = cai_path_join((const char *)sqlite3_column_text(q, 0), "model");
        CAI_AUTO(buf) struct cai_buf b = {0};
        if (cai_file_read(path, 1000, &b) < 0 ||
            strcmp(b.data ? b.data : "", (const char *)sqlite3_column_text(q, 1)) != 0)
            broken("the model %s is not on the disk as it was absorbed", path);
    }
    sqlite3_finalize(q);
    CAI_CHECK(sqlite3_prepare_v2(s->db, "SELECT payload FROM tasks WHERE done = 0", -1, &q,
                                 NULL) == SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        Cai__V1__Task *t = cai__v1__task__unpack(NULL, (size_t)sqlite3_column_bytes(q, 0),
                                                 sqlite3_column_blob(q, 0));
        char hash[CAI_SHA256_HEX] = "";
        if (!t)
            broken("the payload of an open task cannot be read");
        else if (t->work_case == CAI__V1__TASK__WORK_TRAIN &&
                 (cai_file_sha256(t->train->dataset->path, hash) < 0 ||
                  strcmp(hash, t->train->dataset->hash) != 0))
            broken("the dataset %s of an open task is not what was frozen",
                   t->train->dataset->path);
        if (t)
            cai__v1__task__free_unpacked(t, NULL);
    }
    sqlite3_finalize(q);
}

static bool is_whole(struct store *s) {
    sqlite3_stmt *q = NULL;
    bool good = sqlite3_prepare_v2(s->db, "PRAGMA integrity_check", -1, &q, NULL) == SQLITE_OK &&
                sqlite3_step(q) == SQLITE_ROW &&
                strcmp((const char *)sqlite3_column_text(q, 0), "ok") == 0;
    sqlite3_finalize(q);
    return good;
}

void check_held(struct store *s) {
    if (!is_whole(s))
        broken("the database is not whole: %s", sqlite3_errmsg(s->db));
    for (size_t i = 0; i < n_acknowledged; i++)
        if (!number(s, "SELECT done FROM tasks WHERE id = ?3", NULL, NULL, acknowledged[i]))
            broken("task %lld was acknowledged and is not done", (long long)acknowledged[i]);
    if (known_job && !number(s, "SELECT COUNT(*) FROM jobs WHERE id = ?3", NULL, NULL, known_job))
        broken("the job was acknowledged and is gone");
    check_commits(s);
    check_files(s);
}

void check_caid_opened(struct run *r) {
    n_grants = slice_from = 0;
    absorbed_lease = absorbed_task = 0;
    consistency = NULL;
    seen_changes = -1;
    if (r->epoch <= highest_epoch)
        broken("epoch %llu comes again", (unsigned long long)r->epoch);
    check_held(r->store);
}

void check_caid_closes(void) {
    sqlite3_finalize(consistency);
    consistency = NULL;
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static void digest(struct store *s, const char *sql, char ret[65]) {
    CAI_AUTO(buf) struct cai_buf b = {0};
    sqlite3_stmt *q = NULL;
    CAI_CHECK(sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(q); i++)
            cai_buf_printf(&b, "%s%c", sql_text(q, i), i + 1 < sqlite3_column_count(q) ? '\t' : '\n');
    sqlite3_finalize(q);
    told("%s:\n%s", sql, b.data ? b.data : "");
    cai_sha256(b.data ? b.data : "", b.len, ret);
}

void check_outcome(struct run *r, struct outcome *ret) {
    CAI_CHECK(store_ledger_digest(r->store, person.job, ret->ledger) == 0);
    digest(r->store, "SELECT round, stage, item, kind, k, text FROM examples ORDER BY 1, 2, 3, 4, 5",
           ret->examples);
    digest(r->store, "SELECT round, stage, kind, k, step, path, hash FROM models"
                     " ORDER BY 1, 2, 3, 4, 5", ret->models);
    digest(r->store, "SELECT round, stage, name, step, value FROM metrics ORDER BY 1, 2, 3, 4",
           ret->metrics);
    CAI_AUTO(mem) char *folder = cai_format(SIM_STATE "/jobs/%lld", (long long)person.job);
    node_digest(folder, ret->files);
}
