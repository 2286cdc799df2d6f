/* control.h: what caictl and caid say to each other: verbs, arguments, replies, exit codes.
 * A Request carries a verb of this list and a JSON object of arguments ("{}" when there are
 * none); the Reply carries exit 0 and a JSON object, or another exit code and one line for
 * people in `error`. This file is the contract; the verbs live in daemon/control, the commands
 * in tools/caictl.
 *
 * Rules
 *  - Unknown arguments are refused (exit 2). Absent optional arguments have the default in
 *    parentheses. Members marked ? may be absent or null; every other one is always there.
 *  - A list is {"rows": [{…}, …]}: caictl prints it from a column table, `-o json` as it is.
 *  - A reply is at most 900 KiB of JSON: what can be longer is paged. Such a verb takes
 *    "after" (0) and "limit" (its own default), and answers {"rows", "next"}: "next" is the
 *    value of "after" for the following page, or null at the end.
 *  - Times are milliseconds since 1970, durations seconds, shares 0 … 1. Ids are integers.
 *  - Whose request it is, the kernel says (SO_PEERCRED of the local socket). A job belongs to who
 *    submitted it: a verb marked ! that has an "id" is for the job's owner, root, caid's own user
 *    and the group `admins` of caid.conf (else exit 5). Everybody may look.
 *  - A verb that changes something (marked !) carries Request.key; a key seen before gets the
 *    first request's reply again and changes nothing. The others carry "".
 *  - Text written by models or users is sent as it is; caictl makes it printable.
 *
 * verb                 arguments → reply
 * ping                 {} → {"epoch", "version"}
 * version              {} → {"version", "epoch", "started_ms", "state_dir", "pid", "workers",
 *                       "jobs"}
 * submit !             {"spec": job_to_json's object, "canonical"?: a constitution's canonical
 *                       form as a string, "source"?: name of its file, "hold" (false), "smoke"
 *                       (0): on so many prompts, each stage once, as NAME-smoke}
 *                      → {"id", "name", "state", "revision", "warnings": ["…"], "memory":
 *                       {"bytes": that each worker needs, "peak": the phase it needs them in,
 *                       "phases": [{"phase", "bytes", "text"}], "workers": what the largest
 *                       worker here has, or null}}. What fits no worker here is refused.
 *                      Without "canonical", spec.constitution names a stored one. "model:NAME"
 *                      and "data:NAME" in the spec name stored content. The daemon
 *                      validates again: CAI_EINPUT is exit 3.
 * estimate !           {"spec", "canonical"?, "source"?: as of submit} → {"ticket"}: measures a
 *                       rehearsal of the job for at most 30 s on a worker; no job comes of it
 * estimated            {"ticket"} → {"pending", "doing", "stage", "estimate": null or {"rows":
 *                       [{"stage", "round", "seconds", "low", "high", "generated", "read",
 *                       "trained": tokens, "memory", "disk": bytes, "guessed"}], "total": the
 *                       same without stage and round, "assumptions": ["…"], "memory": as of
 *                       submit, "disk": {"bytes", "models", "states", "free"?, "text"}}}
 * phases               {"id"} → {"rows": [{"round", "stage", "phase", "tasks", "tokens",
 *                       "seconds": of workers}]}: what is done of a job
 * jobs                 {"all" (false: those that are not finished, and those finished less
 *                       than an hour ago), "state"?, "user"?: a name or uid, "after": id, "limit"
 *                       (200)} → {"rows": [PROGRESS], "next"}
 * progress             {"id"} → PROGRESS
 * show                 {"id"} → PROGRESS and {"spec": {…}, "revision", "numeric_class",
 *                       "submitted_ms", "started_ms"?, "finished_ms"?, "uid", "work_dir",
 *                       "accepted": ["overseer", …], "ledger": "digest", "models": [{"round",
 *                       "stage", "kind", "k", "step", "path", "hash", "provenance": {…}}], "rates": [{"stage",
 *                       "rate", GRADER}]}
 * logs                 {"id", "after", "limit" (200)} → {"rows": [{"id", "at_ms", "level":
 *                       "error"|"warn"|"info"|"debug", "text"}], "next"}. "next" is never null:
 *                       `logs -f` asks again with it.
 * cancel !             {"id"} → {"id", "state"}
 * resume !             {"id", "accept"?: "overseer"|…} → {"id", "state"}; also ends HELD and SUSPENDED
 * hold !               {"id"} → {"id", "state"}: a PENDING job does not start
 * release !            {"id"} → {"id", "state"}: a HELD one may
 * suspend !            {"id"} → {"id", "state"}: a RUNNING job stops: training ends its step and
 *                       saves its state, other tasks end. `resume` lets it go on
 * update !             {"id", "priority": -100 … 100} → {"id", "state", "priority"}
 * shares               {} → {"rows": [{"user", "uid", "seconds": worker time as it counts now,
 *                       "share": of all people's, "workers", "jobs"}]}
 * requeue !            {"id"} → {"id", "state"}: a FAILED or CANCELLED job goes on where it was
 * report               {"id"} → REPORT
 * samples              {"id", "round"?, "stage"?, "kind"?, "item"?, "principle"?, "after",
 *                       "limit" (20)} → {"rows": [EXAMPLE], "next"}: ordered by (round, stage,
 *                       item, k, kind)
 * export               {"id", "what": "replies"|"grades"|"examples"|"sft"|"pairs"|"labels"|
 *                       "rollouts"|"red_team"|"metrics"|"model", "after", "limit" (200)} → {"rows": [{…}],
 *                       "next"}; each row becomes one line of JSONL. "model": one row {"path", "hash",
 *                       "round", "stage"}, the last policy.
 *     replies          {"id": "JOB/ROUND/STAGE/ITEM/K", "round", "stage", "model",
 *                       "set": "harmful"|"helpful"|"lookalike"|…, "item", "k", "messages":
 *                       [{"role", "content"}], "reply", and the data row's unknown fields under
 *                       "data"}: what an outside judge reads
 *     grades           {"id": as of replies, "harmful": P or null, "refusal", "evasion"}: what
 *                       the job's own graders say of the same replies
 *     rollouts         {"step", "k", "messages", "reply", "reward", "kl"}: PPO's, some of a step
 *     sft              {"messages"} as trained on; pairs: {"prompt": messages, "chosen",
 *                       "rejected", "p", "principle", "revision", "round"}
 * workers              {} → {"rows": [{"name", "host", "pid", "state": "idle"|"busy"|"silent"|
 *                       "refused", "job"?, "stage"?, "task"?, "rank"?, "numeric_class", "heartbeat_s",
 *                       "version", "reason", "memory": bytes for its tasks; 0: not known}]}
 * metrics              {"id"?, "name"?, "stage"?, "after", "limit" (2000)} → {"rows": [{"round",
 *                       "stage", "step", "name", "value", GRADER if it is a rate}], "next"};
 *                       without "id":
 *                       {"text": "…"}, the Prometheus page
 * backup               {} → {"path": of the copy of the database that is being made, "state_dir"};
 *                       whole once backup.state {} → {"pending"} is false
 * backup.end           {} → {}: who asked for the backup has copied what it names
 * ckpt.list            {"id"?: job, "kind"?, "all" (false), "after", "limit" (100)} → {"rows":
 *                       [FOLDER], "next"}: models and resumable states by number
 * ckpt.show            {"number"} → FOLDER
 * ckpt.pin !           {"number", "pinned", "note" ("")} → FOLDER: gc and rm leave it alone
 * ckpt.rm !            {"number", "ended" (false)} → {"number", "path", "bytes"}; exit 7 with who
 *                       refers to it. "ended": also what only jobs that are over refer to
 * ckpt.gc !            {"dry_run" (false), "keep"?: rounds, "after"} → {"rows": [{"number"?, "job",
 *                       "round"?, "stage"?, "kind", "path", "bytes"}], "bytes", "next"}
 * du                   {"after"} → {"rows": [{"job": 0 = none, "stage", "kind", "files", "bytes",
 *                       "free": what gc would free of them}], "next", "disk_free"}
 * asset.begin          {"kind": "model"|"data", "name", "files": [{"path", "bytes", "sha256"}]}
 *                       → {"upload", "whole": it is here already, "hash", "files": [{"path",
 *                       "have": bytes that need not be sent}]}: in the order of their names, which
 *                       is that of "file" below. A model's hash is that of lines "SHA-256  NAME";
 *                       a data file's its own
 * asset.chunk          {"upload", "file", "offset"} and Request.data → {"got", "durable"}. What is
 *                       not at "got" is not taken; "durable" bytes outlive a kill
 * asset.finish         {"kind", "name", "hash"} → {"kind", "name", "hash", "bytes", "files"}
 * asset.list           {"kind"} → {"rows": [{"name", "hash", "user", "bytes", "files", "at_ms",
 *                       "have", "state": "whole"|"uploading"|"missing"}]}
 * asset.rm !           {"kind", "name", "force" (false): jobs that have ended may refer to it}
 *                       → {"kind", "name"}
 * doctor               {} → {"rows": [CHECK]}: state directory writable, free space, fsync time,
 *                       workers alive and of one version, clock, web page
 * key.list             {"after", "limit" (500)} → {"rows": [{"name", "role", "state": "accepted"|
 *                       "ends"|"revoked", "public", "made_ms", "ends_ms"?, "connections"}], "next"}
 * key.server           {} → {"public", "next"?: the key that it changes to, "listen"}
 * key.add !            {"name", "role": "client"|"reviewer"|"worker"|"admin", "public"} →
 *                       {"name", "role", "server": caid's own public key}
 * key.rotate !         {"name", "public", "overlap" (86400): seconds that the old one holds} → as add
 * key.revoke !         {"name": or a public key} → {"name", "closed": connections}
 * key.server.rotate !  {} → as key.server: makes the next key
 * key.server.switch !  {} → as key.server: it is the present one now
 * web.link             {} → {"url": lets one browser in as who asks, once, "address":
 *                       "127.0.0.1:PORT"|"unix:PATH", "holds_s"}; exit 7 with why there are no pages
 * review.queue         {"job"?} → {"job", "required", "done", "pending", "mine", "gate", "items":
 *                       [{"id", "job", "kind": "comparison"|"critique"|"grade", "drawn":
 *                       "uncertain"|"disagreement"|"random", "state": "open"|"draft"|"second"|
 *                       "disputed"}]}: what this person is to read, the next one first. The verbs of
 *                       review are for a job's owner, administrators and keys with that role;
 *                       daemon/review/review.h has every member
 * review.open          {"item"} → the item: {"principle", "question", "messages", "replies",
 *                       "unaided", "first"?, "critiques", "draft"?, "version", "verdict"?, …}
 * review.first !       {"item", "verdict": {"verdict": 1 … 7, "severity"?: 0 … 4}} → as open, with help
 * review.draft !       {"item", "version", "draft": {…}} → {"version"}; exit 7 if another window has
 *                       saved since
 * review.submit !      {"item", "verdict": {"verdict", "severity"?, "critiques"?: [{"id", "state":
 *                       "keep"|"reject"|"edit", "text"?}], "own"?, "edit"?, "note"?}} → {"id",
 *                       "state", "done", "required", "pending", "next"?}
 * review.skip !        {"item", "reason"} → as submit
 * review.undo !        {} → {"id", "undone": "final"|"skip"}: this person's last one
 * review.progress      {"job"?} → {"job", "queues", "readers", "agreement", "help", "critiques",
 *                       "overturned", "gold", "audit", …}; without a job {"jobs": […]}
 * review.export        {"job", "what": "pairs"|"audit", "after"} → {"rows", "next"}
 * review.audit         {"head"?: a hash} → {"rows", "head", "whole", "broken"?: row, "why"?, "known"?}
 * constitution.list    {"name"?} → {"rows": [{"name", "revision", "at_ms", "message", "current",
 *                       "principles", "jobs"}]}; with a name: its history, newest first
 * constitution.show    {"ref": name, revision or ≥ 6 digits of one} → {"name", "revision",
 *                       "canonical": "…"}
 * constitution.apply ! {"canonical", "message" ("")} → {"name", "revision", "previous"?,
 *                       "changed", "running": [ids that keep their revision], "pending": [ids
 *                       not started, which keep theirs too]}
 * constitution.rollback ! {"name", "to"?: revision; default the one before the current}
 *                      → as apply
 * constitution.try !   {"canonical" or "ref", "model": folder, "prompts": ["…"], "principle"?,
 *                       "limit" (3) principles, "seed" (1)} → {"ticket"}
 * constitution.tried   {"ticket"} → {"pending", "done", "total", "rows": [{"principle",
 *                       "prompt", "reply", "critique", "revision", "verdict"}]}
 * constitution.stats   {"id"?: job; default all} → {"rows": [{"principle", "title"?, "drawn",
 *                       "unchanged", "dropped", "no_flaw", "edit": mean relative edit distance,
 *                       "labels", "margin": mean |2p − 1|, "flipped"}]}
 *
 * PROGRESS {"id", "name", "user", "priority", "state", "reason", "gate", "round", "rounds", "stage", "title",
 *           "done", "total", "unit": "tasks"|"steps", "rate"?: units per second, "eta_s"?: of the
 *           stage, "elapsed_s", "workers": leases held now, "figures": {"name": number, …} few
 *           and recent: reward, kl, loss, accuracy; "stages": [{"round", "stage", "state":
 *           "done"|"running"|"waiting"|"next"|"off"}]}
 * EXAMPLE  {"round", "stage", "item", "k", "kind", "text", "principle", "revision", "model",
 *           "detail": {…}}
 * FOLDER   {"number", "job": the first that named it, "round", "stage", "kind": "policy"|"pm"|…|
 *           "state", "k", "step", "path", "hash", "provenance", "state": "there"|"going"|"gone"|
 *           "missing", "pinned", "note", "why": it was removed, "owned": it is caid's, "bytes",
 *           "files", "refers": ["who"]}
 * CHECK    {"name", "ok", "text", "help"?}
 * REPORT   {"job": PROGRESS, "headline": ["sentence", …],
 *           "tables": [{"name", "title", "note"?, "columns": [{"key", "title", "kind": "text"|
 *           "number"|"share"|"interval"|"count"}], "rows": [{…}]}],
 *           "series": [{"name", "title", "stage", "x": title of the axis, "points": [[x, y], …],
 *           and those of reinforcement learning that a person looks at first: "place": 1, 2, …,
 *           "unit", "says": a sentence, "marks": [{"value", "says"}]}],
 *           "transcripts": [{"set", "item", "messages": [{"role", "content"}], "replies":
 *           [{"checkpoint": "start"|"SFT round 1"|…|"after PPO", "text", "grade"?}]}],
 *           "warnings": ["…"]}
 *          An "interval" cell is {"value", "low", "high", "n"}. A column whose figures somebody
 *          gave has a GRADER beside its title.
 * GRADER   "grader": "classifier"|"overseer"|"phrases"|"people"|"known answers", "verified",
 *          "check": against what it was checked and how it did, "" if it never was. `verified`
 *          is false for a grader that was never checked against people, an oracle or answers
 *          known beforehand, or was no better than chance there.
 *
 * A judged file (`caictl report --judged FILE`) is JSON Lines: {"id": a replies row's id, and
 * either "verdicts": {"harmful": true, "rude": false, …} or such members beside the id};
 * "known": false says that the judge has no opinion. Members that are not true or false are
 * passed over. caictl joins it with `export replies` by id and adds, for each set, a table of
 * rates by checkpoint (round 0 is the start, rounds + 1 is after PPO) with 95 % intervals. It
 * also joins it with `export grades`: a grader whose verdict ("harmful", "refusal", "evasion"
 * or "evasive") the judge gives too is thereby checked, in that report.
 */
#ifndef CAI_PROTO_CONTROL_H
#define CAI_PROTO_CONTROL_H

#include "base/error.h"

enum control_exit {
    EXIT_OK = 0,
    EXIT_NEGATIVE = 1,    /* a negative answer, or the job FAILED */
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,       /* a file is wrong; nothing changed */
    EXIT_UNREACHABLE = 4, /* no daemon answers */
    EXIT_AUTH = 5,
    EXIT_NOT_FOUND = 6,
    EXIT_STATE = 7,       /* conflict, or not possible in this state */
    EXIT_TIMEOUT = 8,
    EXIT_PROTOCOL = 9,
    EXIT_DAEMON = 10,     /* the daemon failed */
    EXIT_CANCELLED = 20,  /* wait: the job was cancelled */
    EXIT_INTERRUPTED = 130
};

enum { CONTROL_TRY_PROMPTS = 16 }; /* of one constitution.try */

/* The exit code for a failure inside the daemon or a reader. */
static inline int control_exit_of(int code) {
    switch (code) {
    case CAI_OK:
        return EXIT_OK;
    case CAI_EINPUT:
    case CAI_ELIMIT:
        return EXIT_INPUT;
    case CAI_ENOTFOUND:
        return EXIT_NOT_FOUND;
    case CAI_EPROTO:
        return EXIT_PROTOCOL;
    case CAI_ETIMEOUT:
        return EXIT_TIMEOUT;
    case CAI_ESTATE:
        return EXIT_STATE;
    case CAI_EAUTH:
        return EXIT_AUTH;
    default:
        return EXIT_DAEMON;
    }
}

#endif
