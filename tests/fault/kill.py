"""kill.py: kill -9 of caid, of a worker, of everything, at random instants; a job must end by
itself, with the ledger, texts and models of an undisturbed run.

  kill.py PROGRAMS [--kills N] [--seed S]

PROGRAMS is the folder with caid, cai-worker and ask (build/tests/toy). Each disturbed run
takes a new state folder and is hit `PER_RUN` times; what is compared does not name folders."""
import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import Caid, Refused, main  # noqa: E402

PER_RUN = 5
parser = argparse.ArgumentParser()
parser.add_argument("programs")
parser.add_argument("--kills", type=int, default=30)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()


def outcome(caid, job):
    """All that must be equal, free of times and folders."""
    show = caid.ask("show", id=job)
    models = [(m["round"], m["stage"], m["kind"], m["k"], m["step"], m["hash"])
              for m in show["models"]]
    weights = []
    for m in show["models"]:
        with open(os.path.join(m["path"], "model"), "rb") as f:
            weights.append(f.read())
    texts, after = [], 0
    while after is not None:
        page = caid.ask("export", id=job, what="examples", after=after)
        texts += [(r["round"], r["stage"], r["item"], r["k"], r["kind"], r["text"])
                  for r in page["rows"]]
        after = page["next"]
    metrics = [(r["round"], r["stage"], r["step"], r["name"], r["value"])
               for r in caid.ask("metrics", id=job)["rows"]]
    return {"ledger": show["ledger"], "models": models, "weights": weights, "texts": texts,
            "metrics": metrics}


def undisturbed():
    with Caid(options.programs) as caid:
        job = caid.submit()
        caid.wait_for(job, "COMPLETED", 60)
        return outcome(caid, job)


def pids_of(caid):
    try:
        return [w["pid"] for w in caid.workers()]
    except Refused:
        return []


def kill_one(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def spawner_of(caid):
    pid = caid.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def hit(caid, draw):
    """One blow; returns its name."""
    what = draw.choice(["caid", "caid", "worker", "worker", "everything"])
    if what == "worker":
        pids = pids_of(caid)
        if pids:
            kill_one(draw.choice(sorted(pids)))
        return what
    workers = pids_of(caid) + spawner_of(caid) if what == "everything" else []
    caid.kill()
    for pid in workers:
        kill_one(pid)
    caid.start(wait=False)
    return what


def disturbed(seed, expected):
    draw = random.Random(seed)
    caid = Caid(options.programs).start()
    try:
        job = caid.submit()
        blows = []
        for _ in range(PER_RUN):
            time.sleep(draw.uniform(0.02, 1.2))
            blows.append(hit(caid, draw))
        caid.until(caid.answers, 10, "caid answers")
        caid.wait_for(job, ["COMPLETED", "FAILED"], 60)
        got = outcome(caid, job)
        for key, value in expected.items():
            assert got[key] == value, f"seed {seed}, {blows}: {key} differ\n{caid.tail(60)}"
    finally:
        caid.close()


def test_killed_at_random_instants():
    expected = undisturbed()
    assert len(expected["weights"]) == 3 and len(expected["texts"]) == 96, expected
    assert undisturbed() == expected, "two undisturbed runs differ"
    runs = (options.kills + PER_RUN - 1) // PER_RUN
    for i in range(runs):
        disturbed(options.seed * 1000 + i, expected)
    print(f"     {runs * PER_RUN} kills in {runs} runs")


main([test_killed_at_random_instants])
