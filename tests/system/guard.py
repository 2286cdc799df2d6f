"""guard.py: a job that a guard stops is read about, rolled back, and goes on with the earlier
model. `guard.py TOOLS`."""
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import prompts, short_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
# A learning rate that makes all replies alike.
SPOILT = ["--set", "guards.diversity=0.9", "--set", "guards.alpha=0", "--set", "stages.ppo=off",
          "--set", "stages.sft.lr=0.3", "--set", "guards.tolerance=0.5"]


def hash_of(shown, stage):
    return next(m["hash"] for m in shown["models"] if m["kind"] == "policy" and m["stage"] == stage)


def check_refusals(caid, job):
    caid.ctl("rollback", job, expect=2)
    assert "expected 0 (the start) to 0" in caid.ctl("rollback", job, "--to", 1, expect=3)
    caid.ctl("resume", job, "--accept", "guard-2-variety", expect=7)
    caid.ctl("resume", job, "--accept", "guard-", expect=7)
    caid.ctl("resume", job, expect=7)
    caid.ctl("rollback", 77, "--to", 0, expect=6)


def test_a_stopped_job_is_rolled_back():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        probes = os.path.join(folder, "probes.jsonl")
        write_lines(probes, [{**row, "kind": "helpful"} for row in prompts(random.Random(9), 40)])
        short_job(folder, workers=1, stages__label__gate_pairs=0, data__evaluate=probes,
                  stages__evaluate__prompts=40)
        path = os.path.join(folder, "job.yaml")
        with Real(TOOLS, spawn=1, root=folder) as caid:
            job = caid.submit_file(path, *SPOILT)
            caid.ctl("wait", job, expect=7, timeout=300)
            shown = caid.json("show", job)
            assert shown["gate"] == "guard-1-variety" and "variety" in shown["reason"], shown
            check_refusals(caid, job)
            report = caid.ctl("report", job)  # nobody has checked the phrases
            assert "UNVERIFIED" in report and "60 verdicts" in report, report
            assert "round 0" in caid.ctl("rollback", job, "--to", 0)
            caid.ctl("wait", job, timeout=300)
            shown = caid.json("show", job)
            assert shown["state"] == "COMPLETED", shown
            assert hash_of(shown, "rollback") == hash_of(shown, "start") != hash_of(shown, "sft")
            out = os.path.join(folder, "out")
            caid.ctl("export", job, "model", "--out", out)
            with open(os.path.join(out, "model.safetensors"), "rb") as a, \
                    open(os.path.join(shown["spec"]["models"]["start"], "model.safetensors"), "rb") as b:
                assert a.read() == b.read()
            caid.ctl("rollback", job, "--to", 0, expect=7)
            assert "rolled back to the policy of round 0 by a person" in caid.ctl("logs", job)
            assert caid.stop() == 0


main([test_a_stopped_job_is_rolled_back])
