"""harness.py: starts a caid in a temporary folder and asks it things. For system and fault
tests; knows nothing of any one test."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from folder import write_folder

CONSTITUTION = """{"constitution": 1, "name": "house", "principles": [{"id": "kind",
 "critique": "Say what is unkind in the last reply.", "revision": "Rewrite it kindly.",
 "choice": "Which reply is kinder?"}]}"""


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(f"exit {code}: {text}")
        self.code, self.text = code, text


class Caid:
    """A caid with its state and runtime folders. `programs` holds caid, cai-worker and ask."""

    def __init__(self, programs, spawn=2, root=None, env=None, arguments=(), ask=None):
        self.programs, self.spawn, self.arguments = programs, spawn, list(arguments)
        self.asks = ask or os.path.join(programs, "ask")
        self.own_root = root is None
        self.root = root or tempfile.mkdtemp(prefix="caid-test-")
        self.state = os.path.join(self.root, "state")
        self.runtime = os.path.join(self.root, "run")
        self.log = os.path.join(self.root, "log")
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.server = f"ipc://{self.runtime}/control"

    def start_with(self, answers):
        self.start(wait=False)
        self.until(answers, 15, "caid answers")
        return self

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.programs, "caid"), "--state", self.state, "--runtime",
                 self.runtime, "--spawn", str(self.spawn)] + self.arguments, stdout=log, stderr=log, env=self.env)
        if wait:
            self.until(lambda: self.answers(), 10, "caid answers")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"caid ended with {self.process.returncode}\n{self.tail()}")
        try:
            return self.ask("ping")["epoch"] > 0
        except Refused:
            return False

    def ask(self, verb, key="", **arguments):
        out = subprocess.run([self.asks, self.server, verb,
                              json.dumps(arguments), key], capture_output=True, text=True)
        if out.returncode:
            raise Refused(out.returncode, out.stderr.strip())
        return json.loads(out.stdout)

    def until(self, condition, limit, what):
        end = time.monotonic() + limit
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {limit} s: {what}\n{self.tail()}")
            time.sleep(0.05)

    def workers(self):
        return self.ask("workers")["rows"]

    def wait_for(self, job, states, limit=60):
        states = [states] if isinstance(states, str) else states

        def look():
            p = self.ask("progress", id=job)
            return p if p["state"] in states else None
        return self.until(look, limit, f"job {job} is {states}")

    def model(self):
        return write_folder(os.path.join(self.root, "model"))

    def submit(self, key="", **changes):
        data = os.path.join(self.root, "red.jsonl")
        with open(data, "w") as f:
            f.write('{"prompt": "hello"}\n')
        spec = {"job": 1, "name": "toy", "seed": 1, "models": {"start": self.model()},
                "constitution": "house", "data": {"harmful": data}, "workers": 2, "rounds": 2}
        spec.update(changes)
        return self.ask("submit", key, spec=spec, canonical=CONSTITUTION)["id"]

    def stop(self, limit=30):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def tail(self, lines=40):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        if self.own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()


def files_of(folder):
    """(name, SHA-256) of every file below a folder."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as f:
                found.append((os.path.relpath(path, folder),
                              hashlib.sha256(f.read()).hexdigest()))
    return sorted(found)


def ending(ask, job):
    """All of a job that must be equal however it got there, free of times and folders."""
    show = ask("show", id=job)
    models = [(m["round"], m["stage"], m["kind"], m["k"], m["step"], m["hash"])
              for m in show["models"]]
    weights = [files_of(m["path"]) for m in show["models"]]
    texts, after = [], 0
    while after is not None:
        page = ask("export", id=job, what="examples", after=after)
        texts += [(r["round"], r["stage"], r["item"], r["k"], r["kind"], r["text"])
                  for r in page["rows"]]
        after = page["next"]
    metrics = [(r["round"], r["stage"], r["step"], r["name"], r["value"])
               for r in ask("metrics", id=job)["rows"]
               if not any(w in r["name"] for w in ("second", "per_s", "time"))]
    return {"ledger": show["ledger"], "models": models, "weights": weights, "texts": texts,
            "metrics": metrics}


def run_one(test):
    """Whether it passed; its name and what went wrong are printed."""
    began = time.monotonic()
    try:
        test()
        print(f"ok   {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        return True
    except Exception as e:  # every test is run; the first trace is enough to see why
        print(f"FAIL {test.__name__}: {e}", flush=True)
        traceback.print_exc()
        return False


def begin(test):
    """A process of its own, whose words are kept until it ends: (pid, file)."""
    words = tempfile.TemporaryFile()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
        passed = False
        try:
            passed = run_one(test)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0 if passed else 1)
    return pid, words


def end_one(running):
    """Waits for one of {pid: file} and tells its words; whether it passed."""
    pid, status = os.waitpid(-1, 0)
    with running.pop(pid) as words:
        words.seek(0)
        print(words.read().decode(errors="replace"), end="", flush=True)
    return status == 0


def main(tests, at_once=1):
    """Runs functions in order; `at_once`: so many side by side, each a process of its own, for those
    that mostly wait and share nothing."""
    if at_once == 1:
        sys.exit(0 if all([run_one(t) for t in tests]) else 1)
    running, good = {}, True
    for test in tests:
        if len(running) == at_once:
            good = end_one(running) and good
        pid, words = begin(test)
        running[pid] = words
    while running:
        good = end_one(running) and good
    sys.exit(0 if good else 1)
