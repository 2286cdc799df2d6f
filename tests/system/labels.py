"""labels.py: a whole job whose overseer writes reasons before it chooses, under two principles a
pair, with half of the pairs from people, a preference model of mean weights, and fine-tuning's rows
mixed into PPO; killed once, it ends with the same bytes. `labels.py TOOLS`."""
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sampling, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
LABEL = {"mode": "cot", "clamp": 0.4, "principles": 2, "pairs": 16, "reply": sampling(24),
         "helpful": 0, "reasons": sampling(256), "max_dropped": 1, "min_option_mass": 0,
         "max_flipped": 1, "gate_pairs": 0}


def make_job(folder):
    write_lines(os.path.join(folder, "people.jsonl"),
                [{"prompt": f"{i}: which way?", "chosen": f"kindly {i}", "rejected": f"take {i}"}
                 for i in range(40)])
    path, _ = write_job(
        folder, True, data={"harmful": "./prompts.jsonl", "helpful": "./helpful.jsonl",
                            "human": "./people.jsonl"}, rounds=1,
        stages__red_team="off", stages__evaluate="off", stages__label=LABEL,
        stages__prefer={"batch": 4, "lr": 1e-3, "human": 0.5, "held_out": 0.3, "members": 2,
                        "average": True, "margin": 0.1, "gate_confidence": 0,
                        "checkpoint_every": 2})
    return path


def outcome(caid, job):
    show = caid.json("show", job)
    return {"ledger": show["ledger"], "models": [(m["round"], m["stage"], m["kind"], m["hash"])
                                                 for m in show["models"]],
            "labels": caid.lines("export", job, "labels"),
            "metrics": [r for r in caid.json("metrics", job)["rows"]
                        if not any(w in r["name"] for w in ("second", "per_s", "time"))]}


def run(kill):
    folder = tempfile.mkdtemp(prefix="caid-test-")
    caid = Real(TOOLS, spawn=1, root=folder)
    try:
        path = make_job(folder)
        caid.start()
        job = caid.submit_file(path, "--set", "stages.ppo.ptx.coef=27.8", "--set",
                               "stages.ppo.ptx.batch=4")
        if kill:
            caid.until(lambda: caid.lines("samples", job, "--kind", "reasons", "--limit", 2, "-o",
                                          "json"), 200, "reasons are written")
            caid.kill()
            time.sleep(0.5)
            caid.start()
        caid.ctl("wait", job, timeout=400)
        return outcome(caid, job), caid.ctl("report", job), caid.ctl("constitution", "stats", job)
    finally:
        caid.close()
        shutil.rmtree(folder, ignore_errors=True)


whole, report, stats = run(kill=False)
value = {(r["stage"], r["name"]): r["value"] for r in whole["metrics"] if r["step"] == 0}


def test_half_of_the_pairs_are_peoples():
    ai = [r for r in whole["labels"] if r["source"] == "ai"]
    people = [r for r in whole["labels"] if r["source"] == "human"]
    assert ai and all(0.4 <= r["p"] <= 0.6 for r in ai)
    assert len(people) == 16 == value["label", "labels_human"]
    assert len(ai) == value["label", "labels"]
    assert value["prefer", "rows_human"] == 16
    n = [value["prefer", f"pm_{of}accuracy_n"] for of in ("", "ai_", "human_")]
    assert n[0] == n[1] + n[2] and n[2] > 0, n


def test_figures_by_principle():
    ai = [r for r in whole["labels"] if r["source"] == "ai"]
    ids = {r["principle"] for r in ai}
    assert len(ids) > 1
    for name in ids:
        assert value["label", f"labels/{name}"] == sum(r["principle"] == name for r in ai)
        assert 0.97 < value["label", f"entropy/{name}"] <= 1  # H(0.4) is 0.971 bits
        assert 0 <= value["label", f"flipped/{name}"] <= 1
    for words in ("Reasons dropped", "Entropy", "Accuracy, people", "By people"):
        assert words in report, report
    assert "ENTROPY" in stats and all(name in stats for name in ids)


def test_members_are_averaged():
    assert sum(kind == "pm" for _, _, kind, _ in whole["models"]) == 1
    last = {r["name"]: r["value"] for r in whole["metrics"] if r["stage"] == "prefer"}
    std = [last[f"{of}score_std"] for of in ("", "member1.", "average.")]
    assert len(set(std)) == 3 and min(std) > 0, std
    assert "Members of the last preference model" in report and "mean weights" in report, report


def test_rows_mixed_into_ppo():
    losses = [r["value"] for r in whole["metrics"] if r["name"] == "ptx_loss"]
    assert losses and all(0 < x < 20 for x in losses), losses


def test_killed_once_it_ends_the_same():
    got, _, _ = run(kill=True)
    for key, want in whole.items():
        assert got[key] == want, key


main([f for name, f in list(globals().items()) if name.startswith("test_")])
