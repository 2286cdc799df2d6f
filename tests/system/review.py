"""review.py: a job waits for people; several readers, with keys of their own, judge at the terminal;
caid is killed in between; the job goes on by itself and trains on what they said. `review.py TOOLS`."""
import json
import os
import random
import re
import socket
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import prompts, sampling, short_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
import subprocess  # noqa: E402

TOOLS = sys.argv[1]
HUMAN = {"required": 6, "overlap": 0.34, "unaided": 0.25, "gold": 1.0}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Desk(Real):
    """A caid with readers of other machines, and a job that asks them."""

    def __init__(self, folder, **more):
        super().__init__(TOOLS, spawn=1, root=folder, **more)
        self.tcp = f"tcp://127.0.0.1:{free_port()}"
        config = os.path.join(folder, "caid.conf")
        with open(config, "w") as f:
            f.write(f"listen: {self.tcp}\n")
        self.arguments += ["--config", config]

    def key(self, name, role="reviewer"):
        self.ctl("key", "new", name, "--role", role, "--out", os.path.join(self.root, f"{name}.key"))

    def as_reader(self, name, *arguments, lines=None, expect=0):
        who = ["--server", self.tcp, "--key", os.path.join(self.root, f"{name}.key")] if name else []
        out = subprocess.run([os.path.join(TOOLS, "caictl"), *map(str, arguments), *who],
                             env=dict(os.environ, CAID_SERVER=self.server), capture_output=True, timeout=60,
                             text=True, input="".join(f"{line}\n" for line in lines or []))
        assert out.returncode == expect, (name, arguments, out.returncode, out.stdout, out.stderr)
        return out.stdout if expect == 0 else out.stderr

    def next(self, name, job):
        return json.loads(self.as_reader(name, "review", "next", job, "-o", "json"))

    def start_job(self, folder, **human):
        people = [{**row, "chosen": f"kindly take road {i}", "rejected": f"no {i}"}
                  for i, row in enumerate(prompts(random.Random(11), 24))]
        write_lines(os.path.join(folder, "people.jsonl"), people)
        short_job(folder, workers=1, stages__red_team="off", stages__evaluate="off", stages__ppo="off",
                  stages__label__gate_pairs=0, stages__revise__critique=sampling(24), data__human="./people.jsonl",
                  stages__prefer={"batch": 4, "lr": 1e-3, "held_out": 0.4, "human": 0.5, "gate_confidence": 0},
                  human={**HUMAN, **human})
        return self.submit_file(os.path.join(folder, "job.yaml"))


def answers(item, verdict, note=""):
    """What a person types for an item."""
    first = ["4", "0"] if item["unaided"] and not item["first"] else []
    # Critiques that come after a first verdict are not known yet: the caller opens it again.
    text = [""] if item["kind"] == "critique" else []
    return first, ["y" for _ in item["critiques"]] + [str(verdict), "1", *text, note, "y"]


def judge(caid, name, job, verdict_of, note=""):
    """Reads the next item; its number and the verdict, or None when there is none."""
    item = caid.next(name, job)
    if "id" not in item:
        return None
    verdict = verdict_of(item)
    first, rest = answers(item, verdict, note)
    if first: # the session ends at the first critique; the next one goes on from there
        caid.as_reader(name, "review", "next", job, lines=first)
        item = caid.next(name, job)
        assert item["first"] == {"verdict": 4, "severity": 0}, item
        rest = answers(item, verdict, note)[1]
    out = caid.as_reader(name, "review", "next", job, "--one", lines=rest)
    assert f"Item {item['id']} is" in out, out
    return item["id"], verdict


def longer(item):
    a, b = (len(r["text"]) for r in item["replies"])
    return 2 if a > b else 6


def waiting(caid, job):
    def look():
        p = caid.json("show", job)
        assert p["state"] not in ("FAILED", "COMPLETED"), p["reason"]
        return p if p["state"] == "WAITING_REVIEW" else None
    return caid.until(look, 240, "the job waits for people")


def rows_of_pm(caid, job):
    shown = caid.json("show", job)
    pm = next(m for m in shown["models"] if m["kind"] == "pm" and m["stage"] == "prefer")
    with open(os.path.join(caid.state, "blobs", pm["provenance"]["dataset"])) as f:
        return [json.loads(line) for line in f]


def check_before(caid, job):
    p = waiting(caid, job)
    assert p["gate"] == "review-1" and "0 of 6 comparisons are final" in p["reason"], p
    assert "caictl review next" in p["reason"]
    for command in (["jobs"], ["show", job]):
        text = caid.run(*command).stdout
        assert "WAITING_REVIEW" in text or "review next" in text, (command, text)
    caid.ctl("resume", job, expect=7)
    assert caid.as_reader("eve", "review", "next", expect=5)
    item = caid.next("ann", job)
    assert "kept" not in json.dumps(item) and "gold" not in json.dumps(item), item
    refused = caid.as_reader("ann", "review", "export", job, "audit", expect=5)
    assert "known answer" in refused, refused
    caid.as_reader("ann", "cancel", job, expect=5)


def check_drafts(caid, job):
    """Typed half, then a kill: what was typed is there, and no verdict is."""
    item = caid.next("ann", job)
    first, rest = answers(item, 3)
    if first:
        caid.as_reader("ann", "review", "next", job, lines=first)
        rest = answers(caid.next("ann", job), 3)[1]
    out = caid.as_reader("ann", "review", "next", job, lines=rest[:-2])
    assert "draft is kept" in out, out
    caid.kill()
    caid.start()
    again = caid.next("ann", job)
    assert again["id"] == item["id"] and again["draft"]["verdict"] == 3 and again["draft"]["severity"] == 1, again
    assert again["state"] == "draft" and caid.json("show", job)["state"] == "WAITING_REVIEW"
    # Enter takes what the draft has; then it is taken back.
    lines = ["" for _ in again["critiques"]] + ["", "", "", "y"]
    assert "is final" in caid.as_reader("ann", "review", "next", job, "--one", lines=lines) or again["state"]
    assert f"verdict of item {item['id']} is taken back" in caid.as_reader("ann", "review", "undo")
    assert caid.next("ann", job)["draft"]["verdict"] == 3
    caid.as_reader("bea", "review", "undo", expect=7)


def read_all(caid, job):
    """ann reads as she likes, bea against her, cyn as ann; caid is killed after each dozen of verdicts."""
    said, n = {}, 0
    readers = {"ann": longer, "bea": lambda i: 8 - longer(i), "cyn": longer}
    for _ in range(60):
        before = len(said)
        for name, verdict_of in readers.items():
            if caid.json("show", job)["state"] != "WAITING_REVIEW":
                return said
            got = judge(caid, name, job, verdict_of, note="as I see it")
            if got:
                said[(name, got[0])] = got[1]
                n += 1
                if n % 4 == 0:
                    caid.kill()
                    caid.start()
        if len(said) == before:
            break
    raise AssertionError(f"the job still waits: {caid.json('review', 'progress', job)}")


def check_training(caid, job, said):
    labels = caid.lines("export", job, "labels")
    verdicts = [r for r in labels if r["source"] == "human" and r["model"].startswith("review:")]
    own = [r for r in labels if r["source"] == "human" and not r["model"]]
    assert verdicts and own and all(r["p"] in (0, 1) for r in own)
    audit = caid.lines("review", "export", job, "audit")
    items = {r["id"]: r for r in audit if r["type"] == "item"}
    final = {}
    for r in audit:
        if r["type"] == "event" and r["event"] == "final":
            final.setdefault(r["item"], []).append((r["seq"], r["reader"], json.loads(r["body"])["verdict"]))
    undone = {r["undoes"] for r in audit if r["type"] == "event"}
    rows = rows_of_pm(caid, job)
    third = 0
    for r in verdicts:
        item = items[int(r["model"].split(":")[1])]
        assert not item["gold"]
        told = [(name, v) for seq, name, v in sorted(final[item["id"]]) if seq not in undone]
        assert all(said.get((name, item["id"]), v) == v for name, v in told)
        apart = len(told) > 1 and abs(told[0][1] - told[1][1]) >= 3
        third += apart
        v = told[2][1] if apart else sum(x for _, x in told[:2]) / len(told[:2])
        p = ((v - 1) if item["content"]["kept"]["flipped"] else (7 - v)) / 6
        assert abs(r["p"] - p) < 1e-12, (r, told)
        texts = [x["text"] for x in item["content"]["replies"]]
        a, b = texts[::-1] if item["content"]["kept"]["flipped"] else texts
        mine = [x for x in rows if x["item"] == r["item"] and (x["a"], x["b"]) == (a, b)]
        assert len(mine) == 1 and abs(mine[0]["p"] - p) < 1e-12, (mine, p)
    assert third > 0, "no dispute was decided by a third reader"
    pairs = caid.lines("review", "export", job)
    assert {"prompt", "chosen", "rejected"} <= set(pairs[0]) and pairs[0]["chosen"][0]["role"] == "assistant"
    assert len(pairs) == sum(abs(r["p"] - 0.5) > 1e-9 for r in verdicts)
    return audit


def check_figures(caid, job):
    p = caid.json("review", "progress", job)
    assert p["queues"][0]["closed"] and p["queues"][0]["done"] >= 6, p
    assert {r["name"] for r in p["readers"]} == {"ann", "bea", "cyn"}
    assert p["agreement"][0]["items"] > 0 and p["agreement"][0]["kappa"] < 0.5, p["agreement"]
    found = {r["name"]: r for r in p["consensus"][0]["readers"]}
    assert set(found) == {"ann", "bea", "cyn"} and all(0 < r["low"] < r["accuracy"] < r["high"] < 1 for r in found.values())
    assert found["bea"]["accuracy"] < found["ann"]["accuracy"], found # against her the third one decides
    assert p["overturned"]["labels"] > 0 and p["help"]["unaided"]["n"] >= 0
    assert p["gold"]["n"] > 0
    text = caid.ctl("review", "progress", job)
    for words in ("kappa", "consensus",  "help effect", "overturned", "READER", "ann"):
        assert words in text, text
    seen = json.loads(caid.as_reader("ann", "review", "progress", job, "-o", "json"))
    assert all(r["gold"] is None for r in seen["readers"]) and seen["consensus"] == [], seen
    report = caid.ctl("report", job)
    assert "People's review" in report and "overturned" in report.lower(), report


def check_audit(caid):
    out = caid.ctl("review", "audit")
    head = re.search(r"[0-9a-f]{64}", out)[0]
    caid.ctl("review", "audit", "--head", head)
    caid.stop()
    with sqlite3.connect(os.path.join(caid.state, "caid.db")) as db:
        db.execute("DROP TRIGGER review_log_stays")
        db.execute("UPDATE review_log SET body = replace(body, '\"verdict\":', '\"verdict\": ') WHERE seq = 3")
    db.close()
    caid.start()
    out = caid.run("review", "audit")
    assert out.returncode == 1 and "Row 3" in out.stdout, out


def test_people_read_and_the_job_goes_on():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        with Desk(folder) as caid:
            for name in ("ann", "bea", "cyn"):
                caid.key(name)
            caid.key("eve", "client")
            job = caid.start_job(folder)
            check_before(caid, job)
            check_drafts(caid, job)
            said = read_all(caid, job)
            caid.ctl("wait", job, timeout=240)
            assert "people's verdicts are in" in caid.ctl("logs", job)
            caid.as_reader("ann", "review", "undo", expect=7)
            check_training(caid, job, said)
            check_figures(caid, job)
            check_audit(caid)


def test_one_reader_alone_can_end_it():
    random.seed(1)
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        with Desk(folder) as caid:
            job = caid.start_job(folder, required=4, overlap=0.25, gold=0)
            waiting(caid, job)
            # What was written is shown inert, a skip wants a reason, and help explains.
            out = caid.as_reader(None, "review", "next", job, lines=["?", "s", "I know the writer"])
            assert "keep, reject or edit" in out, out
            for _ in range(20):
                if caid.json("show", job)["state"] != "WAITING_REVIEW":
                    break
                assert judge(caid, None, job, longer)
            caid.ctl("wait", job, timeout=240)
            p = caid.json("review", "progress", job)
            assert p["readers"][0]["skips"] == 1 and p["agreement"] == [], p


SHORT = sampling(8)


def check_gates(caid, job):
    """One reader gives what each gate wants; what was shown at each."""
    seen = {}
    while True:
        shown = caid.until(lambda: next((p for p in [caid.json("show", job)]
                                         if p["state"] in ("WAITING_REVIEW", "COMPLETED", "FAILED")), None), 240, "the next gate")
        if shown["state"] != "WAITING_REVIEW":
            assert shown["state"] == "COMPLETED", shown["reason"]
            return seen
        gate = shown["gate"]
        if not any(gate.startswith(g) for g in ("reaudit-", "review-", "grades-")):
            caid.ctl("resume", job, "--accept", gate) # a model without sense
            continue
        item = caid.next(None, job)
        if "id" not in item:
            continue
        seen.setdefault(gate, []).append(item)
        first, rest = answers(item, 6)
        if first:
            out = caid.as_reader(None, "review", "next", job, lines=first)
            item = caid.next(None, job)
            rest = answers(item, 6)[1]
        out = caid.as_reader(None, "review", "next", job, "--one", lines=rest)
        for speech in item["speeches"]:
            assert f"for reply {speech['reply']} ---" in out, out
        seen[gate][-1]["after"] = item


def check_shown(seen):
    assert list(seen) == ["reaudit-1", "review-1", "grades-1"], list(seen)
    for item in seen["reaudit-1"]:
        assert item["kind"] == "audit" and len(item["replies"]) == 1 and item["principle"], item
        assert item["critiques"] == [] and "kind of" not in item["principle"], item
    pairs = [i["after"] for i in seen["review-1"]]
    assert any([s["reply"] for s in p["speeches"]] == ["A", "B"] for p in pairs), pairs
    assert all(i["speeches"] == [] for i in seen["review-1"] if i["unaided"] and not i["first"]), pairs
    asked = {i["question"] for i in seen["grades-1"]}
    assert "Is this reply harmful?" in asked and all(i["kind"] == "grade" for i in seen["grades-1"]), asked


def test_what_is_set_aside_for_people_reaches_them():
    """Re-audits, red teaming's checks, debates, and a skill that learns from reviewed critiques alone."""
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        short_job(folder, workers=1, stages__ppo="off", stages__evaluate={"prompts": 4, "win_pairs": 0, "reply": SHORT},
                  stages__red_team={"samples": 16, "sampling": sampling(40), "check": 4}, stages__revise__critique=sampling(48),
                  stages__label={"mode": "debate", "turns": 1, "pairs": 12, "reply": SHORT, "helpful": 0, "speech": sampling(12),
                                 "max_dropped": 1, "min_option_mass": 0, "max_flipped": 1, "gate_pairs": 0},
                  stages__skill={"enabled": True, "prompts": 0, "batch": 8, "lr": 1e-3}, guards={"alpha": 0},
                  human={"required": 4, "overlap": 0, "unaided": 0.3, "gold": 0, "checks": 6, "audits": 6})
        with Desk(folder) as caid:
            refused = caid.ctl("submit", os.path.join(folder, "job.yaml"), "--set", "human.required=0", expect=3)
            assert "data.critiques" in refused and "human.critiques" in refused, refused
            job = caid.submit_file(os.path.join(folder, "job.yaml"))
            check_shown(check_gates(caid, job))
            value = {(r["stage"], r["name"]): r["value"] for r in caid.json("metrics", job)["rows"]}
            drawn = value["audit", "reaudits_drawn"]
            assert 0 < drawn <= 6 and value["audit", "reaudits"] == drawn, value
            assert 0 <= value["audit", "missed_low"] <= value["audit", "missed"] <= value["audit", "missed_high"] <= 1
            assert value["evaluate", "checks_drawn"] >= 1 and value["evaluate", "harmful_rate_verdicts"] >= 1
            assert value["skill", "rows_reviewed"] >= 1 and value["skill", "rows"] >= 1
            assert "PEOPLE: IT MISSES" in caid.ctl("audit", job)
            rows = caid.json("audit", job)["people"]
            assert {r["principle"] for r in rows} >= {"all"} and rows[0]["missed"]["n"] in range(1, 7), rows
            report = caid.ctl("report", job)
            assert "What the overseer misses" in report and f"People read again {drawn:.0f} replies" in report, report


main([test_people_read_and_the_job_goes_on, test_one_reader_alone_can_end_it,
      test_what_is_set_aside_for_people_reaches_them])
