"""scale.py TOY TOOLS [JOBS EXAMPLES]: a store with many queued jobs and examples, made by SQL: how
long caictl jobs, submit and a restart take; and many jobs one after another: memory and
descriptors. Small in the suite; `scale.py TOY TOOLS 10000 1000000` on demand, then with limits."""
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time

from harness import CONSTITUTION, Caid, main

TOY, TOOLS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
JOBS, EXAMPLES = (int(x) for x in sys.argv[3:5]) if len(sys.argv) > 4 else (300, 20000)
FULL = JOBS >= 10000
LIMITS = {"caictl jobs": 0.150, "submit": 0.050, "restart": 3.0}


def fill(c):
    """Job 1 has run; the others wait behind it, copies of it, with long texts of job 1."""
    with contextlib.closing(sqlite3.connect(os.path.join(c.state, "caid.db"))) as db:
        db.execute("PRAGMA synchronous=OFF")
        spec, revision = db.execute("SELECT spec, constitution FROM jobs WHERE id = 1").fetchone()
        db.executemany("INSERT INTO jobs(name, spec, constitution, state, uid, submitted_ms) VALUES(?,?,?,1,-1,1)",
                       ((f"job-{i}", spec, revision) for i in range(JOBS)))
        text = "some words of a reply that is not short " * 8
        db.executemany("INSERT INTO examples VALUES(1, 9, 'revise', ?, 'reply', ?, ?, 'kind', ?, 'm', '{}')",
                       ((i // 4, i % 4, text, revision) for i in range(EXAMPLES)))
        db.commit()


def timed(f, n=7):
    took = []
    for _ in range(n):
        began = time.perf_counter()
        f()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def many_jobs_and_examples():
    with Caid(TOY) as c:
        c.wait_for(c.submit("first", rounds=1), "COMPLETED")
        c.stop()
        c.spawn = 0
        fill(c)
        figures = {}

        def restart():
            c.start(wait=False)
            c.until(c.answers, 60, "it answers")
        began = time.perf_counter()
        restart()
        figures["restart"] = time.perf_counter() - began

        def ctl(*arguments):
            out = subprocess.run([f"{TOOLS}/caictl", "-s", c.server, *arguments], capture_output=True, text=True)
            assert out.returncode == 0, out
            return out.stdout
        shown = ctl("jobs").splitlines()
        assert len(shown) == 101 and "job-" in shown[-1], (len(shown), shown[-1])
        figures["caictl jobs"] = timed(lambda: ctl("jobs"))
        rows = json.loads(ctl("jobs", "-a", "-o", "json"))["rows"]
        assert [r["id"] for r in rows] == list(range(1, JOBS + 2)), len(rows)
        figures["caictl jobs -a"] = timed(lambda: ctl("jobs", "-a"), 1)
        keys = iter(range(100))

        data = os.path.join(c.root, "red.jsonl")
        spec = {"job": 1, "name": "late", "seed": 1, "models": {"start": c.model()}, "constitution": "house",
                "data": {"harmful": data}, "workers": 1, "rounds": 1}
        figures["submit"] = timed(lambda: c.ask("submit", f"late-{next(keys)}", spec=spec, canonical=CONSTITUTION))
        figures["ping"] = timed(lambda: c.ask("ping"))
        figures["caictl du"] = timed(lambda: ctl("du"), 3)
        with open(f"/proc/{c.process.pid}/status") as f:
            rss = [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0] / 1024
        for name, seconds in figures.items():
            print(f"     {name}: {1000 * seconds:.0f} ms", flush=True)
        print(f"     {rss:.1f} MB with {JOBS} jobs waiting, {EXAMPLES} examples", flush=True)
        assert rss < 100, rss
        if FULL:
            slow = {k: figures[k] for k, limit in LIMITS.items() if figures[k] > limit}
            assert not slow, slow


def state_of(c):
    pid = c.process.pid
    with open(f"/proc/{pid}/status") as f:
        rss = [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0] / 1024
    return rss, len(os.listdir(f"/proc/{pid}/fd"))


def many_jobs_one_after_another():
    n = 1000 if FULL else 30
    with Caid(TOY) as c:
        c.wait_for(c.submit("warm", rounds=1), "COMPLETED")
        before = state_of(c)
        for i in range(n):
            job = c.submit(f"key-{i}", rounds=1)
            c.ask("cancel", f"cancel-{i}", id=job) if i % 3 else c.wait_for(job, "COMPLETED", 60)
        after = state_of(c)
        print(f"     {n} jobs: {before[0]:.1f} → {after[0]:.1f} MB, {before[1]} → {after[1]} descriptors", flush=True)
        assert after[0] < 100 and after[1] <= before[1] + 2, (before, after)


def requests_are_bounded():
    """What is too large never reaches a verb, and caid goes on answering."""
    with Caid(TOY, spawn=0) as c:
        out = subprocess.run([f"{TOY}/ask", c.server, "constitution.apply", json.dumps({"message": "x" * 120000}), "k"],
                             capture_output=True, text=True)
        assert out.returncode == 2, out
        assert c.answers()


main([many_jobs_and_examples, many_jobs_one_after_another, requests_are_bounded])
