"""What a job shows a model for critiques, revisions and choices, against a rendering of its
own: the messages of the tasks of a real job, their text and ids against transformers'
apply_chat_template or the plain form, and the labels' option log-probabilities against
transformers' on the same ids.

    .deps/venv/bin/python tests/parity/shown.py TOOLS HF-PROBE
"""
import json
import math
import os
import sqlite3
import sys
import tempfile

import torch
from transformers import AutoTokenizer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from checkpoint import write_job  # noqa: E402
from hf_probe import Probe  # noqa: E402
from rendering import choice, critique, of_turns, prompt  # noqa: E402
from through_caictl import Real  # noqa: E402
from wire import fields  # noqa: E402

TOOLS, PROBE = sys.argv[1:3]
GATE_ITEM = 8000000000
FRAMES = {"critique": "CritiqueRequest: {principle} ({no_flaw} if none)", "critique_prefix":
          "Critique:", "revision": "RevisionRequest: {principle}", "revision_prefix":
          "Revision:\n", "choice": "{conversation}\n--\n{principle}\n1) {a}\n2) {b} {No place}",
          "choice_prefix": "Better is", "reasoning_prefix": "Because ", "reasoned_prefix": "Hence",
          "reasoned_choice": "{a} or {b}? {principle}: {conversation}", "option_a": " 1) the first", "option_b": " 2)",
          "no_flaw": "fine"}


# ---- the tasks of a job, as they were granted --------------------------------------------
def every(raw, number):
    return [v for n, v in fields(raw) if n == number]


def text(raw, number):
    return (every(raw, number) or [b""])[-1].decode()


def integer(raw, number):
    return (every(raw, number) or [0])[-1]


def conversation(raw):
    return [{"role": text(m, 1), "content": text(m, 2), "drop": integer(m, 4)}
            for m in every(raw, 1)]


def items(payload):
    """(item, k, messages, prefix, options) of a generation or scoring task; see cai.proto."""
    for work in every(payload, 10):
        for i in every(work, 3):
            yield (integer(i, 1), integer(i, 3), conversation(every(i, 4)[0]), text(i, 5), [])
    for work in every(payload, 11):
        for i in every(work, 2):
            yield (integer(i, 1), integer(i, 2), conversation(every(i, 3)[0]), text(i, 4),
                   [o.decode() for o in every(i, 5)])


def run_job(folder, chat, frames, mode):
    """(database, model, constitution): payloads go when tasks are done, so a trigger keeps
    them. The store's file is caid's alone while it runs: it is set before the real start."""
    path, model = write_job(folder, chat, frames, system=True, stages__ppo=False,
                            stages__label__mode=mode, stages__label__reasons={"max_tokens": 300},
                            stages__label__max_dropped=1,
                            stages__prefer=False, stages__evaluate=False)
    caid = Real(TOOLS, spawn=0, root=folder)
    with caid:
        caid.stop()
    store = [os.path.join(caid.state, f) for f in os.listdir(caid.state) if f.endswith(".db")][0]
    db = sqlite3.connect(store)
    db.executescript("CREATE TABLE seen(stage TEXT, phase TEXT, payload BLOB); CREATE TRIGGER keep "
                     "AFTER UPDATE OF done ON tasks WHEN OLD.payload IS NOT NULL BEGIN INSERT INTO "
                     "seen VALUES(OLD.stage, OLD.phase, OLD.payload); END;")
    db.close()
    with Real(TOOLS, spawn=1, root=folder) as caid:
        job = caid.submit_file(path)
        caid.ctl("wait", job, expect=7)
        caid.ctl("resume", job, "--accept", "overseer")
        caid.ctl("wait", job)
        whole = json.loads(caid.ctl("constitution", "show", os.path.join(folder, "own.yaml"),
                                    "-o", "json"))
        caid.stop()
    return sqlite3.connect(store), model, whole


# ---- a job's own record ---------------------------------------------------------------------
class Record:
    def __init__(self, db, c):
        self.c, self.db = c, db
        self.principle = {p["id"]: p for p in c["principles"]}
        self.rows = {}
        for stage, item, kind, k, words, principle, detail in db.execute(
                "SELECT stage, item, kind, k, text, principle, detail FROM examples"):
            self.rows[stage, item, kind, k] = (words, principle, json.loads(detail or "null"))

    def of(self, stage, item, kind, k=0):
        return self.rows.get((stage, item, kind, k), (None, None, None))

    def dialog(self, item):
        found = next(v[2] for (stage, i, kind, _), v in self.rows.items()
                     if i == item and v[2] and "messages" in v[2] and kind != "dropped")
        return [(m["role"], m.get("text", m.get("content"))) for m in found["messages"]]

    def before(self, item, step):
        for k in range(step - 1, -1, -1):
            words = self.of("revise", item, "revision" if k else "reply", k)[0]
            if words is not None:
                return words

    def expected_revise(self, item, k, step, revising):
        messages = self.dialog(item) + [("assistant", self.before(item, step))]
        written, name, _ = self.of("revise", item, "critique", step)
        if name is None:
            name = self.of("revise", item, "dropped", 2 * step)[1]
        return critique(self.c, self.principle[name], messages, written if revising else None)

    def reasons(self, item, k, writing):
        """What render_choice is told where labels come with reasons."""
        return {"reasoned": True, "written": None if writing else self.of("label", item, "reasons", k)[0]}

    def expected_gate(self, item, order, **reasons):
        good, name, detail = self.of("label", item, "gate_question")
        a, b = (good, detail["bad"]) if detail["good_is_a"] == (order == 0) else (detail["bad"], good)
        if detail["of"] == "example":
            i = item - GATE_ITEM
            e = self.c["choice_examples"][i]
            return choice(self.c, e["choice"], of_turns(e["turns"]), a, b, without=i, **reasons)
        helpful = next(i for (stage, i, kind, _), v in self.rows.items()
                       if kind == "helpful" and stage == "data" and v[2]["row"]["reply"] == good)
        return choice(self.c, self.principle[name]["choice"], self.dialog(helpful), a, b, **reasons)

    def label(self, item, k):
        return self.db.execute("SELECT principle, p_ab, p_ba, mass_ab, mass_ba FROM labels WHERE "
                               "item = ? AND k = ? AND source = 'ai'", (item, k)).fetchone()

    def expected_label(self, item, k, **reasons):
        replies = [self.of("label", item, f"reply_{x}", k // 2)[0] for x in "ab"]
        question = self.principle[self.label(item, k // 2)[0]]["choice"]
        return choice(self.c, question, self.dialog(item), replies[k % 2], replies[1 - k % 2], **reasons)


# ---- comparing --------------------------------------------------------------------------------
def option_logprobs(model, tok, ids, options):
    for option in options:
        own = tok(option, add_special_tokens=False, split_special_tokens=True).input_ids
        with torch.no_grad():
            lp = model(torch.tensor([ids + own])).logits[0].double().log_softmax(-1)
        yield sum(lp[len(ids) - 1 + i, t].item() for i, t in enumerate(own))


def stored_logprobs(label, order):
    """What choice_read kept of the pair of log-probabilities: their share and their sum."""
    p, mass = label[1 + order], label[3 + order]
    return math.log(p * mass), math.log((1 - p) * mass)


def wanted(record, stage, phase, item, k, cot):
    """(what should be shown, "critique" …), or None where nothing was kept to tell by."""
    kind, _, step = phase.partition("-")
    if stage == "revise" and kind in ("critique", "revision"):
        return record.expected_revise(item, k, int(step), kind == "revision"), kind
    if stage != "label" or phase not in ("gate", "gate-reason", "score", "reason"):
        return None
    more = record.reasons(item, k, "reason" in phase) if cot else {}
    if kind == "gate":
        return record.expected_gate(item, k % 2, **more), phase
    # The principle of reasons that were dropped stands nowhere.
    return (record.expected_label(item, k, **more), phase) if record.label(item, k // 2) else None


def check(folder, chat, frames, mode):
    db, model, c = run_job(folder, chat, frames, mode)
    record, cot = Record(db, c), mode == "cot"
    tok = AutoTokenizer.from_pretrained(os.path.join(folder, "model"))
    probe = Probe(PROBE, os.path.join(folder, "model"))
    seen = dict.fromkeys(("critique", "revision", "gate", "score") + ("gate-reason", "reason") * cot, 0)
    worst = several = 0
    for stage, phase, payload in db.execute("SELECT stage, phase, payload FROM seen"):
        for item, k, messages, prefix, options in items(payload):
            expected = wanted(record, stage, phase, item, k, cot)
            if not expected:
                continue
            want, kind = expected
            got = [(m["role"], m["content"]) for m in messages]
            assert (got, prefix) == want, (phase, item, got, prefix, want)
            shown, ids = prompt(tok, got, prefix)
            answer = probe.ask(op="chat", messages=messages, generate=True, prefix=prefix)
            assert answer.get("text") == shown, (answer, shown)
            assert answer["ids"] == ids, (shown, tok.convert_ids_to_tokens(ids))
            seen[kind] += 1
            several += len(got) > 6
            if kind == "score":
                assert options == [c["frames"]["option_a"], c["frames"]["option_b"]]
                kept = stored_logprobs(record.label(item, k // 2), k % 2)
                for a, b in zip(kept, option_logprobs(model, tok, ids, options), strict=True):
                    worst = max(worst, abs(a - b))
    probe.close()
    assert min(seen.values()) > 0 and several, seen
    assert worst < 1e-4, worst
    print(f"{'chat' if chat else 'plain'}, {'own' if frames else 'default'} frames, {mode}: {seen} as "
          f"expected; option log-probabilities within {worst:.1e}", flush=True)


if __name__ == "__main__":
    for chat, frames, mode in ((True, None, "soft"), (False, None, "soft"), (True, FRAMES, "soft"),
                               (False, FRAMES, "soft"), (True, None, "cot"), (False, FRAMES, "cot")):
        with tempfile.TemporaryDirectory(prefix="caid-shown-") as folder:
            check(folder, chat, frames, mode)
