"""kill.py: kill -9 of caid, of a worker, of everything, at random instants; a job must end by
itself, with the ledger, texts and models of an undisturbed run.

  kill.py PROGRAMS [--kills N] [--seed S] [--real [--lora] --ask ASK]

PROGRAMS is the folder with caid and cai-worker: build/tests/toy, or, with --real (needs
.deps/venv/bin/python), build/tools: then a random checkpoint goes through every stage. Each
disturbed run takes a new state folder and is hit `PER_RUN` times; what is compared does not
name folders. With --lora adapters are trained; they name their base's folder, which is one for
all runs."""
import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import Caid, Refused, ending, main  # noqa: E402

PER_RUN = 5
parser = argparse.ArgumentParser()
parser.add_argument("programs")
parser.add_argument("--kills", type=int, default=30)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--real", action="store_true")
parser.add_argument("--lora", action="store_true")
parser.add_argument("--ask", help="the program that asks; default: PROGRAMS/ask")
parser.add_argument("--limit", type=float, default=60, help="seconds a run may take")
options = parser.parse_args()
SHARED = tempfile.TemporaryDirectory(prefix="caid-test-")


def submit(caid):
    if not options.real:
        return caid.submit()
    from checkpoint import short_job  # needs the virtual environment
    lora = {"models__lora": {"rank": 4, "alpha": 8}} if options.lora else {}
    spec, canonical = short_job(caid.root, **lora)
    if options.lora:
        base = os.path.join(SHARED.name, "base")
        if not os.path.exists(base):
            shutil.copytree(spec["models"]["start"], base)
        spec["models"]["start"] = base
    return caid.ask("submit", spec=spec, canonical=canonical)["id"]


def start():
    return Caid(options.programs, ask=options.ask).start()


def wait(caid, job):
    """To the end; what a person must look at is accepted at once."""
    while True:
        p = caid.wait_for(job, ["COMPLETED", "FAILED", "WAITING_REVIEW"], options.limit)
        if p["state"] != "WAITING_REVIEW":
            assert p["state"] == "COMPLETED", p["reason"]
            return
        caid.ask("resume", id=job, accept=p["gate"])


def undisturbed():
    caid = start()
    try:
        job = submit(caid)
        began = time.monotonic()
        wait(caid, job)
        return ending(caid.ask, job), time.monotonic() - began
    finally:
        caid.close()


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


def difference(wanted, got):
    """The first entry that is not the same, of both."""
    pairs = itertools.zip_longest(wanted, got) if isinstance(wanted, list) else [(wanted, got)]
    return next((f"{a} against {b}" for a, b in pairs if a != b), "none")


def disturbed(seed, expected, lasts):
    draw = random.Random(seed)
    caid = start()
    try:
        job = submit(caid)
        blows = []
        for _ in range(PER_RUN):
            time.sleep(draw.uniform(0.02, lasts / 2))
            blows.append(hit(caid, draw))
        caid.until(caid.answers, 10, "caid answers")
        wait(caid, job)
        got = ending(caid.ask, job)
        for key, value in expected.items():
            assert got[key] == value, \
                f"seed {seed}, {blows}: {key} differ: {difference(value, got[key])}\n{caid.tail(60)}"
    finally:
        caid.close()


def test_killed_at_random_instants():
    expected, lasts = undisturbed()
    assert len(expected["weights"]) >= 3 and len(expected["texts"]) >= 96, expected
    again = undisturbed()[0]
    for key, value in expected.items():
        assert again[key] == value, f"two undisturbed runs differ in {key}"
    runs = (options.kills + PER_RUN - 1) // PER_RUN
    for i in range(runs):
        disturbed(options.seed * 1000 + i, expected, lasts)
    print(f"     {runs * PER_RUN} kills in {runs} runs")


main([test_killed_at_random_instants])
