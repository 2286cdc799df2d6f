"""ranks.py: gangs of 2 and 4 real ranks that lose one: killed, or stopped so that the others wait
for it inside a collective. It is named with its worker, its rank, the collective and the seconds,
by `caictl show` and `logs`; the gang goes on from its last state and ends with the bytes of an
undisturbed run, and of one that was stopped and begun again on purpose, which repeats no step.

  ranks.py TOOLS [--worlds 2,4]
"""
import argparse
import contextlib
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from checkpoint import sentence, write_job, write_lines  # noqa: E402
from harness import files_of, main  # noqa: E402
from through_caictl import Real  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("tools")
parser.add_argument("--worlds", default="2,4")
options = parser.parse_args()
OFF = {f"stages__{s}": "off" for s in ("red_team", "revise", "sft", "label", "evaluate", "ppo")}
LIMIT, AT = 120, 12  # seconds a run may take; the step after which it is disturbed
SOON = 10  # a step by which caid has just learnt how long steps take, most likely before a beat


class World:
    """A preference model of `world` ranks; every seventh of its steps has a state."""

    def __init__(self, world, checkpoint_every):
        rng = random.Random(1)
        self.world = world
        self.folder = tempfile.mkdtemp(prefix="caid-test-")
        write_lines(os.path.join(self.folder, "pairs.jsonl"), [
            {"prompt": f"{i} {sentence(rng, 6)}", "chosen": sentence(rng, 7),
             "rejected": sentence(rng, 8)} for i in range(160)])
        self.job, _ = write_job(self.folder, True, workers=world, data={"human": "./pairs.jsonl"}, **{
            **OFF, "stages__prefer": {"batch": 8, "epochs": 3, "lr": 1e-3, "gate_confidence": 0,
                                      "checkpoint_every": checkpoint_every}})
        self.caid = Real(options.tools, spawn=world, root=self.folder)

    def __enter__(self):
        self.caid.start()
        self.caid.until(lambda: len(self.workers()) == self.world, 30, "all workers")
        return self

    def __exit__(self, *_):
        self.caid.close()

    def workers(self):
        return self.caid.json("workers")["rows"]

    def submit(self):
        return self.caid.submit_file(self.job)

    def until_step(self, job, step):
        def far():
            p = self.caid.json("show", job)
            assert not p["finished_ms"], "it ended before it could be disturbed"
            return p["unit"] == "steps" and p["done"] >= step
        self.caid.until(far, LIMIT, f"step {step}")

    def rank(self, rank):
        found = [w for w in self.workers() if w["state"] == "busy" and w["rank"] == rank]
        assert found, self.workers()
        return found[0]

    def logs(self, job):
        return [r["text"] for r in self.caid.lines("logs", job, "-o", "json")]

    def outcome(self, job):
        """Weights, and the figures of every step."""
        self.caid.until(lambda: self.caid.json("show", job)["finished_ms"], LIMIT, "the job ends")
        show = self.caid.json("show", job)
        assert show["state"] == "COMPLETED", show["reason"]
        figures = [(r["step"], r["name"], r["value"]) for r in self.caid.json("metrics", job)["rows"]]
        return [files_of(m["path"]) for m in show["models"] if m["kind"] == "pm"], figures


def same(a, b, what):
    assert a[0] == b[0], f"{what}: other weights"
    assert a[1] == b[1], f"{what}: other figures"
    assert len(a[0]) == 1 and len(a[1]) > 50


def lost(w, rank, send, why, whole):
    """A rank is sent a signal in mid-training."""
    job = w.submit()
    w.until_step(job, AT)
    worker, began, shown = w.rank(rank), time.monotonic(), None
    os.kill(worker["pid"], send)
    name = f"rank {rank} (worker {worker['name']}, pid {worker['pid']}) is gone ({why})"
    line = w.caid.until(lambda: [t for t in w.logs(job) if name in t], 30, "it is named")[0]
    named = time.monotonic() - began
    # Where it was is known once it has been heard of in this task: on a fast machine a rank can
    # be lost before.
    place = re.search(r", (in|after) collective \d+ for [\d.]+ s", line)
    assert place or "collective" not in line, line
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        p = w.caid.json("show", job)
        if name in p["reason"]:
            shown = p["reason"]
        if [t for t in w.logs(job) if "on from" in t]:
            break
        time.sleep(0.02)
    again = time.monotonic() - began
    assert shown, "not shown"
    same(whole, w.outcome(job), why)
    texts = w.logs(job)
    assert not any("attempt" in t for t in texts), texts
    taken_up = int(re.search(r"on from .*/step-(\d+)$", "\n".join(texts), re.M).group(1))
    print(f"     {w.world} ranks, {why}: named after {named:.1f} s{place.group(0) if place else ''}, the gang "
          f"again after {again:.1f} s, from step {taken_up}", flush=True)


def test_a_gang_that_loses_a_rank():
    for world in map(int, options.worlds.split(",")):
        with World(world, 7) as w:
            whole = w.outcome(w.submit())
            lost(w, world - 1, signal.SIGKILL, "its process ended", whole)
            lost(w, 1, signal.SIGSTOP, "silent for 3 s", whole)
            lost(w, 0, signal.SIGKILL, "its process ended", whole)


def hangs(w, rank, at, whole):
    """A rank is stopped, most likely inside a collective, and goes on once it has been named."""
    job = w.submit()
    w.until_step(job, at)
    pid, began = w.rank(rank)["pid"], time.time()
    os.kill(pid, signal.SIGSTOP)
    try:
        name = re.compile(rf"rank {rank} \(worker \S+\) (does not answer|is behind).*; a step takes ([\d.]+) s")
        row, found = w.caid.until(lambda: [(r, m) for r in w.caid.lines("logs", job, "-o", "json")
                                           for m in [name.search(r["text"])] if m], 60, "it is named")[0]
    finally:
        os.kill(pid, signal.SIGCONT)
    took, step = row["at_ms"] / 1000 - began, float(found[2])
    # The machine's own delays are not the gang's: beside other work all of it takes longer.
    assert took <= max(3 * step, 0.4 + step) + 1, (took, step)
    same(whole, w.outcome(job), "stopped for a while")
    print(f"     {w.world} ranks, one hangs: {found[0].split(' (')[0]} {found[1]} after {took:.2f} s, "
          f"{took / step:.1f} times the 99th percentile of steps ({step:.3f} s)", flush=True)


def test_a_rank_that_hangs_is_named_by_the_gangs_own_steps():
    """And nobody is while all goes well, on however busy a machine."""
    for world in map(int, options.worlds.split(",")):
        with World(world, 7) as w:
            job = w.submit()
            whole = w.outcome(job)
            late = [t for t in w.logs(job) if "is behind" in t or "does not answer" in t]
            assert not late, late
            for rank in range(world):
                hangs(w, rank, AT, whole)
                hangs(w, rank, SOON, whole)


def test_a_gang_that_is_stopped_repeats_no_step():
    for world in map(int, options.worlds.split(",")):
        with World(world, 0) as w:
            whole = w.outcome(w.submit())
            job = w.submit()
            w.until_step(job, AT)
            began = time.monotonic()
            assert w.caid.stop(LIMIT) == 0
            took = time.monotonic() - began
            with contextlib.closing(sqlite3.connect(os.path.join(w.caid.state, "caid.db"))) as db:
                reported = db.execute("SELECT max(step) FROM metrics WHERE job = ? AND name = 'loss'",
                                      (job,)).fetchone()[0]
            w.caid.start()
            same(whole, w.outcome(job), "stopped")
            taken_up = [int(n) for n in re.findall(r"on from .*/step-(\d+)$", "\n".join(w.logs(job)), re.M)]
            assert taken_up == [reported], (taken_up, reported)
            print(f"     {world} ranks stopped in {took:.1f} s after step {reported}; "
                  f"{reported - taken_up[0]} steps repeated", flush=True)


def test_a_worker_that_leaves_takes_its_gang_along():
    """SIGTERM of one worker: the gang saves its state; nothing is lost and nothing failed."""
    with World(2, 0) as w:
        whole = w.outcome(w.submit())
        job = w.submit()
        w.until_step(job, AT)
        os.kill(w.rank(1)["pid"], signal.SIGTERM)
        same(whole, w.outcome(job), "left")
        texts = w.logs(job)
        assert any("on from" in t for t in texts), texts
        assert not any("attempt" in t or "is gone" in t for t in texts), texts


main([f for name, f in list(globals().items()) if name.startswith("test_")])
