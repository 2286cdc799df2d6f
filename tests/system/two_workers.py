"""two_workers.py: one worker is two workers. The same job on one process and on two, each
task on one of them, gives equal ledgers; gangs of two ranks give the weights of one rank,
but for the order of sums. `two_workers.py TOOLS`."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import write_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

TOOLS = sys.argv[1]
LR = 1e-4


def run(spawn, workers, looked=None):
    """(ledger, {"round/stage/kind": weights}, workers that were busy at some time)."""
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        path, _ = write_job(folder, True, workers=workers, stages__label__gate_pairs=0,
                            stages__red_team__samples=80, stages__label__pairs=80,
                            stages__sft={"batch": 4, "lr": LR}, stages__prefer={"batch": 4, "lr": LR},
                            stages__ppo__lr=LR, stages__ppo__value_lr=LR)
        busy = set()
        with Real(TOOLS, spawn=spawn, root=folder) as caid:
            caid.until(lambda: len(caid.json("workers")["rows"]) == spawn, 20, "workers")
            job = caid.submit_file(path)

            def over():
                busy.update(w["pid"] for w in caid.json("workers")["rows"] if w["state"] == "busy")
                return caid.json("show", job)["finished_ms"]
            caid.until(over, 120, "the job ends")
            p = caid.json("show", job)
            assert p["state"] == "COMPLETED", p["reason"]
            weights = {f"{m['round']}/{m['stage']}/{m['kind']}": load_file(
                os.path.join(m["path"], "model.safetensors")) for m in p["models"]
                if m["kind"] in ("policy", "pm")}
            hashes = [(m["stage"], m["kind"], m["hash"]) for m in p["models"]]
            caid.stop()
    return p["ledger"], hashes, weights, busy


def test_one_worker_is_two_workers():
    one, two = run(1, 1), run(2, 1)
    assert len(one[3]) == 1 and len(two[3]) == 2, (one[3], two[3])
    assert one[0] == two[0], (one[0], two[0])
    assert one[1] == two[1], (one[1], two[1])
    print(f"     ledger {one[0]}")


def test_two_ranks_learn_what_one_learns():
    one, two, again = run(1, 1), run(2, 2), run(2, 2)
    assert two[0] == again[0] and two[1] == again[1], "two ranks, twice"
    start = one[2].pop("0/start/policy")
    assert len(one[2]) == 3, list(one[2])
    for name, weights in one[2].items():
        apart = max((weights[t] - two[2][name][t]).abs().max().item() for t in weights)
        moved = max((weights[t] - start[t]).abs().max().item() for t in weights
                    if t in start and weights[t].shape == start[t].shape)
        print(f"     {name}: moved {moved:.1e}, apart {apart:.1e}", flush=True)
        assert moved >= LR and apart < LR / 50, "apart by more than the order of sums explains"


main([test_one_worker_is_two_workers, test_two_ranks_learn_what_one_learns])
