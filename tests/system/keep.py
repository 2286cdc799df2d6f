"""keep.py TOY TOOLS: what stays on the disk and what goes: who refers to a model, pins, keep:, gc
and its orphans, du; and a caid that is killed while it removes."""
import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

from folder import write_folder
from harness import CONSTITUTION, Caid, main

TOY, TOOLS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])


class Kept(Caid):
    def run(self, *arguments):
        return subprocess.run([f"{TOOLS}/caictl", "-s", self.server, *map(str, arguments)],
                              capture_output=True, text=True, timeout=120)

    def ctl(self, *arguments, expect=0):
        out = self.run(*arguments)
        assert out.returncode == expect, (arguments, out)
        return out.stdout if expect == 0 else out.stderr

    def json(self, *arguments):
        return json.loads(self.ctl(*arguments, "-o", "json"))

    def models(self, job, *more):
        return {os.path.basename(r["path"]): r for r in self.json("ckpt", "list", job, *more)["rows"]}

    def settled(self, path):
        self.until(lambda: not os.path.exists(path), 20, f"{path} is unlinked")


def kept():
    return Kept(TOY)


def nothing_goes_unless_asked():
    with kept() as c:
        job = c.submit()
        c.wait_for(job, "COMPLETED")
        models = c.models(job)
        assert set(models) == {"train-1", "train-2", "last-3"}, models
        assert c.json("ckpt", "gc")["rows"] == [] and all(os.path.isdir(m["path"]) for m in models.values())
        table = c.ctl("ckpt", "list")
        assert "in use" in table and "keeps all rounds of train" in table, table
        last, first = models["last-3"], models["train-1"]
        said = c.ctl("ckpt", "rm", last["number"], expect=7)
        assert "last policy of job 1" in said and "--ended" in said, said
        c.ctl("ckpt", "pin", first["number"], "-m", "for the paper")
        said = c.ctl("ckpt", "rm", first["number"], expect=7)
        assert "is pinned: for the paper" in said and "unpin" in said, said
        assert "for the paper" in c.ctl("ckpt", "show", first["number"])
        dry = c.json("ckpt", "gc", "--keep", 1, "--dry-run")
        assert dry["rows"] == [] and dry["dry_run"] is True, dry
        c.ctl("ckpt", "unpin", first["number"])
        dry = c.json("ckpt", "gc", "--keep", 1, "--dry-run")
        assert [r["number"] for r in dry["rows"]] == [first["number"]] and dry["bytes"] == 64, dry
        assert os.path.isdir(first["path"]), "a dry run"
        assert c.json("du")["free"] == 0, "keep: keeps it, unless --keep says otherwise"
        assert c.json("ckpt", "gc", "--keep", 1)["rows"][0]["path"] == first["path"]
        c.settled(first["path"])
        assert set(c.models(job)) == {"train-2", "last-3"}
        c.until(lambda: c.models(job, "--all")["train-1"]["state"] == "gone", 10, "it is said")
        assert "was removed before" in c.ctl("ckpt", "rm", first["number"], expect=7)
        c.ctl("ckpt", "rm", models["train-2"]["number"])
        c.ctl("ckpt", "rm", last["number"], "--ended")
        c.settled(last["path"])
        c.ctl("ckpt", "show", 99, expect=6)


def a_job_keeps_what_its_file_says():
    with kept() as c:
        job = c.submit(rounds=3, keep={"models": 1})
        seen = set()

        def over():
            p = c.ask("progress", id=job)
            present = {n for n in ("train-1", "train-2", "train-3")
                       if os.path.isdir(os.path.join(c.state, "jobs", "1", n))}
            if p["state"] == "COMPLETED":
                return True
            assert seen <= present, f"a target of rollback went: {seen - present}"
            seen.update(r for r in present if int(r[-1]) < p["round"])
            return False
        c.until(over, 90, "the job ends")
        c.settled(os.path.join(c.state, "jobs", "1", "train-1"))
        c.settled(os.path.join(c.state, "jobs", "1", "train-2"))
        assert set(c.models(job)) == {"train-3", "last-4"}
        assert "removed" in c.tail(200) and "keep: of its job" in c.tail(200)


def jobs_that_need_it_are_named():
    with kept() as c:
        a = c.submit()
        c.wait_for(a, "COMPLETED")
        first = c.models(a)["train-1"]
        write_folder(first["path"])
        data = os.path.join(c.root, "red.jsonl")
        spec = {"job": 1, "name": "second", "seed": 1, "models": {"start": first["path"]},
                "constitution": "house", "data": {"harmful": data}, "workers": 2, "rounds": 1}
        b = c.ask("submit", "k", spec=spec, canonical=CONSTITUTION, hold=True)["id"]
        for restart in (False, True):
            if restart:
                c.kill()
                c.start()
            said = c.ctl("ckpt", "rm", first["number"], "--ended", expect=7)
            assert f"job {b} names it" in said, said
            assert c.json("ckpt", "gc", "--keep", 1, "--dry-run")["rows"] == []
        c.ctl("cancel", b)
        c.ctl("ckpt", "rm", first["number"])
        c.settled(first["path"])


def a_cancelled_job_can_go_on_until_a_person_says_otherwise():
    with kept() as c:
        job = c.submit()
        c.until(lambda: c.ask("progress", id=job)["round"] == 2, 30, "round 2")
        model = c.models(job)["train-1"]
        said = c.ctl("ckpt", "rm", model["number"], "--ended", expect=7)
        assert "RUNNING, goes on with it or can be rolled back to it" in said, said
        c.until(lambda: c.ask("progress", id=job)["stage"] == "train", 30, "its dataset is frozen")
        c.ctl("cancel", job)
        assert c.json("ckpt", "gc", "--keep", 1)["rows"] == [], "it can be requeued, and needs its dataset too"
        assert "when it is requeued" in c.ctl("ckpt", "rm", model["number"], expect=7)
        c.ctl("ckpt", "rm", model["number"], "--ended")
        said = c.ctl("requeue", job, expect=7)
        assert "cannot go on" in said and "submit it again" in said, said


def states_are_kept_while_a_training_runs():
    with kept() as c:
        job = c.submit(rounds=1)

        def state():
            rows = c.json("ckpt", "list", job, "--kind", "state")["rows"]
            return rows[-1] if rows else None
        s = c.until(state, 30, "a state")
        c.ctl("ckpt", "pin", s["number"])
        c.wait_for(job, "COMPLETED")
        assert os.path.isdir(s["path"]), "pinned"
        folder = os.path.dirname(s["path"])
        assert os.listdir(folder) == [os.path.basename(s["path"])], os.listdir(folder)
        c.ctl("ckpt", "unpin", s["number"])
        c.ctl("ckpt", "rm", s["number"])
        c.settled(s["path"])


def orphans_and_disk():
    with kept() as c:
        job = c.submit(rounds=1)
        c.wait_for(job, "COMPLETED")
        c.stop()
        orphan = os.path.join(c.state, "jobs", "1", "models", "round-7-sft-policy")
        strange = os.path.join(c.state, "jobs", "77", "models", "round-1-sft-policy")
        blob = os.path.join(c.state, "blobs", "f" * 64)
        for folder in (orphan, strange):
            os.makedirs(folder)
            with open(os.path.join(folder, "weights"), "wb") as f:
                f.write(b"x" * 5000)
        with open(blob, "wb") as f:
            f.write(b"y" * 300)
        c.start()
        assert "1 folder that nothing names, first " + orphan in c.tail(200), c.tail()
        assert os.path.isdir(orphan), "found, not removed"
        du = c.json("du")
        by = {(r["job"], r["kind"]): r for r in du["rows"] if not r["stage"]}
        assert by[(1, "orphans")]["free"] == 5000 and by[(0, "blobs")]["free"] == 300, du
        assert by[(1, "blobs")]["free"] == 0 and by[(0, "database")]["bytes"] > 50000, du
        assert du["free"] == 5300 and "GC FREES" in c.ctl("du"), du
        rows = c.json("ckpt", "gc")["rows"]
        assert sorted(r["path"] for r in rows) == sorted([orphan, blob]), rows
        c.settled(orphan)
        assert not os.path.exists(blob) and os.path.isdir(strange), "of a job the store does not know"
        c.until(lambda: not os.listdir(os.path.join(c.state, "trash")), 10, "trash/ is emptied")
        assert len(os.listdir(os.path.join(c.state, "blobs"))) >= 2
        assert c.json("ckpt", "gc")["rows"] == []


ROUNDS = 40


def fill(c):
    """Job 1 has had many rounds, of which each left a model of a few files."""
    with contextlib.closing(sqlite3.connect(os.path.join(c.state, "caid.db"))) as db:
        for i in range(3, ROUNDS):
            path = os.path.join(c.state, "jobs", "1", f"train-{i}")
            os.makedirs(path, exist_ok=True)
            for k in range(3):
                with open(os.path.join(path, f"part-{k}"), "wb") as f:
                    f.write(b"x" * 1000)
            db.execute("INSERT OR REPLACE INTO models VALUES(1,?,'train','policy',0,?,?,'h','{}')", (i, i, path))
            db.execute("INSERT INTO folders(path, job) VALUES(?, 1) ON CONFLICT(path) DO UPDATE SET gone = 0",
                       (path,))
        db.commit()


def rows_of(c):
    with contextlib.closing(sqlite3.connect(os.path.join(c.state, "caid.db"))) as db:
        return db.execute("SELECT path, gone FROM folders WHERE path LIKE ?", (c.state + "/%",)).fetchall()


def killed_while_it_removes():
    rng = random.Random(1)
    with kept() as c:
        c.wait_for(c.submit(rounds=1), "COMPLETED")
        c.stop()
        c.spawn = 0
        between = turn = 0
        while turn < 8 or (between == 0 and turn < 80):  # a quick machine leaves little room between
            turn += 1
            fill(c)
            c.start()
            p = subprocess.Popen([f"{TOOLS}/caictl", "-s", c.server, "--timeout", "3", "ckpt", "gc", "--keep", "1"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            end = time.monotonic() + 10
            while all(os.path.isdir(os.path.join(c.state, "jobs", "1", f"train-{i}")) for i in (3, 4)):
                if time.monotonic() > end or p.poll() is not None:
                    break
                time.sleep(0.002)
            time.sleep(rng.random() * 0.08 * (turn % 4) / 3)
            c.kill()
            p.wait()
            rows = rows_of(c)
            lost = [path for path, gone in rows if gone == 0 and not os.path.isdir(path)]
            assert not lost, f"the store believes in what the disk has lost: {lost}"
            between += any(gone == 1 for _, gone in rows)
        c.start()
        keep = os.path.join(c.state, "jobs", "1", f"train-{ROUNDS - 1}")
        c.until(lambda: all(gone != 1 for _, gone in
                            [(r["path"], r["state"] == "going") for r in c.json("ckpt", "list", "--all")["rows"]]),
                20, "what was marked is gone")
        assert os.path.isdir(keep) and os.path.isdir(os.path.join(c.state, "jobs", "1", "last-2"))
        print(f"     {between} of {turn} kills left marks to go on from", flush=True)
        assert between > 0
        shutil.rmtree(os.path.join(c.state, "trash"), ignore_errors=True)


main([nothing_goes_unless_asked, a_job_keeps_what_its_file_says, jobs_that_need_it_are_named,
      a_cancelled_job_can_go_on_until_a_person_says_otherwise, states_are_kept_while_a_training_runs,
      orphans_and_disk, killed_while_it_removes])
