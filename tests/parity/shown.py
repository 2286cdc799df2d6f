"""What a job shows a model for critiques, revisions and choices, against a rendering of its
own: the messages of the tasks of a real job, their text and ids against transformers'
apply_chat_template or the plain form, and the labels' option log-probabilities against
transformers' on the same ids.

    .deps/venv/bin/python tests/parity/shown.py TOOLS HF-PROBE
"""
import json
import math
import os
import random
import sqlite3
import sys
import tempfile

import torch
from transformers import AutoTokenizer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from checkpoint import prompts, sentence, write_job, write_lines  # noqa: E402
from hf_probe import Probe  # noqa: E402
from rendering import (any_principle, asked, choice, critique, judgement, of_turns, prompt,  # noqa: E402
                       said, speech)  # noqa: E402
from through_caictl import Real  # noqa: E402
from wire import fields  # noqa: E402

TOOLS, PROBE = sys.argv[1:3]
GATE_ITEM = 8000000000
FRAMES = {"critique": "CritiqueRequest: {principle} ({no_flaw} if none)", "critique_prefix":
          "Critique:", "revision": "RevisionRequest: {principle}", "revision_prefix":
          "Revision:\n", "choice": "{conversation}\n--\n{principle}\n1) {a}\n2) {b} {No place}",
          "choice_prefix": "Better is", "reasoning_prefix": "Because ", "reasoned_prefix": "Hence",
          "reasoned_choice": "{a} or {b}? {principle}: {conversation}", "option_a": " 1) the first", "option_b": " 2)",
          "no_flaw": "fine", "any_critique": "Anything?", "any_revision": "Mend it.", "critiqueable": "Flaw? {principle}",
          "helpful": "Was that right?", "verdict_prefix": "I say", "option_yes": " aye", "option_no": " nay",
          "tamper": "Spoil it: {principle}", "debate": "{mine} beats that. {question} {principle}\n{debate}",
          "debate_prefix": "Sir, ", "debated_choice": "{a} {said_a} or {b} {said_b}? {principle} {conversation} {debate}"}


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


def verified(folder):
    """What people said of replies: several to a prompt, with and without a principle."""
    rng, rows = random.Random(4), []
    for i, row in enumerate(prompts(random.Random(5), 12, True)):
        for k in range(3):
            flaw = (i + k) % 2 == 0
            rows.append({**row, "reply": sentence(rng, 8), "flaw": flaw, **({"principle": f"rule-{k}"} if i % 3 == 0 else {})})
            if flaw:
                rows[-1].update(critique=f"The {k}. word is wrong.", helpful=k != 1, refinement=sentence(rng, 7))
    write_lines(os.path.join(folder, "verified.jsonl"), rows)
    return {"harmful": "./prompts.jsonl", "helpful": "./helpful.jsonl", "critiques": "./verified.jsonl"}


SKILL = {"enabled": True, "judge": "human", "held_out": 0.5, "inserted": 6, "batch": 8, "lr": 1e-3,
         "critique": {"max_tokens": 24}, "refinement": {"max_tokens": 24}}


def run_job(folder, chat, frames, mode):
    """(database, model, constitution): payloads go when tasks are done, so a trigger keeps
    them. The store's file is caid's alone while it runs: it is set before the real start."""
    more = {"data": verified(folder), "stages__skill": SKILL} if mode == "debate" else {}
    path, model = write_job(folder, chat, frames, system=True, stages__ppo=False, **more,
                            stages__label__mode=mode, stages__label__reasons={"max_tokens": 300},
                            stages__label__speech={"max_tokens": 24}, stages__label__max_dropped=1,
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


    # ---- debates
    def debate(self, item, k, n):
        """(the debate in this seating, its first n speeches)"""
        _, _, d = self.of("label", item, "debate", k // 2)
        a, b = (d["b"], d["a"]) if k % 2 else (d["a"], d["b"])
        before = [("AB"[at % 2], self.of("label", item, "speech", 32 * k + at)[0]) for at in range(n)]
        return {**d, "A": a, "B": b, "messages": [(m["role"], m["text"]) for m in d["messages"]]}, before

    def expected_speech(self, item, k, n):
        d, before = self.debate(item, k, n)
        return speech(self.c, d, "AB"[n % 2], before)

    def expected_judgement(self, item, k):
        return judgement(self.c, *self.debate(item, k, 4))

    # ---- critique as a skill
    def verified(self, item):
        _, _, d = self.of("data", item, "critiques")
        messages = [(m["role"], m["text"]) for m in d["messages"]] + [("assistant", d["row"]["reply"])]
        return messages, d["row"], self.principle.get(d["row"].get("principle"), any_principle(self.c))

    def expected_skill(self, phase, item, k):
        messages, row, own = self.verified(item)
        free = any_principle(self.c)
        if phase == "check":
            return asked(self.c, "helpful" if k else "critiqueable", own, messages, row.get("critique"))
        if phase == "tamper":
            name = (self.of("skill", item, "tampered", k)[1] or self.of("skill", item, "dropped", k)[1])
            return asked(self.c, "tamper", self.principle[name], messages)
        kind = {"flaw": "critiqueable", "critique": "critique", "helpful": "helpful"}[phase]
        return asked(self.c, kind, free, messages, self.of("skill", item, "critique", k)[0] if kind == "helpful" else None)

    def expected_rows(self, item):
        """Everything that may be learned of a reply, as (messages, what is said)."""
        messages, row, p = self.verified(item)
        f, sound = self.c["frames"], row.get("helpful") is not False
        fine = f["no_flaw"] + (" the response may stay as it is." if f["no_flaw"].endswith(":") else "")
        tasks = [("critiqueable", None, f["option_yes" if row["flaw"] else "option_no"])]
        if "critique" in row and sound or not row["flaw"]:
            tasks.append(("critique", None, row.get("critique", fine)))
        if "critique" in row:
            tasks.append(("helpful", row["critique"], f["option_yes" if row["helpful"] else "option_no"]))
        if "refinement" in row:
            tasks += [("revision", row["critique"], row["refinement"])] * sound + [("refinement", None, row["refinement"])]
        for kind, written, answer in tasks:
            shown, prefix = asked(self.c, kind, p, messages, written)
            whole = prefix + answer if answer[0] == " " and prefix else said(prefix, answer.lstrip(" "))
            yield [*shown, ("assistant", whole)]


def check_rows(db, record):
    """The frozen rows of the stage skill: those of each reply that is learned from, in order."""
    about = json.loads(db.execute("SELECT provenance FROM models WHERE stage = 'skill'").fetchone()[0])
    for folder, _, files in os.walk(os.path.dirname(db.execute("PRAGMA database_list").fetchone()[2])):
        if about["dataset"] in files:
            path = os.path.join(folder, about["dataset"])
    rows = {}
    with open(path) as f:
        for line in f:
            row = json.loads(line)
            rows.setdefault(row["item"], []).append([(m["role"], m["text"]) for m in row["messages"]])
    for item, got in rows.items():
        want = list(record.expected_rows(item))
        assert got[:len(want)] == want, (item, got, want)  # then those of inserted flaws
    return sum(map(len, rows.values()))


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
    if stage == "skill":
        return record.expected_skill(phase, item, k), phase
    if "debate-" in phase:
        return record.expected_speech(item, k, int(phase.rpartition("-")[2]) - 1), "speech"
    if stage == "label" and (kind == "score" or phase == "gate") and record.of("label", item, "debate", k // 2)[2]:
        return record.expected_judgement(item, k), "judgement"
    if phase == "gate-direct":
        return record.expected_gate(item, k % 2), phase
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
    kinds = ("gate-direct", "speech", "judgement", "check", "flaw", "critique", "helpful", "tamper") if mode == "debate" \
        else ("gate", "score") + ("gate-reason", "reason") * cot
    seen = dict.fromkeys(("critique", "revision") + kinds, 0)
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
    if mode == "debate":
        seen["rows"] = check_rows(db, record)
    assert min(seen.values()) > 0 and several, seen
    assert worst < 1e-4, worst
    print(f"{'chat' if chat else 'plain'}, {'own' if frames else 'default'} frames, {mode}: {seen} as "
          f"expected; option log-probabilities within {worst:.1e}", flush=True)


if __name__ == "__main__":
    for chat, frames, mode in ((True, None, "soft"), (False, None, "soft"), (True, FRAMES, "soft"),
                               (False, FRAMES, "soft"), (True, None, "cot"), (False, FRAMES, "cot"),
                               (True, None, "debate"), (False, FRAMES, "debate")):
        with tempfile.TemporaryDirectory(prefix="caid-shown-") as folder:
            check(folder, chat, frames, mode)
