"""rehearse.py: before a job starts: --dry-run measures and leaves nothing behind, --smoke runs
every stage once as a job of its own, a job that the disk cannot hold is refused with the numbers;
and states saved by Young's rule change no bit. `rehearse.py TOOLS`."""
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import write_job  # noqa: E402
from harness import files_of, main  # noqa: E402
from through_caictl import Real  # noqa: E402

folder = tempfile.mkdtemp(prefix="caid-test-")
path, _ = write_job(folder, True)
caid = Real(sys.argv[1], spawn=1, root=folder)
STAGES = ["red_team", "revise", "sft", "label", "prefer", "evaluate", "ppo", "evaluate"]


def test_a_dry_run_says_what_it_takes_and_leaves_nothing():
    caid.start()
    before = sorted(os.listdir(caid.state))
    caid.until(lambda: caid.json("workers")["rows"], 30, "a worker")
    said = json.loads(caid.ctl("submit", path, "--dry-run", "-o", "json", timeout=120))
    assert [r["stage"] for r in said["rows"]] == STAGES, said["rows"]
    for row in said["rows"]:
        assert 0 < row["low"] <= row["seconds"] <= row["high"], row
        assert row["memory"] > 10e6, row
    assert abs(said["total"]["seconds"] - sum(r["seconds"] for r in said["rows"])) < 1e-6
    assert said["total"]["generated"] > 0 and said["total"]["trained"] > 0
    assert said["disk"]["free"] > said["disk"]["bytes"] > 0 and said["memory"]["bytes"] > 0
    assert any("measured on" in line for line in said["assumptions"])
    assert caid.json("jobs", "--all")["rows"] == []
    # Its folder is empty; the next job is the first.
    assert sorted(n for n in os.listdir(caid.state) if n != "estimates") == before
    assert os.listdir(os.path.join(caid.state, "estimates")) == []
    assert not os.path.exists(os.path.join(caid.state, "jobs"))
    text = caid.ctl("submit", path, "--dry-run", timeout=120)
    assert "AT MOST" in text and "after" in text and "config.json" in text, text


def test_smoke_runs_every_stage_as_a_job_of_its_own():
    held = caid.json("submit", path, "--hold")
    before = caid.json("show", held["id"])
    said = json.loads(caid.ctl("submit", path, "--smoke", 8, "-o", "json", timeout=300))
    assert said["ok"] and said["id"] == held["id"] + 1
    assert [r["stage"] for r in said["rows"]] == STAGES, said["rows"]
    assert all(r["memory"] > 10e6 for r in said["rows"]), said["rows"] # as the ledger has it
    assert all(r["tasks"] > 0 and r["did"] for r in said["rows"] if r["stage"] != "evaluate"), said["rows"]
    show = caid.json("show", said["id"])
    assert show["name"] == "small-smoke" and show["state"] == "COMPLETED" and show["rounds"] == 1
    after = caid.json("show", held["id"])
    assert before == after, (before, after)
    folders = set(os.listdir(os.path.join(caid.state, "jobs"))) # one that has not begun has none
    assert str(said["id"]) in folders <= {str(held["id"]), str(said["id"])}, folders
    assert "prompts" in caid.ctl("submit", path, "--smoke", 4, timeout=300)
    caid.ctl("submit", path, "--smoke", 0, expect=2)
    caid.ctl("submit", path, "--smoke", 8, "--dry-run", expect=2)
    caid.ctl("cancel", held["id"])


def test_what_the_disk_cannot_hold_is_refused():
    """A disk that is small: nearly all of it is to stay free."""
    caid.stop()
    s = os.statvfs(folder)
    config, usual = os.path.join(folder, "caid.conf"), caid.arguments
    with open(config, "w") as f:
        f.write(f"min_free_mb: {s.f_bavail * s.f_frsize >> 20}\n")
    caid.arguments = usual + ["--config", config]
    caid.start()
    jobs = caid.json("jobs", "--all")["rows"]
    for more in ([], ["--dry-run"], ["--smoke", 8]):
        text = caid.ctl("submit", path, "--set", "keep.checkpoints=900", *more, expect=3)
        assert "does not fit on the disk: it takes " in text and "lower keep.checkpoints" in text, text
        assert "901 resumable states" in text and " free beside the " in text, text
    assert caid.json("jobs", "--all")["rows"] == jobs
    caid.stop()
    caid.arguments = usual
    caid.start()


def test_states_by_youngs_rule_change_no_bit():
    found = []
    for every in (0, 0.001):
        job = caid.submit_file(path, "--set", f"keep.fault_every={every}")
        done = caid.run("wait", job, timeout=300)
        while done.returncode == 7:
            caid.ctl("resume", job, "--accept", caid.json("show", job)["gate"])
            done = caid.run("wait", job, timeout=300)
        assert done.returncode == 0, done.stderr
        show = caid.json("show", job)
        found.append(([files_of(m["path"]) for m in show["models"] if m["kind"] in ("policy", "pm") and m["stage"] != "start"],
                      show["ledger"]))
        saved = [r["text"] for r in caid.lines("logs", job, "-o", "json") if "states saved" in r["text"]]
        assert bool(saved) == (every > 0), saved
    assert found[0] == found[1], "a state that was saved changed the weights"
    caid.stop()


main([f for name, f in list(globals().items()) if name.startswith("test_")])
