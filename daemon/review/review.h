/* review.h: people's review, as plain functions on the store that take and give JSON. The
 * control requests of `caictl review` (control/review.c) and the page that caid serves call the
 * same ones. Not for HTTP, sessions or the page itself, nor for what a verdict does to training
 * (stage/review.h), nor for the rows (store/review.h).
 *
 * All of them: 0 and *ret (the caller's, json_decref), or a code with its message:
 *   CAI_EAUTH      the reader may not (role, or not the owner of that job)
 *   CAI_ENOTFOUND  no such job, item or critique
 *   CAI_EINPUT     an argument is wrong: what was expected is said
 *   CAI_ESTATE     the moment is wrong: closed, already judged, first verdict missing, an older
 *                  draft than the stored one
 * Those that change something do it in a transaction of their own, durable on return; a request
 * that is repeated after a lost answer fails with CAI_ESTATE and changes nothing (review_undo:
 * see there).
 *
 * Item  (drawn by a job) → open → [second reader] → [disputed → third reader] → final;
 *       closed when its job has used it. A reader: opened → [first verdict] → drafts → final
 *       verdict or skip → [undone: open again].
 *
 * Texts of items were written by models or strangers: they are data, and whoever shows them makes
 * them inert (terminals: cai_text_printable; pages: textContent). Nothing here says whether an item
 * is gold, what the overseer chose, or what another reader said. */
#ifndef CAI_REVIEW_REVIEW_H
#define CAI_REVIEW_REVIEW_H

#include "store/store.h"
#include <jansson.h>

/* Who reads. Whoever calls has proved it: a key's role, the kernel's uid, or a page's token. */
enum reviewer_role {
    REVIEWER_NONE,     /* may nothing here */
    REVIEWER_OWNER,    /* a local person: their own jobs */
    REVIEWER_REVIEWER, /* a key with the role reviewer: every job */
    REVIEWER_ADMIN     /* root, caid's own user, the group admins, an admin's key */
};
struct reviewer {
    const char *name; /* by which verdicts are told apart, and kept: "ann" */
    enum reviewer_role role;
    int64_t uid; /* of a local person; anything else for keys (gate_person) */
};
const char *reviewer_role_name(enum reviewer_role r); /* "none", "owner", "reviewer", "admin" */

/* What is to be read by this person, the next one first: disputes, then second readings, then
 * what nobody has read; what somebody else has open now comes last. job 0: of every job that the
 * reader may see, first job first; "job" is then 0 and counts are sums.
 *   {"job": 3, "required": 50, "done": 12, "pending": 38, "mine": 9, "gate": "review-1" | "",
 *    "items": [{"id": 17, "job": 3, "kind": "comparison" | "critique" | "grade" |
 *               "audit", "drawn": "uncertain" | "disagreement" | "random", "state": "open" | "draft" |
 *               "second" | "disputed"}]}
 * done: final verdicts; pending: those still wanted for the job to go on; mine: this reader's
 * verdicts. "drawn" of a gold item is one of the three like any other's. At most 500 items. */
int review_queue(struct store *s, const struct reviewer *who, int64_t job, json_t **ret);

/* One item, as it is shown; notes for the audit that and when it was opened first.
 *   {"id": 17, "job": 3, "round": 1, "kind": …, "state": as above | "mine" (judged by this
 *    reader) | "closed",
 *    "principle": "prefer the reply that …",  "question": "Which reply is better?",
 *    "messages": [{"role": "user", "text": …}],
 *    "replies": [{"mark": "A", "text": …}, {"mark": "B", "text": …}],   (recorded random order;
 *                                                                        one alone for a grade)
 *    "unaided": true,       (a first verdict is wanted before any help is shown)
 *    "first": null | {"verdict": 5, "severity": 2},
 *    "critiques": [{"id": 1, "text": …, "span": [from, to] | null, "reply": "A",
 *                   "state": "keep" | "reject" | "edit" | null}],
 *    "speeches": [{"reply": "A", "text": …}],    (of the debate before the label, as they were spoken)
 *    "draft": null | the object that was saved last, "version": 4,
 *    "verdict": null | this reader's final verdict}
 * critiques and speeches are [] until the first verdict is in, where unaided. span counts code points of the
 * reply's text (JavaScript: Array.from(text)), to exclusive. version counts the drafts saved.
 * Verdicts are 1 … 7: of two replies 1 = A is much better, 4 = equally good, 7 = B is much
 * better; of a grade 1 = certainly no such failure, 4 = cannot tell, 7 = certainly one. */
int review_open(struct store *s, const struct reviewer *who, int64_t item, json_t **ret);

/* The verdict before any help, once: {"verdict": 1 … 7, "severity": 0 … 4 (may be absent)}. Gives
 * what review_open gives, now with help. */
int review_first(struct store *s, const struct reviewer *who, int64_t item, const json_t *verdict,
                 json_t **ret);

/* Keeps what was typed so far: any object up to 64 KiB, replacing the one before. `version` is the
 * one that review_open or the last draft gave; an older one is CAI_ESTATE (another window saved
 * since). {"version": 5} */
int review_draft(struct store *s, const struct reviewer *who, int64_t item, int64_t version,
                 const json_t *draft, json_t **ret);

/* The final verdict: it decides.
 *   {"verdict": 1 … 7, "severity": 0 … 4 (of the worst flaw; 0 = none),
 *    "critiques": [{"id": 1, "state": "keep" | "reject" | "edit", "text": … with edit}],
 *    "own": ["a flaw that no critique names", …]?,
 *    "edit": null | a better text (of critique items: it replaces the rewrite in training),
 *    "note": "" | …}
 * severity, critiques, own, edit and note may be absent. Gives {"id", "state": "final" | "second" |
 * "disputed", "done", "required", "pending", "next": id of the next item | null}. */
int review_submit(struct store *s, const struct reviewer *who, int64_t item,
                  const json_t *verdict, json_t **ret);

/* Not for this reader; the reason is wanted. Others may still read it. As review_submit. */
int review_skip(struct store *s, const struct reviewer *who, int64_t item, const char *reason,
                json_t **ret);

/* Withdraws this reader's last final verdict or skip (not a first verdict: help was seen since) by
 * a new row of the log, unless training has used it. {"id", "undone": "final" | "skip"}; what was
 * withdrawn is the item's draft again. The next one is another verdict, so here a repeated request
 * cannot be told by the state: `note` (NULL: none) is given the answer in the same transaction, to
 * keep it with the request's key; its error undoes all. */
int review_undo(struct store *s, const struct reviewer *who,
                int (*note)(const void *context, const json_t *answer), const void *context,
                json_t **ret);

/* Where review stands. job 0: every job that the reader may see, as {"jobs": [these]}.
 *   {"job", "name", "state", "waits": true | false, "reason",
 *    "queues": [{"round", "kind", "required", "done", "items", "second", "disputed", "skipped",
 *                "closed": bool}],
 *    "readers": [{"name", "verdicts", "skips", "gold": {"right", "n", "rate", "low", "high"},
 *                 "seconds": median from opening to verdict}],
 *    "agreement": [{"kind", "items" (with two or more readers), "kappa", "low", "high",
 *                   "alpha", "alpha_low", "alpha_high"}],     (null where there are too few)
 *    "consensus": [{"kind", "items" (with two or more readers, or gold), "readers": [{"name",
 *                   "accuracy", "low", "high", "n"}], "differ": decided items of which the likeliest
 *                   side is another, "decided"}],   (Dawid and Skene 1979; decides nothing)
 *    "help": {"aided": {"flawed", "n", "rate"}, "unaided": {…}, "effect", "low", "high",
 *             "changed": share of first verdicts that help turned, "changed_n"},
 *    "critiques": {"kept", "rejected", "edited"},
 *    "overturned": {"labels" (AI labels with a person's verdict), "turned", "rate"},
 *    "audit": {"rows", "head"}}
 * Gold is told apart here for those who may administer (role admin, or the job's owner); a reader
 * with the role reviewer sees no one's gold but the total of all readers, and no consensus, which
 * rests on it. */
int review_progress(struct store *s, const struct reviewer *who, int64_t job, json_t **ret);

/* Rows of a job. what: "pairs" (TRL's preference form: {"prompt": [{"role", "content"}], "chosen":
 * [{…}], "rejected": [{…}], "id", "verdict", "p", "readers", …}, decided comparisons and rewrites,
 * ties left out) or "audit" (every row of the log of this job's items with its hashes, after one
 * line for each item as it was shown). {"rows": […], "next": position | null}; `after` is 0 or
 * the last "next". Not for readers with the role reviewer while the job still waits: "audit" tells
 * gold and others' verdicts. */
int review_export(struct store *s, const struct reviewer *who, int64_t job, const char *what,
                  int64_t after, json_t **ret);

/* Walks the log's chain of hashes and each item's content. {"rows", "head", "whole": true} or
 * {"rows", "whole": false, "broken": number of the first row that does not hold, "why"}. `head`
 * ("" = none): a head noted before; "known": whether it is still in the chain. */
int review_audit(struct store *s, const struct reviewer *who, const char *head, json_t **ret);

#endif
