"""people.py: several people on one daemon, through the real caictl: whose jobs they are, hold,
suspend, priorities, shares; models and data sent into the store, a kill in the middle of it.
Two real users when it is run as root. `people.py TOYS TOOLS`."""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from folder import write_folder  # noqa: E402
from harness import Caid, Refused, main  # noqa: E402

TOYS, TOOLS = sys.argv[1:3]
CAICTL = os.path.join(TOOLS, "caictl")
ROOT = os.geteuid() == 0
ANN, BOB = 23451, 23452
CHANGES = ["hold", "release", "suspend", "resume", "cancel", "requeue"]


class Lab(Caid):
    """A daemon that others than its user reach, as the group of its socket would."""

    def __init__(self, config="", **more):
        super().__init__(TOYS, **more)
        os.chmod(self.root, 0o755)
        self.config = os.path.join(self.root, "caid.conf")
        with open(self.config, "w") as f:
            f.write("min_free_mb: 1\n" + config)
        self.arguments += ["--config", self.config]

    def start(self, **more):
        super().start(**more)
        os.chmod(self.runtime, 0o755)
        os.chmod(os.path.join(self.runtime, "control"), 0o777)
        return self

    def command(self, uid, *words):
        who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid is not None else []
        return [*who, CAICTL, "-s", self.server, *map(str, words)]

    def run(self, uid, *words):
        return subprocess.run(self.command(uid, *words), capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, HOME="/nonexistent"))

    def ctl(self, *words, uid=None, expect=0):
        r = self.run(uid, *words)
        assert r.returncode == expect, f"{words}: {r.returncode}\n{r.stdout}{r.stderr}\n{self.tail()}"
        return r.stdout if expect == 0 else r.stderr

    def json(self, *words, uid=None):
        return json.loads(self.ctl(*words, "-o", "json", uid=uid))

    def file(self, name, text):
        path = os.path.join(self.root, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o644)
        return path

    def job_file(self, name="small", **settings):
        self.model()
        self.file("red.jsonl", '{"prompt": "hello"}\n')
        self.file("house.yaml", "constitution: 1\nname: house\nprinciples:\n  - id: kind\n"
                  "    critique: Say what is unkind in the last reply.\n    revision: Rewrite it kindly.\n"
                  "    choice: Which reply is kinder?\n")
        told = {"job": 1, "name": name, "seed": 1, "models": {"start": "./model"}, "rounds": 1,
                "constitution": "./house.yaml", "data": {"harmful": "./red.jsonl"}, "workers": 1}
        told.update(settings)
        return self.file(name + ".yaml", json.dumps(told))

    def submit_as(self, uid, *options, **settings):
        return int(self.ctl("submit", self.job_file(**settings), "--parsable", "-q", *options, uid=uid))

    def state_of(self, job):
        return self.ask("progress", id=job)["state"]


def test_a_job_is_its_owners():
    if not ROOT:
        print("     skipped: only root can be two users")
        return
    with Lab() as lab:
        job = lab.submit_as(ANN, "--hold")
        assert lab.json("show", job, uid=BOB)["uid"] == ANN
        assert lab.json("jobs", uid=BOB)["rows"][0]["user"] == f"uid {ANN}"
        assert lab.json("jobs", "--user", BOB)["rows"] == [] != lab.json("jobs", "--user", ANN)["rows"]
        for verb in CHANGES:
            said = lab.ctl(verb, job, uid=BOB, expect=5)
            assert f"job {job} belongs to uid {ANN}" in said and "root" in said, said
        lab.ctl("update", job, "priority=3", uid=BOB, expect=5)
        assert lab.state_of(job) == "HELD"
        lab.ctl("update", job, "priority=3", uid=ANN)
        lab.ctl("release", job, uid=ANN)
        lab.wait_for(job, "COMPLETED")
        folder = lab.json("ckpt", "list", job, uid=BOB)["rows"][0]["number"]
        assert f"belongs to uid {ANN}" in lab.ctl("ckpt", "pin", folder, uid=BOB, expect=5)
        lab.ctl("ckpt", "rm", folder, uid=BOB, expect=5)
        lab.ctl("ckpt", "pin", folder, uid=ANN)
        lab.ctl("ckpt", "unpin", folder, uid=ANN)
        for administer in (("ckpt", "gc"), ("key", "list"), ("key", "revoke", "nobody")):
            lab.ctl(*administer, uid=ANN, expect=5)
        lab.ctl("ckpt", "gc", "--dry-run")
        other = lab.submit_as(BOB, "--hold")
        lab.ctl("cancel", other)  # root, who is caid's user here
        lab.stop()
        with open(lab.config, "a") as f:
            f.write("admins: man\n")
        lab.start()
        third = lab.submit_as(BOB, "--hold")
        lab.ctl("cancel", third, uid=ANN, expect=5)
        lab.ctl("cancel", third, uid=12)  # setpriv gives the group of that number: man


def test_a_stranger_is_no_worker():
    if not ROOT:
        print("     skipped: only root can be two users")
        return
    with Lab(spawn=0) as lab:
        os.chmod(os.path.join(lab.runtime, "worker"), 0o777)
        os.chmod(lab.state, 0o755)
        os.chmod(os.path.join(lab.root, "state", "nonce"), 0o644)
        stranger = subprocess.Popen(["setpriv", f"--reuid={ANN}", f"--regid={ANN}", "--clear-groups",
                                     os.path.join(TOYS, "cai-worker"), "--connect",
                                     f"ipc://{lab.runtime}/worker", "--state",
                                     os.path.join(lab.root, "state"), "--name", "w", "--threads", "1",
                                     "--device", "auto:0"], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
        try:
            lab.until(lambda: "runs as another user" in lab.tail(), 20, "it is refused")
            assert lab.workers() == []
        finally:
            stranger.kill()
            stranger.wait()


def test_hold_suspend_and_what_is_refused():
    with Lab(spawn=1, env={"TOY_STEP_MS": "150"}) as lab:
        held = lab.submit_as(None, "--hold", name="held")
        assert "caictl release" in lab.json("show", held)["reason"]
        job = lab.submit_as(None)
        for verb, state in (("hold", "RUNNING"), ("release", "RUNNING")):
            lab.wait_for(job, "RUNNING")
            said = lab.ctl(verb, job, expect=7)
            assert state in said and "caictl suspend" in said, said
        assert "caictl release" in lab.ctl("suspend", held, expect=7)
        assert "caictl release" in lab.ctl("hold", held, expect=7)
        lab.until(lambda: lab.ask("progress", id=job)["unit"] == "steps" and
                  lab.ask("progress", id=job)["done"] >= 2, 60, "it trains")
        lab.ctl("suspend", job)
        assert lab.state_of(job) == "SUSPENDED"
        lab.until(lambda: all(w["state"] == "idle" for w in lab.workers()), 30, "its worker is free")
        checkpoint = [m for m in lab.ask("show", id=job)["models"] if m["kind"] == "checkpoint"]
        assert checkpoint, "its state was saved"
        lab.stop()
        lab.start()
        assert lab.state_of(job) == "SUSPENDED" and lab.state_of(held) == "HELD", "a restart changes nothing"
        assert "suspended by" in lab.json("show", job)["reason"]
        other = lab.submit_as(None, name="other")
        lab.wait_for(other, "RUNNING")
        lab.ctl("suspend", other)
        lab.kill()
        lab.start()
        assert lab.state_of(other) == "SUSPENDED"
        lab.ctl("cancel", other)
        assert "caictl requeue" in lab.ctl("suspend", other, expect=7)
        lab.ctl("resume", job)
        lab.wait_for(job, "COMPLETED", 90)
        texts = [row["text"] for row in lab.ask("logs", id=job)["rows"]]
        resumed = [t for t in texts if re.search(r"on from .*step-\d+", t)]
        assert resumed, texts
        straight = lab.submit_as(None, name="straight")
        lab.wait_for(straight, "COMPLETED", 90)
        assert lab.ask("show", id=straight)["ledger"] == lab.ask("show", id=job)["ledger"]
        assert "has ended" in lab.ctl("suspend", job, expect=7)
        lab.ctl("release", held)
        lab.wait_for(held, "COMPLETED", 90)


def test_priority_decides_among_ones_own():
    with Lab(spawn=0) as lab:
        low, high = lab.submit_as(None, priority=-5), lab.submit_as(None, "--set", "priority=2")
        middle = lab.submit_as(None)
        rows = {row["id"]: row["priority"] for row in lab.json("jobs")["rows"]}
        assert rows == {low: -5, high: 2, middle: 0}, rows
        lab.ctl("update", middle, "priority=9")
        lab.ctl("update", middle, "priority=101", expect=3)
        lab.ctl("update", middle, "rounds=3", expect=2)
        lab.kill()
        lab.spawn = 1
        lab.start()
        for job in (low, high, middle):
            lab.wait_for(job, "COMPLETED", 90)
        ends = {job: lab.ask("show", id=job)["finished_ms"] for job in (low, high, middle)}
        assert ends[high] < ends[low] and ends[middle] < ends[low], ends
        assert "nothing of it can be changed" in lab.ctl("update", low, "priority=1", expect=7)


def test_two_people_share_and_no_gang_starves():
    """Gangs of all the workers there are, of two people, with training that takes turns."""
    if not ROOT:
        print("     skipped: only root can be two users")
        return
    with Lab("slice_s: 2\n", spawn=2, env={"TOY_STEP_MS": "100"}) as lab:
        lab.until(lambda: len(lab.workers()) == 2, 20, "workers")
        jobs = {uid: [lab.submit_as(uid, workers=2, rounds=2) for _ in range(2)] for uid in (ANN, BOB)}
        alone = lab.submit_as(ANN, "--hold", name="alone", workers=2, rounds=2)
        used = []

        def somebody_has_nothing_left():
            """While both have jobs; of one whose jobs have ended no share is owed."""
            states = {r["id"]: r["state"] for r in lab.ask("jobs")["rows"]}
            if any(all(states[j] == "COMPLETED" for j in jobs[uid]) for uid in jobs):
                return True
            used.append({r["uid"]: r["seconds"] for r in lab.json("shares")["rows"]})
            return False
        lab.until(somebody_has_nothing_left, 300, "somebody's jobs end")
        first = used[-1]
        both = first[ANN] + first[BOB]
        print(f"     {first[ANN]:.1f} and {first[BOB]:.1f} worker seconds")
        # Within 10 %, and a slice of two workers besides: what one has when the other's turn comes.
        assert abs(first[ANN] - first[BOB]) <= 0.1 * both + 2 * 2 * 1.5, f"{used[-5:]}\n{lab.tail(200)}"
        for job in jobs[ANN] + jobs[BOB]:
            lab.wait_for(job, "COMPLETED", 240)
        texts = [row["text"] for j in jobs[ANN] + jobs[BOB] for row in lab.ask("logs", id=j)["rows"]]
        assert any("gives way to job" in t for t in texts), texts
        lab.ctl("release", alone, uid=ANN)
        lab.wait_for(alone, "COMPLETED", 120)
        ledgers = {lab.ask("show", id=j)["ledger"] for j in jobs[ANN] + jobs[BOB] + [alone]}
        assert len(ledgers) == 1, "whose turn it was reaches no result"


def test_a_gang_that_cannot_be_holds_nobody_up():
    with Lab(spawn=1) as lab:
        large, small = lab.submit_as(None, workers=3), lab.submit_as(None)
        lab.wait_for(small, "COMPLETED", 60)
        assert "needs 3 workers together; 1 connected" in lab.ask("progress", id=large)["reason"]


def test_models_and_data_by_name():
    with Lab(spawn=1) as lab:
        path = lab.job_file()
        lab.ctl("model", "add", "toy", os.path.join(lab.root, "model"))
        lab.ctl("data", "add", "red", os.path.join(lab.root, "red.jsonl"))
        row = lab.json("model", "list")["rows"][0]
        assert (row["name"], row["state"]) == ("toy", "whole") and row["hash"][:12] in lab.ctl("model", "list")
        assert "toy" not in lab.ctl("data", "list")
        assert "already" not in lab.ctl("model", "add", "toy", os.path.join(lab.root, "model"))
        lab.ctl("data", "add", "red", lab.file("other.jsonl", '{"prompt": "x"}\n'), expect=7)
        lab.ctl("data", "add", "Red", os.path.join(lab.root, "red.jsonl"), expect=3)
        bad = lab.ctl("data", "add", "bad", lab.file("bad.jsonl", '{"prompt": "x"}\n{nonsense\n'), expect=3)
        assert "bad.jsonl:2" in bad, bad
        empty = os.path.join(lab.root, "empty")
        os.makedirs(empty, exist_ok=True)
        lab.ctl("model", "add", "none", empty, expect=3)
        sets = ["--set", "models.start=model:toy", "--set", "data.harmful=data:red"]
        job = int(lab.ctl("submit", path, "--parsable", "-q", *sets))
        assert f"job {job}" in lab.ctl("model", "rm", "toy", expect=7)
        lab.wait_for(job, "COMPLETED")
        spec = lab.ask("show", id=job)["spec"]
        assert spec["models"]["start"].endswith("/models/" + row["hash"]), spec["models"]
        plain = int(lab.ctl("submit", path, "--parsable", "-q"))
        lab.wait_for(plain, "COMPLETED")
        assert lab.ask("show", id=plain)["ledger"] == lab.ask("show", id=job)["ledger"]
        assert "--force" in lab.ctl("model", "rm", "toy", expect=7)
        lab.ctl("model", "rm", "toy", "--force")
        lab.ctl("data", "rm", "red", "--force")
        assert os.listdir(os.path.join(lab.root, "state", "models")) == []
        lab.ctl("data", "rm", "red", expect=6)
        said = lab.ctl("submit", path, "-q", *sets, expect=6)
        assert "models.start" in said and "caictl model list" in said, said
        said = lab.ctl("submit", path, "-q", "--set", "models.start=data:red", expect=3)
        assert "data:red" in said, said


def test_wrong_rows_are_told_at_submit():
    with Lab(spawn=0) as lab:
        path = lab.job_file()
        lab.ctl("data", "add", "red", os.path.join(lab.root, "red.jsonl"))
        said = lab.ctl("submit", path, "-q", "--set", "data.human=data:red", expect=3)
        assert "data.human: data:red:1:1" in said and '"chosen"' in said, said
        assert lab.json("jobs", "-a")["rows"] == []


def test_a_path_that_caid_cannot_read():
    if not ROOT:
        print("     skipped: root reads everything, and nobody else can be another user")
        return
    lab = Lab(spawn=0)
    try:
        home = os.path.join(lab.root, "home")
        os.makedirs(home)
        write_folder(os.path.join(home, "my-Model"))
        with open(os.path.join(home, "red.jsonl"), "w") as f:
            f.write('{"prompt": "hello"}\n')
        for root, _, names in os.walk(home):
            for name in [""] + names:
                os.chown(os.path.join(root, name), ANN, ANN)
                os.chmod(os.path.join(root, name), 0o700 if not name else 0o600)
        for folder in ("state", "run"):
            os.makedirs(os.path.join(lab.root, folder))
            os.chown(os.path.join(lab.root, folder), BOB, BOB)
        os.chmod(lab.root, 0o755)
        with open(lab.log, "ab") as log:
            lab.process = subprocess.Popen(
                ["setpriv", f"--reuid={BOB}", f"--regid={BOB}", "--clear-groups",
                 os.path.join(TOYS, "caid"), "--state", lab.state, "--runtime", lab.runtime,
                 "--config", lab.config], stdout=log, stderr=log)
        lab.until(lambda: lab.answers(), 20, "caid answers")
        os.chmod(lab.runtime, 0o755)
        os.chmod(os.path.join(lab.runtime, "control"), 0o777)
        path = lab.job_file()
        model, data = os.path.join(home, "my-Model"), os.path.join(home, "red.jsonl")
        sets = ["--set", f"models.start={model}", "--set", f"data.harmful={data}"]
        said = lab.ctl("submit", path, "-q", *sets, uid=ANN, expect=3)
        help_ = f"'caictl model add my-model {model}', and write models.start: model:my-model"
        assert help_ in said, said
        lab.ctl("model", "add", "my-model", model, uid=ANN)
        sets[1] = "models.start=model:my-model"
        said = lab.ctl("submit", path, "-q", *sets, uid=ANN, expect=3)
        assert f"'caictl data add red.jsonl {data}'" in said, said
        lab.ctl("data", "add", "red.jsonl", data, uid=ANN)
        sets[3] = "data.harmful=data:red.jsonl"
        lab.ctl("submit", path, "-q", *sets, uid=ANN)
        lab.ctl("model", "rm", "my-model", "--force", uid=23453, expect=5)
    finally:
        lab.close()


def test_limits_of_what_is_stored():
    with Lab("upload_mb: 3\nquota_mb: 5\n", spawn=0) as lab:
        def rows(name, mb):
            return lab.file(name, ('{"prompt": "' + "x" * 1000 + f' {name}"}}\n') * (mb * 1000))
        assert "upload_mb" in lab.ctl("data", "add", "large", rows("large", 4), expect=3)
        lab.ctl("data", "add", "one", rows("one", 2))
        lab.ctl("data", "add", "two", rows("two", 2))
        assert "quota_mb" in lab.ctl("data", "add", "three", rows("three", 2), expect=3)
        lab.ctl("data", "rm", "one")
        lab.ctl("data", "add", "three", rows("three", 2))


def test_kill_in_the_middle_of_an_upload():
    """No byte that was acknowledged is sent twice, and there is never half a model."""
    with Lab(spawn=0) as lab:
        big = lab.file("big.jsonl", ('{"prompt": "' + "y" * 9987 + '"}\n') * 8000)  # 80 MB
        models = os.path.join(lab.root, "state", "blobs")
        for kill_at in (20e6, 50e6):
            sender = subprocess.Popen(lab.command(None, "data", "add", "big", big, "--timeout", "60"),
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

            def have():
                if sender.poll() is not None:
                    return -1
                rows = lab.ask("asset.list", kind="data")["rows"]
                return rows[0]["have"] if rows and rows[0]["have"] >= kill_at else 0
            try:
                reached = lab.until(have, 90, "a part is here")
            except Refused:
                reached = 0
            lab.kill()
            sender.kill()
            sender.communicate()
            lab.start()
            if reached < 0:
                print("     it was too quick for a kill")
                continue
            row = lab.ask("asset.list", kind="data")["rows"][0]
            assert row["state"] == "uploading" and row["have"] >= reached, (row, reached)
            assert not os.path.exists(models) or os.listdir(models) == []
        # A client that waits sees the daemon come back, and ends its work.
        sender = subprocess.Popen(lab.command(None, "data", "add", "big", big, "--timeout", "60"),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = sender.communicate(timeout=120)
        assert sender.returncode == 0 and "Stored data 'big' (80.0 MB" in out, out + err
        row = lab.ask("asset.list", kind="data")["rows"][0]
        assert row["state"] == "whole" and os.listdir(models) == [row["hash"]]
        assert os.listdir(os.path.join(lab.root, "state", "uploads")) == []


main([test_two_people_share_and_no_gang_starves, # the longest
      test_a_job_is_its_owners, test_a_stranger_is_no_worker, test_hold_suspend_and_what_is_refused,
      test_priority_decides_among_ones_own, test_a_gang_that_cannot_be_holds_nobody_up,
      test_models_and_data_by_name, test_wrong_rows_are_told_at_submit, test_a_path_that_caid_cannot_read,
      test_limits_of_what_is_stored, test_kill_in_the_middle_of_an_upload], at_once=2)
