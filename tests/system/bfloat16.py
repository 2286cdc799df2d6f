"""bfloat16.py: a job that generates and scores in bfloat16 runs to its end, twice with equal
bits, and not with those of float32; its trainer starts each PPO step at a ratio of 1 (it would
fail otherwise) and says how far the sampler is from it. `bfloat16.py TOOLS`."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sampling, write_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
SHORT = sampling(12)


def run(dtype):
    """(ledger, hashes of models, texts of replies, the sampler's gap by step)."""
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        path, _ = write_job(folder, True, models__dtype=dtype, stages__label__gate_pairs=0,
                            stages__red_team__sampling=SHORT, stages__revise__reply=SHORT,
                            stages__revise__critique=SHORT, stages__revise__revision=SHORT,
                            stages__label__reply=SHORT)
        with Real(TOOLS, spawn=1, root=folder) as caid:
            caid.until(lambda: caid.json("workers")["rows"], 30, "a worker")
            said = caid.run("submit", path)
            assert said.returncode == 0, said.stderr
            words = said.stdout + said.stderr
            assert "Each worker needs" in words and " for 64 × 2,048" in words, words
            assert ("bfloat16 copy" in words) == (dtype == "bfloat16"), words
            job = said.stdout.split()[2]
            caid.until(lambda: caid.json("show", job)["finished_ms"], 300, "the job ends")
            p = caid.json("show", job)
            assert p["state"] == "COMPLETED", p["reason"]
            assert "/bf16=" in p["numeric_class"] and p["spec"]["models"]["dtype"] == dtype
            rows = caid.json("metrics", job, "--metric", "sampler_gap", "--stage", "ppo")["rows"]
            gaps = [r["value"] for r in rows]
            replies = [row["reply"] for row in caid.lines("export", job, "replies")]
            hashes = [(m["stage"], m["kind"], m["hash"]) for m in p["models"]]
            caid.stop()
    return p["ledger"], hashes, replies, gaps


def test_two_runs_give_equal_bits():
    one, again, whole = run("bfloat16"), run("bfloat16"), run("float32")
    assert one == again
    assert one[0] != whole[0] and one[2] != whole[2], "float32 gives the same"
    assert one[1][0] == whole[1][0], "the start is the same"
    assert len(one[3]) == 2 and all(0 < g < 0.05 for g in one[3]), one[3]
    assert max(whole[3]) < 1e-4 < max(one[3]), (one[3], whole[3])
    print(f"     sampler gap {max(one[3]):.1e}, in float32 {max(whole[3]):.1e}")


main([test_two_runs_give_equal_bits])
