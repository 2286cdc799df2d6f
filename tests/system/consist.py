"""consist.py: self-consistency and evaluation files through the real programs: votes become rows
that fine-tuning learns from, kills change nothing, a stage that finds nothing worth keeping waits
and says so, and the models before and after are compared on evaluation sets. `consist.py TOOLS`."""
import json
import os
import random
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sampling, sentence, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
OFF = {f"stages__{s}": "off" for s in ("red_team", "revise", "label", "prefer", "evaluate", "ppo")}
# A model without sense says no answer: its last letter is taken for one.
CONSIST = {"enabled": True, "paths": 6, "shots": 2, "answer": "[a-z](?=[^a-z]*$)", "accuracy": 0, "stop": False, "teach": 0.5,
           "sampling": sampling(10)}


def write(folder, **consist):
    rng = random.Random(2)
    rows = [{"question": f"{i} {sentence(rng, 5)}?"} for i in range(20)]
    rows += [{"prompt": f"known {i} {sentence(rng, 4)}?", "answer": "e"} for i in range(12)]
    rows += [{"question": f"worked {i}?", "reply": "First this, then that: e.", "answer": "e"} for i in range(3)]
    write_lines(os.path.join(folder, "questions.jsonl"), rows)
    path, _ = write_job(folder, True, data={"questions": "./questions.jsonl", "helpful": "./helpful.jsonl"}, rounds=2,
                        stages__consist={**CONSIST, **consist},
                        stages__sft={"batch": 8, "lr": 1e-3, "helpful": 0.01, "checkpoint_every": 2}, **OFF)
    return path


folder = tempfile.mkdtemp(prefix="caid-test-")
path = write(folder)
caid = Real(TOOLS, spawn=1, root=folder)
first = {}


def outcome(on, job):
    show = on.json("show", job)
    rows = [(r["round"], r["stage"], r["item"], r["kind"], r["k"], r["text"]) for r in on.lines("export", job, "examples")]
    return [(m["round"], m["stage"], m["kind"], m["hash"]) for m in show["models"] if m["kind"] == "policy"], sorted(rows)


def test_votes_become_rows_that_are_learned():
    caid.start()
    job = caid.submit_file(path)
    caid.ctl("wait", job, timeout=200)
    figures = {(m["round"], m["stage"], m["name"]): m["value"] for m in caid.lines("export", job, "metrics") if m["step"] == 0}
    assert figures[1, "consist", "questions"] == 20 and figures[1, "consist", "labelled"] == 6
    assert figures[1, "consist", "teaching"] == 6 and figures[2, "consist", "teaching"] == 12
    assert 0 < figures[1, "consist", "share"] <= 1
    rows = caid.lines("export", job, "sft")
    assert figures[1, "sft", "rows_consist"] > 20 and len(rows) > 20
    texts = json.dumps(rows)
    assert "step by step" in texts and "worked" in texts
    known = {re.search(r"known \d+ ", json.dumps(r)).group() for r in rows if "known" in json.dumps(r)}
    assert len(known) == figures[2, "consist", "taught"], known  # of the last round
    paths = caid.lines("samples", job, "--stage", "consist", "--kind", "path", "--limit", 500, "-o", "json")
    assert paths
    first["outcome"] = outcome(caid, job)
    report = json.loads(caid.ctl("report", job, "-o", "json"))
    tables = {t["name"]: t for t in report["tables"]}
    assert len(tables["consist"]["rows"]) == 2 and tables["consist_calibration"]["rows"], tables.keys()
    assert any("Self-consistency" in line for line in report["headline"]), report["headline"]
    assert "consist" in caid.ctl("metrics", "--explain")


def test_kills_change_nothing():
    rng = random.Random(5)
    with Real(TOOLS, spawn=1, root=tempfile.mkdtemp(prefix="caid-test-")) as other:
        job = other.submit_file(path)
        for _ in range(4):
            time.sleep(rng.uniform(0.2, 1.2))
            other.kill()
            other.start()
        other.ctl("wait", job, timeout=200)
        assert outcome(other, job) == first["outcome"]


def test_nothing_worth_keeping_waits_and_says_so():
    strict = write(tempfile.mkdtemp(prefix="caid-test-"), accuracy=1, stop=True)
    job = caid.submit_file(strict)
    caid.ctl("wait", job, expect=7, timeout=200)
    shown = caid.json("show", job)
    assert shown["gate"] == "consist-1" and "none is kept" in shown["reason"], shown["reason"]
    assert "self-consistency stops" in caid.ctl("show", job)
    report = json.loads(caid.ctl("report", job, "-o", "json"))
    assert any("there it stopped" in line for line in report["headline"]), report["headline"]
    caid.ctl("resume", job, "--accept", "consist-1")
    caid.ctl("cancel", job)


def test_it_is_rehearsed():
    said = json.loads(caid.ctl("submit", path, "--dry-run", "-o", "json", timeout=120))
    assert [r["stage"] for r in said["rows"]] == ["consist", "sft"] * 2, said["rows"]
    assert all(r["seconds"] > 0 for r in said["rows"]) and not said["rows"][0]["guessed"]
    said = json.loads(caid.ctl("submit", path, "--smoke", 8, "-o", "json", timeout=200))
    assert said["ok"] and "questions" in said["rows"][0]["did"], said


def test_models_sit_evaluation_sets():
    at = os.path.join(folder, "set.jsonl")
    write_lines(at, [{"input": f"{i}?", "target_scores": {"the door": 1, "his money, please": 0}} for i in range(9)]
                + [{"text": "how do i open a door"}])
    out = caid.json("eval", 1, at, "--against", "1:0")
    assert out["a"] == "job 1 round 2" and out["b"] == "start of job 1", out
    choice = out["files"][0]["choice"]
    assert choice["a"]["n"] == 9 and choice["a"]["low"] <= choice["a"]["value"] <= choice["a"]["high"]
    assert out["files"][0]["texts"]["a"] > 0 and "difference" in out["files"][0]["texts"]
    items = os.path.join(folder, "items.jsonl")
    words = caid.ctl("eval", "1:0", at, "--form", "text", "--limit", 4, "--export", items)
    assert "right" in words and "of 4" in words and len(open(items).readlines()) == 4, words


def test_what_is_wrong_with_a_set_is_said():
    at = os.path.join(folder, "bad.jsonl")
    with open(at, "w") as f:
        f.write('{"prompt":"a","options":["x","y"],"answer":"y"}\n{"prompt":"b","options":["x"]}\nno\n')
    said = caid.ctl("eval", "1:0", at, expect=3)
    assert "bad.jsonl:2:" in said and "bad.jsonl:3:" in said and "--skip-bad" in said, said
    assert "2 bad lines are left out" in caid.ctl("eval", "1:0", at, "--skip-bad")
    assert "no such model" in caid.ctl("eval", "1:9", at, "--skip-bad", expect=6)
    assert "no config.json" in caid.ctl("eval", folder, at, "--skip-bad", expect=6)
    caid.ctl("eval", "1:0", os.path.join(folder, "absent.jsonl"), expect=3)
    assert "--form" in caid.ctl("eval", "1:0", at, "--form", "song", expect=2)
    caid.ctl("eval", "1:0", expect=2)
    caid.close()


main([v for k, v in list(globals().items()) if k.startswith("test_")])
