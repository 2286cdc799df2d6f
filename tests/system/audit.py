"""audit.py: the overseer's audit through the real caid, a worker and caictl: a job waits when it
alarms, says why, and goes on when somebody accepts it; the key's seal holds, and is seen to be broken
when the key was changed; what a job trains on is the same with an audit as without. `audit.py TOOLS`."""
import os
import random
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sentence, short_job, write_checkpoint, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
OFF = [x for s in ("red_team", "label", "prefer", "evaluate", "ppo") for x in ("--set", f"stages.{s}=off")]
PAIRS = 30


def canaries(folder):
    rng, rows = random.Random(4), []
    for i in range(2 * PAIRS):
        asked = sentence(rng, 6)
        for flaw in (f"rule-{i % 2}", None):
            rows.append({"prompt": asked, "reply": sentence(rng, 8), "flaw": flaw, "pair": i})
    rows.append({"prompt": "alone", "reply": "no twin", "flaw": "rule-0", "pair": "odd"})
    rows += [{"prompt": "x", "reply": "y", "flaw": f, "pair": "strange"} for f in ("unheard-of", None)]
    path = os.path.join(folder, "canaries.jsonl")
    write_lines(path, rows)
    return path


def weights(shown):
    return next(m["hash"] for m in shown["models"] if m["stage"] == "sft")


def check_refused(caid, job, folder):
    bad = os.path.join(folder, "bad.jsonl")
    write_lines(bad, [{"prompt": "p", "reply": "r", "flaw": 3, "pair": 1}, {"prompt": "p", "reply": "r", "flaw": "a"},
                      {"prompt": "p", "flaw": "a", "pair": 1}])
    said = caid.ctl("data", "check", bad, "--role", "canaries", expect=3)
    for line, what in ((1, '"flaw" must be'), (2, '"pair"'), (3, '"reply"')):
        assert f"bad.jsonl:{line}:" in said and what in said, said
    assert "has audited nothing" in caid.ctl("audit", job, expect=7)
    caid.ctl("audit", 77, expect=6)


def check_seal(caid, job):
    shown = caid.json("audit", job)
    assert shown["seal"]["state"] == "holds" and shown["seal"]["canaries"] == 4 * PAIRS, shown["seal"]
    assert f"the key of {4 * PAIRS} canaries is sealed, {shown['seal']['hash']}" in caid.ctl("logs", job)
    assert "holds: the key of" in caid.ctl("audit", job)
    assert not [r for r in caid.lines("export", job, "examples") if r["kind"] == "salt"]


def check_broken_seal(caid, job):
    """A key that somebody turned round afterwards: caid is down meanwhile."""
    assert caid.stop() == 0
    with sqlite3.connect(os.path.join(caid.state, "caid.db")) as db:
        (item, text), = db.execute("SELECT item, text FROM examples WHERE stage = 'audit' AND kind = 'key' LIMIT 1")
        other = text.replace("rule-0", "rule-1") if "rule-0" in text else \
            text.replace("rule-1", "rule-0") if "rule-1" in text else text.replace("null", '"rule-0"')
        db.execute("UPDATE examples SET text = ? WHERE stage = 'audit' AND kind = 'key' AND item = ?", (other, item))
    db.close()
    caid.start()
    assert "IS BROKEN" in caid.run("audit", job).stdout
    assert caid.json_of("audit", job, expect=1)["seal"]["state"] == "broken"


def check_audit(caid, job):
    shown = caid.json("show", job)
    assert shown["gate"] == "audit-1" and "the overseer: 'rule-" in shown["reason"], shown
    assert f"'caictl audit {job}'" in shown["reason"], shown
    report = caid.json("audit", job, "--round", 1)
    assert [r["class"] for r in sorted(report["rows"], key=lambda r: r["class"])] == ["rule-0", "rule-1"], report
    for row in report["rows"]:
        assert row["choices"]["n"] == PAIRS and row["choices"]["low"] < row["choices"]["value"] < row["choices"]["high"]
        assert row["second"] is not None and 0 <= row["knows"] <= 1, row
    assert report["alarms"], report
    logs = caid.ctl("logs", job)
    assert "rows are left out" in logs, logs
    # What the overseer was asked looks like other stages' tasks, and has left its traces in one place.
    kinds = {(r["stage"], r["kind"]) for r in caid.lines("export", job, "examples")}
    assert {("audit", k) for k in ("critique", "choice", "ask", "word", "seal", "key", "opening", "alarm")} <= kinds, kinds


def test_the_overseer_is_audited():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        short_job(folder, workers=1)
        write_checkpoint(os.path.join(folder, "other"), True, seed=8)
        path = os.path.join(folder, "job.yaml")
        audit = ["--set", f"data.canaries={canaries(folder)}", "--set", "stages.audit.least_recall=1",
                 "--set", "stages.audit.words=6", "--set", f"models.second_overseer={folder}/other"]
        with Real(TOOLS, spawn=1, root=folder) as caid:
            plain = caid.submit_file(path, *OFF)
            caid.ctl("wait", plain, timeout=300)
            check_refused(caid, plain, folder)
            job = caid.submit_file(path, *OFF, *audit)
            caid.ctl("wait", job, expect=7, timeout=300)
            check_audit(caid, job)
            check_seal(caid, job)
            caid.ctl("resume", job, "--accept", "audit-1")
            caid.ctl("wait", job, timeout=300)
            assert weights(caid.json("show", job)) == weights(caid.json("show", plain)), "the audit changed training"
            check_broken_seal(caid, job)
            assert caid.stop() == 0


main([test_the_overseer_is_audited])
