"""real.py: a whole job on a random checkpoint written by transformers, driven by caictl with
real workers: it must wait with "overseer at chance", and go on through PPO when accepted.
`real.py TOOLS` (build/tools), run with .deps/venv/bin/python."""
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = sys.argv[1]
os.environ.setdefault("CAIPROBE", os.path.join(TOOLS, "caiprobe"))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "parity")]
from harness import CONSTITUTION, Caid, main  # noqa: E402

SHORT = {"max_tokens": 8}
SPEC = {
    "job": 1, "name": "real", "seed": 3, "models": {"start": "model"},
    "constitution": "house.yaml", "data": {"harmful": "red.jsonl", "helpful": "help.jsonl"},
    "workers": 2, "rounds": 1,
    "stages": {
        "red_team": {"samples": 8, "sampling": SHORT},
        "revise": {"prompts": 8, "revisions": 1, "reply": SHORT, "critique": SHORT,
                   "revision": SHORT, "max_dropped": 1, "max_unchanged": 1, "max_truncated": 1},
        "sft": {"epochs": 1, "batch": 4, "checkpoint_every": 1},
        "label": {"pairs": 16, "gate_pairs": 100, "reply": SHORT, "min_option_mass": 0,
                  "max_flipped": 1},
        "prefer": {"epochs": 1, "batch": 4, "checkpoint_every": 1},
        "evaluate": {"prompts": 8, "win_pairs": 4, "reply": SHORT},
        "ppo": {"steps": 6, "rollouts": 8, "rollout": SHORT, "checkpoint_every": 1},
    },
}


def absolute(root):
    """The same with folders that caid can find, for a request without caictl."""
    spec = json.loads(json.dumps(SPEC))
    spec["models"]["start"] = os.path.join(root, "model")
    spec["data"] = {k: os.path.join(root, v) for k, v in spec["data"].items()}
    return spec


def write_inputs(root):
    from common import text, write_model  # needs the virtual environment
    draw = random.Random(5)
    write_model(os.path.join(root, "model"), max_position_embeddings=1024)
    with open(os.path.join(root, "job.yaml"), "w") as f:
        json.dump(SPEC, f)  # JSON is YAML
    with open(os.path.join(root, "house.yaml"), "w") as f:
        f.write(CONSTITUTION)
    for name in ("red", "help"):
        with open(os.path.join(root, f"{name}.jsonl"), "w") as f:
            for i in range(40):
                # Replies of every length, so that no habit of a random model is right.
                f.write(json.dumps({"prompt": f"please take {text(draw, 4)} {name} {i}",
                                    "reply": text(draw, draw.randint(2, 14))}) + "\n")


def caictl(caid, *words, expect=0):
    out = subprocess.run([os.path.join(TOOLS, "caictl"), *words], capture_output=True, text=True,
                         env=dict(os.environ, CAID_SERVER=caid.server))
    assert out.returncode == expect, (words, out.returncode, out.stderr, caid.tail())
    return out.stdout


def progress(caid, job):
    return json.loads(caictl(caid, "show", job, "-o", "json"))


def wait_for(caid, job, states, limit):
    def look():
        p = progress(caid, job)
        return p if p["state"] in states else None
    return caid.until(look, limit, f"job is {states}")


def pass_gates(caid, job, limit):
    """Accepts what a person must look at, as often as asked; returns the gates."""
    gates = []
    while True:
        p = wait_for(caid, job, ["COMPLETED", "FAILED", "WAITING_REVIEW"], limit)
        if p["state"] != "WAITING_REVIEW":
            assert p["state"] == "COMPLETED", (p["reason"], caid.tail())
            return gates
        gates.append((p["gate"], p["reason"]))
        caictl(caid, "resume", job, "--accept", p["gate"])


def test_a_random_checkpoint_to_the_end():
    caid = Caid(TOOLS, arguments=["--threads-per-worker", "1"])
    try:
        write_inputs(caid.root)
        caid.start_with(lambda: subprocess.run(
            [os.path.join(TOOLS, "caictl"), "version"], capture_output=True,
            env=dict(os.environ, CAID_SERVER=caid.server)).returncode == 0)
        job = caictl(caid, "submit", os.path.join(caid.root, "job.yaml"), "--parsable").strip()
        gates = pass_gates(caid, job, 300)
        print(f"     gates: {gates}")
        assert "overseer" in [g for g, _ in gates], gates
        report = json.loads(caictl(caid, "report", job, "-o", "json"))
        assert {"evaluate", "prefer", "label", "models"} <= {t["name"] for t in report["tables"]}
        rows = caictl(caid, "export", job, "replies").splitlines()
        assert rows and json.loads(rows[0])["messages"]
        assert caid.stop() == 0
    finally:
        caid.close()


if __name__ == "__main__":
    main([test_a_random_checkpoint_to_the_end])
