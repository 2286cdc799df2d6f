"""points.py: every failpoint, reached by real processes, that ends, aborts or holds its process
there once: the work goes on by itself and ends with the ledger, texts, figures and models of an
undisturbed run.

  points.py PROGRAMS [--actions kill,abort,delay] [--only NAME,…] [--sample N] [--seed S]

PROGRAMS is build-fail/tests/toy of a build with -Dfailpoints=true. The work: three constitutions
are applied and the last one rolled back, the configuration read again, a job that a person must
look at submitted, resumed and watched to its end, another one held, cancelled, taken up again and
cancelled, the database copied. A caid that dies is started again, as systemd does; a request
without an answer is asked again with its key, as caictl does. One task fails once, where that is
asked about. What was not reached is printed. --sample: so many, drawn.

People's review has a work of its own: a reader judges what a job waits for, with a first verdict,
a draft, a skip and two that are taken back; kills come at each pass of its points. What
was acknowledged stands once after each request, the log's chain holds, and the log's rows and
the model that was trained on the verdicts are those of an undisturbed run. --sample: three more.

  points.py PROGRAMS --real --ask ASK

The same in build-fail/tools, with a small real model and two ranks (needs .deps/venv/bin/python),
for the points that only the trainer, a stepped copy of the database, and `caictl export` pass."""
import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import CONSTITUTION, Caid, Refused, ending, files_of, main  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("programs")
parser.add_argument("--actions", default="kill,abort,delay")
parser.add_argument("--only")
parser.add_argument("--sample", type=int)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--real", action="store_true")
parser.add_argument("--ask", help="the program that asks; default: PROGRAMS/ask")
parser.add_argument("--limit", type=float, default=120, help="seconds a run may take")
options = parser.parse_args()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
UNREACHED, STATE = 4, 7
ACTIONS = {"kill": "kill", "abort": "abort", "delay": "delay:700"}


class Work:
    """One run from an empty folder."""

    def __init__(self, point=None, trace=False, fails=False):
        self.root = tempfile.mkdtemp(prefix="caid-test-")
        self.file, self.trace = os.path.join(self.root, "point"), os.path.join(self.root, "trace")
        self.config = os.path.join(self.root, "caid.conf")
        with open(self.config, "w") as f:
            f.write("drain_s: 5\n")
        if point:
            with open(self.file, "w") as f:
                f.write(" ".join(map(str, point)))
        env = {"CAI_FAILPOINT_FILE": self.file}
        if trace:
            env["CAI_FAILPOINT_TRACE"] = self.trace
        if fails:
            env["TOY_FAIL_ONCE"] = os.path.join(self.root, "fail")
            open(env["TOY_FAIL_ONCE"], "w").close()
        self.caid = Caid(options.programs, root=self.root, env=env, ask=options.ask,
                         arguments=["--config", self.config])
        self.caid.own_root = True
        self.end = time.monotonic() + options.limit
        self.starts = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.caid.close()

    def alive(self):
        if not self.caid.process or self.caid.process.poll() is not None:
            self.starts += 1
            assert self.starts < 6, f"caid dies again and again\n{self.caid.tail()}"
            self.caid.start(wait=False)

    def ask(self, verb, key="", **arguments):
        """Until there is an answer; a refusal is one."""
        while True:
            self.alive()
            try:
                return self.caid.ask(verb, key, **arguments)
            except Refused as e:
                if e.code != UNREACHED:
                    raise
            assert time.monotonic() < self.end, f"no answer to {verb}\n{self.caid.tail()}"
            time.sleep(0.05)

    def change(self, verb, key, **arguments):
        """A caid that died between a change and the note of its key refuses the second time what
        has happened: that is told by the state, not by the answer."""
        try:
            return self.ask(verb, key, **arguments)
        except Refused:
            if not self.starts:
                raise
            return None

    def state(self, job):
        return self.ask("progress", id=job)["state"]

    def until(self, job, *states):
        while True:
            p = self.ask("progress", id=job)
            if p["state"] in states:
                return p
            assert p["state"] not in ("FAILED", "CANCELLED"), f"{p['reason']}\n{self.caid.tail()}"
            assert time.monotonic() < self.end, f"the job is {p['state']}\n{self.caid.tail()}"
            time.sleep(0.05)

    def submit(self, key, **changes):
        data = os.path.join(self.root, "red.jsonl")
        with open(data, "w") as f:
            f.write('{"prompt": "hello"}\n')
        hold = changes.pop("hold", False)
        spec = {"job": 1, "name": "gated", "seed": 1, "models": {"start": self.caid.model()},
                "constitution": "house", "data": {"harmful": data}, "workers": 2, "rounds": 2}
        spec.update(changes)
        return self.ask("submit", key, spec=spec, canonical=CONSTITUTION, hold=hold)["id"]

    def constitutions(self):
        """Back by one: asked again after a crash, it is not gone back by two."""
        forms = [CONSTITUTION.replace("kindly", word) for word in ("kindly", "more kindly", "well")]
        made = [self.ask("constitution.apply", f"a{i}", canonical=f)["revision"]
                for i, f in enumerate(forms)]
        back = self.ask("constitution.rollback", "b1", name="house")
        assert (back["revision"], back["previous"]) == (made[1], made[2]), back
        rows = self.ask("constitution.list", name="house")["rows"]
        now = {r["revision"]: r["current"] for r in rows}
        assert now == dict(zip(made, [False, True, False])), rows
        return made

    def other_job(self):
        job = self.submit("j2", name="other", hold=True)
        self.change("cancel", "c1", id=job)
        assert self.state(job) == "CANCELLED"
        self.change("requeue", "q1", id=job)
        assert self.state(job) in ("PENDING", "RUNNING")
        self.change("cancel", "c2", id=job)
        return self.state(job)

    def backup(self):
        while True:
            self.ask("backup")
            try:
                while self.ask("backup.state")["pending"]:
                    time.sleep(0.02)
            except Refused:
                continue  # it was told that the copy failed: it asks for another
            path = os.path.join(self.caid.state, "backup.db")
            if os.path.exists(path) and not os.path.exists(path + "-journal"):
                return
            assert time.monotonic() < self.end, "no backup"

    def reload(self):
        self.ask("ping")
        try:
            self.caid.process.send_signal(signal.SIGHUP)
        except ProcessLookupError:
            pass

    def states(self, job):
        """Folders of resumable states, which a training that is done has no more."""
        folder = self.ask("show", id=job)["work_dir"]
        return [name for name in os.listdir(folder) if name.endswith(".ckpt")]

    def cleared(self, job):
        while self.states(job):
            assert time.monotonic() < self.end, f"left behind: {self.states(job)}\n{self.caid.tail()}"
            self.alive()
            time.sleep(0.05)

    def terminate(self):
        self.alive()
        self.caid.process.send_signal(signal.SIGTERM)
        self.caid.process.wait(30)
        self.starts = min(self.starts, 1)

    def run(self):
        rules = self.constitutions()
        self.reload()
        job = self.submit("j1")
        self.until(job, "WAITING_REVIEW")
        self.change("resume", "r1", id=job, accept="look")
        self.terminate()  # as a restart of the service
        self.backup()
        self.until(job, "COMPLETED")
        self.cleared(job)
        result = {"rules": rules, "other": self.other_job(), **ending(self.ask, job)}
        self.terminate()
        return result

    def fired(self):
        return not os.path.exists(self.file)


class ReadWork(Work):
    """A reader's verdicts on the pairs that a job waits for, the last of which lets it go on."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.said, self.head = {}, ""

    def log(self):
        rows = self.ask("review.export", job=self.job, what="audit")["rows"]
        events = [r for r in rows if r["type"] == "event"]
        for r in events:
            r["body"] = {k: v for k, v in json.loads(r["body"]).items() if k != "opened_ms"}
        return events

    def check(self):
        """What was acknowledged stands, once, and no row that was there before is gone."""
        events = self.log()
        undone = {r["undoes"] for r in events}
        stands = [(r["item"], r["event"], r["body"]) for r in events
                  if r["event"] != "undo" and r["seq"] not in undone]
        assert sorted(stands, key=repr) == sorted(self.said.values(), key=repr), (stands, self.said)
        audit = self.ask("review.audit", head=self.head)
        assert audit["whole"] and audit["rows"] == len(events), audit
        assert not self.head or audit["known"], audit
        self.head = audit["head"]

    def once(self, verb, key, **arguments):
        """Refused only when a caid that died had done it already."""
        try:
            return self.ask(verb, key, **arguments)
        except Refused as e:
            if not self.starts or e.code != STATE:
                raise
            return None

    def say(self, key, event, item, **body):
        verb = {"first": "review.first", "final": "review.submit", "skip": "review.skip"}[event]
        arguments = body if event == "skip" else {"verdict": body}
        self.once(verb, key, item=item, **arguments)
        self.said[event, item] = (item, event, body)
        self.check()

    def undo(self, key, event, item):
        assert self.ask("review.undo", key) == {"id": item, "undone": event}
        del self.said[event, item]
        self.check()

    def open(self, item):
        return self.ask("review.open", item=item)

    def read(self, a, b, c, d):
        draft = {"verdict": 3, "note": "not sure"}
        version = self.open(a)["version"]
        self.once("review.draft", "d1", item=a, version=version, draft=draft)
        shown = self.open(a)
        assert (shown["draft"], shown["version"]) == (draft, version + 1), shown
        self.say("s1", "final", a, verdict=2, severity=1, critiques=[{"id": 1, "state": "keep"}])
        assert self.open(b)["critiques"] == [], "no help before the first verdict"
        self.say("f1", "first", b, verdict=5, severity=0)
        self.say("s2", "final", b, verdict=6, severity=2, note="I looked again")
        self.say("k1", "skip", c, reason="I know the writer")
        self.undo("u1", "skip", c)
        self.say("s3", "final", c, verdict=7)
        self.undo("u2", "final", c)
        assert self.open(c)["draft"] == {"verdict": 7}
        self.say("s4", "final", c, verdict=1, severity=0)
        assert self.state(self.job) == "WAITING_REVIEW"
        self.say("s5", "final", d, verdict=4)  # the job goes on

    def run(self):
        self.job = self.submit("j1", name="read", rounds=1)
        self.until(self.job, "WAITING_REVIEW")
        items = self.ask("review.queue", job=self.job)["items"]
        self.read(*(i["id"] for i in items))
        self.until(self.job, "COMPLETED")
        self.check()
        progress = self.ask("review.progress", job=self.job)
        keep = ("job", "item", "seq", "reader", "event", "body", "undoes")
        result = {"log": [{k: r[k] for k in keep} for r in self.log()],
                  "queues": progress["queues"], **ending(self.ask, self.job)}
        self.terminate()
        return result


class RealWork(Work):
    """Each stage of a small model, a copy of the database, and the model put into a folder."""

    def accepted(self, job):
        while True:
            p = self.until(job, "COMPLETED", "WAITING_REVIEW")
            if p["state"] == "COMPLETED":
                return
            self.change("resume", "r-" + p["gate"], id=job, accept=p["gate"])

    def export(self, job):
        out = os.path.join(self.root, "exported")
        while True:
            shutil.rmtree(out, ignore_errors=True)
            run = subprocess.run([os.path.join(options.programs, "caictl"), "--server", self.caid.server,
                                  "export", str(job), "model", "--out", out],
                                 env=self.caid.env, capture_output=True, text=True)
            if run.returncode == 0:  # the card beside them tells of dates and folders
                return [f for f in files_of(out) if f[0].endswith(".safetensors")]
            assert run.returncode < 0 or time.monotonic() < self.end, run.stderr
            self.alive()

    def run(self):
        from checkpoint import short_job  # needs the virtual environment
        spec, canonical = short_job(self.root)
        job = self.ask("submit", "j1", spec=spec, canonical=canonical)["id"]
        self.accepted(job)
        self.backup()
        self.cleared(job)
        result = {"exported": self.export(job), **ending(self.ask, job)}
        self.terminate()
        return result


def undisturbed(kind):
    with kind(trace=True, fails=kind is Work) as work:
        began = time.monotonic()
        result = work.run()
        with open(work.trace) as f:
            return result, collections.Counter(f.read().split()), time.monotonic() - began


def all_points():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "daemon", "base",
                        "failpoint.c")
    with open(path) as f:
        table = f.read().split("cai_failpoints[] = {")[1].split("NULL}")[0]
    return [part for part in table.split('"')[1::2]]


def is_of(kind, name):
    """Whose work runs a point that several pass."""
    only_real = ("weights.", "checkpoint.", "model.", "backup.step", "export.")
    return kind is (ReadWork if name.startswith("review.") else
                    Work if not options.real else RealWork if name.startswith(only_real) else None)


def cases_of(kind, passes, rng):
    """(name, action, pass): one pass of each, drawn; kills of people's review at all."""
    names = [n for n in all_points() if passes[n] and is_of(kind, n)]
    found = [(n, a, at) for n in names for a in options.actions.split(",")
             for at in (range(1, passes[n] + 1) if kind is ReadWork and a == "kill"
                        else [rng.randint(1, min(passes[n], 9))])]
    if options.only:
        found = [c for c in found if c[0] in options.only.split(",")]
    if options.sample:
        found = rng.sample(found, min(3 if kind is ReadWork else options.sample, len(found)))
    return names, found


def disturbed(kind, case, expected):
    """Whether the point did it."""
    name, action, at = case
    with kind((name, ACTIONS[action], at), fails=name.startswith("failure.")) as work:
        got = work.run()
        for key, value in expected.items():
            assert got[key] == value, f"{key} differ\n{work.caid.tail()}"
        return work.fired()


def run_cases(kind, cases, expected):
    fired, wrong, began = 0, [], time.monotonic()
    for case in cases:
        try:
            fired += disturbed(kind, case, expected)
        except (AssertionError, Refused) as e:
            wrong.append("{} {} at pass {}: {}".format(*case, e))
            print("     WRONG " + wrong[-1], flush=True)
    print(f"     {len(cases)} runs, {fired} points did it, in {time.monotonic() - began:.0f} s",
          flush=True)
    assert not wrong, "\n".join(w.split("\n")[0] for w in wrong)


def test_points():
    kind = RealWork if options.real else Work
    expected, passes, lasts = undisturbed(kind)
    assert len(expected["texts"]) >= 96 and len(expected["weights"]) >= 3
    reached, cases = cases_of(kind, passes, random.Random(options.seed))
    others = [] if options.real else [n for n in all_points() if is_of(ReadWork, n)]
    print(f"     {len(all_points())} failpoints, {len(reached)} reached in {lasts:.1f} s; not: "
          + ", ".join(n for n in all_points() if not passes[n] and n not in others), flush=True)
    assert len(reached) >= (15 if options.real else 80), reached
    run_cases(kind, cases, expected)


def test_points_of_review():
    expected, passes, lasts = undisturbed(ReadWork)
    assert [r["seq"] for r in expected["log"]] == list(range(1, 10)), expected["log"]
    assert [q["done"] for q in expected["queues"]] == [4] and len(expected["weights"]) == 2
    reached, cases = cases_of(ReadWork, passes, random.Random(options.seed))
    print(f"     {len(reached)} more reached in {lasts:.1f} s: "
          + ", ".join(f"{n} {passes[n]} times" for n in reached), flush=True)
    assert len(reached) == 2 and passes[reached[0]] >= 14, passes
    run_cases(ReadWork, cases, expected)


main([test_points] if options.real else [test_points, test_points_of_review])
