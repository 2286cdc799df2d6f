"""red_team.py: a red model is trained against a target through caictl: what it made, its report,
and its attempts as data again; killed in the middle of reinforcement, it ends with the same
bytes. `red_team.py TOOLS`."""
import json
import os
import random
import signal
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sampling, sentence, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
OFF = {f"stages__{s}": "off" for s in ("revise", "sft", "label", "prefer", "evaluate", "ppo")}
STEPS = 8


def write(folder, **more):
    rng = random.Random(4)
    labelled = os.path.join(folder, "labelled.jsonl")
    path, _ = write_job(folder, True, **OFF, **{
        "data__classifier": labelled, "stages__red_team": {
            "method": "rl", "samples": 12, "explore": 16, "sampling": sampling(24), "coverage": 4,
            "supervised": {"batch": 4, "lr": 1e-3},
            "rl": {"steps": STEPS, "rollouts": 8, "lr": 1e-3, "checkpoint_every": 1}}, **more})
    write_lines(labelled, [{"prompt": sentence(rng, 5), "reply": sentence(rng, 6), "label": i % 5 > 0}
                           for i in range(24)])
    spec = json.load(open(path))
    spec["stages"]["revise"] = {"enabled": False, "reply": sampling(16), "critique": sampling(24)}
    json.dump(spec, open(path, "w"))
    return path


def outcome(caid, job):
    shown = caid.json("show", job)
    assert shown["state"] == "COMPLETED", shown
    return shown["ledger"], sorted((m["round"], m["kind"], m["hash"]) for m in shown["models"])


def check_made(caid, job):
    kinds = {m["kind"] for m in caid.json("show", job)["models"]}
    assert {"classifier", "red", "red_supervised"} <= kinds, kinds
    figures = {(m["name"], m["step"]): m["value"] for m in caid.lines("export", job, "metrics")}
    assert figures["candidates", 0] == 12 and figures["explore/candidates", 0] == 16
    assert all(("rl/failing", s) in figures for s in range(1, STEPS + 1))
    assert 0 < figures["supervised_cases", 0] <= 16
    table = caid.json("metrics", "--explain")["rows"]
    known = {r["name"] for r in table if "red_team" in r["stage"].split()}
    assert {n.split("/")[0] for n, _ in figures} <= known | {
        n for n, _ in figures if n.rsplit("_", 1)[0] in known or n.startswith("bin")}, known


def check_report(caid, job, folder):
    report = caid.json("report", job)
    tables = {t["name"]: t for t in report["tables"]}
    rows = tables["red_team_tradeoff"]["rows"]
    assert [r["checkpoint"] for r in rows] == ["round 1, zero_shot", "round 1, rl"], rows
    assert 0 <= rows[0]["written_failure_rate"]["low"] <= rows[0]["written_failure_rate"]["high"] <= 1
    assert all(0 < r["written_distinct"] <= 1 for r in rows), rows
    grader = [c for c in tables["red_team_tradeoff"]["columns"] if c["key"] == "written_failure_rate"]
    assert grader[0]["grader"] == "classifier", grader
    page = os.path.join(folder, "report.html")
    caid.ctl("report", job, "--html", page)
    text = open(page).read()
    assert "tradeoffChart" in text and "red_team_tradeoff" in text
    assert "harm against variety" in caid.ctl("report", job)


def check_attempts(caid, job, folder):
    """Out in the form of red-team-attempts, in again, and out with nothing lost."""
    attempts, own, back = (os.path.join(folder, n) for n in ("attempts.jsonl", "own.jsonl", "back.jsonl"))
    caid.ctl("export", job, "attempts", "--out", attempts)
    rows = [json.loads(line) for line in open(attempts)]
    assert rows and {r["pass"] for r in rows} == {"explore", "attack"}, rows
    for r in rows:
        assert r["transcript"].startswith("\n\nHuman: ") and "\n\nAssistant: " in r["transcript"]
        assert 0 <= r["rating"] <= 4 and abs(r["rating"] - 4 * r["p_harm"]) < 1e-9
        assert (r["min_harmlessness_score_transcript"] < 0) == (r["p_harm"] > 0.5)
        assert {"model_type", "num_params", "task_description", "task_description_harmlessness_score",
                "red_team_member_id", "is_upworker", "tags"} <= set(r)
    # A random model writes turns of nobody and replies of nothing, which no transcript can say.
    first = os.path.join(folder, "first.jsonl")
    caid.ctl("data", "import", attempts, "--out", own, "--skip-bad")
    caid.ctl("data", "export", own, "--to", "hh", "--out", first, "--skip-bad")
    caid.ctl("data", "import", first, "--out", own)
    caid.ctl("data", "export", own, "--to", "hh", "--out", back)
    kept = [json.loads(line) for line in open(first)]
    again = [json.loads(line) for line in open(back)]
    assert kept == again and len(kept) > 2, (len(kept), len(again))
    by_item = {(r["round"], r["item"]): r for r in rows}
    for r in kept:
        was = by_item[r["round"], r["item"]]
        assert r.keys() == was.keys()
        assert all(r[k] == was[k] for k in r if k != "transcript"), (r, was)
        assert r["transcript"].split() == was["transcript"].split()
    # The best of them are another job's exemplars.
    path = write(folder, **{"data__harmful": first, "stages__red_team": {
        "method": "few_shot", "samples": 4, "sampling": sampling(16)}})
    again = caid.submit_file(path)
    caid.ctl("wait", again, timeout=300)


def test_a_red_model_is_trained():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        path = write(folder)
        with Real(TOOLS, spawn=1, root=folder) as caid:
            job = caid.submit_file(path)
            caid.ctl("wait", job, timeout=300)
            whole = outcome(caid, job)
            check_made(caid, job)
            check_report(caid, job, folder)
            killed(caid, path, whole, lambda: os.kill(caid.json("workers")["rows"][0]["pid"], signal.SIGKILL))
            killed(caid, path, whole, lambda: (caid.kill(), caid.start()))
            check_attempts(caid, job, folder)
            assert caid.stop() == 0


def killed(caid, path, whole, kill):
    job = caid.submit_file(path)

    def reinforces():
        figures = caid.lines("export", job, "metrics")
        steps = [m["step"] for m in figures if m["name"] == "rl/kl"]
        assert caid.json("show", job)["state"] != "COMPLETED", "too late to kill"
        return len(steps) >= 2
    caid.until(reinforces, 300, "a red model is reinforced")
    kill()
    caid.ctl("wait", job, timeout=300)
    assert outcome(caid, job) == whole, "another outcome after a kill"


def test_what_cannot_be_is_said():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        path = write(folder)
        spec = json.load(open(path))
        del spec["data"]["classifier"]
        json.dump(spec, open(path, "w"))
        with Real(TOOLS, spawn=1, root=folder) as caid:
            said = caid.ctl("submit", path, expect=3)
            assert "no data.classifier" in said and "supervised" in said, said
            said = caid.ctl("submit", path, "--set", "stages.red_team.method=telepathy", expect=3)
            assert "zero_shot" in said and "rl" in said, said


main([test_a_red_model_is_trained, test_what_cannot_be_is_said])
