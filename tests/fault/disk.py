"""disk.py: a full disk pauses a job with a reason; space again, and it goes on by itself and
ends with the ledger and the models of an undisturbed run.

  disk.py PROGRAMS [--real --ask ASK]

PROGRAMS is the folder with caid and cai-worker: build/tests/toy, or, with --real (needs
.deps/venv/bin/python), build/tools: then a random checkpoint goes through every stage. The
disk is a small tmpfs in a mount namespace of this process's own; where that is not permitted,
a limit on the size of caid's files stands in."""
import argparse
import functools
import os
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import Caid, main  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("programs")
parser.add_argument("--real", action="store_true")
parser.add_argument("--ask", help="the program that asks; default: PROGRAMS/ask")
options = parser.parse_args()


def own_namespace():
    """Starts this program again where its mounts are its own; returns why not."""
    if os.environ.get("CAID_TEST_NAMESPACE"):
        return os.environ["CAID_TEST_NAMESPACE"]
    unshare = ["unshare", "--mount"] + ([] if os.getuid() == 0 else ["--user", "--map-root-user"])
    tried = subprocess.run(unshare + ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"],
                           capture_output=True, text=True)
    why = "" if tried.returncode == 0 else (tried.stderr.strip() or "unshare failed")
    os.environ["CAID_TEST_NAMESPACE"] = why or "own"
    if not why:
        os.execvp("unshare", unshare + [sys.executable] + sys.argv)
    return why


NAMESPACE = own_namespace()


def start(root=None, arguments=()):
    more = ["--threads-per-worker", "1"] if options.real else []
    caid = Caid(options.programs, ask=options.ask, root=root, arguments=[*arguments, *more])
    return caid.start()


def submit(caid):
    if not options.real:
        return caid.submit()
    from checkpoint import sampling, short_job
    spec, canonical = short_job(caid.root, stages__ppo={
        "steps": 16, "rollouts": 8, "rollout": sampling(16), "checkpoint_every": 1})
    return caid.ask("submit", spec=spec, canonical=canonical)["id"]


def wait(caid, job, *states):
    """What a person must look at is accepted at once."""
    while True:
        p = caid.wait_for(job, [*states, "FAILED", "WAITING_REVIEW"], 300)
        if p["state"] in states:
            return p
        assert p["state"] != "FAILED", p["reason"]
        caid.ask("resume", id=job, accept=p["gate"])


def training(caid, job):
    """A gang is in the middle of its steps; of the last stage that trains, when real."""
    def look():
        p = caid.ask("progress", id=job)
        if p["state"] == "WAITING_REVIEW":
            caid.ask("resume", id=job, accept=p["gate"])
        assert p["state"] not in ("COMPLETED", "FAILED"), p
        return p["unit"] == "steps" and p["done"] >= 3 and (p["stage"] == "ppo" or not options.real)
    caid.until(look, 300, "a gang trains")


def outcome(caid, job):
    show = caid.ask("show", id=job)
    return show["ledger"], [(m["round"], m["stage"], m["kind"], m["k"], m["hash"])
                            for m in show["models"]]


@functools.cache
def expected():
    caid = start()
    try:
        job = submit(caid)
        wait(caid, job, "COMPLETED")
        return outcome(caid, job)
    finally:
        caid.close()


def fill(path):
    """Takes all the space there is, to the last byte."""
    with open(path, "wb", buffering=0) as f:
        for size in (65536, 4096, 512, 1):
            try:
                while f.write(b"x" * size) == size:
                    pass
            except OSError:
                pass


def run_on(root, take, give):
    caid = start(root, ["--config", config(root)])
    try:
        job = submit(caid)
        training(caid, job)
        take(caid)
        p = caid.wait_for(job, "SUSPENDED", 60)
        assert p["reason"], p
        print(f"     {p['stage']} paused with: {p['reason']}")
        give(caid)
        wait(caid, job, "COMPLETED")
        assert outcome(caid, job) == expected(), "the outcomes differ"
        texts = [row["text"] for row in caid.ask("logs", id=job)["rows"]]
        assert texts[-1] == "COMPLETED", texts
    finally:
        caid.close()


def config(root):
    """A threshold below which nothing is: the writes themselves must fail."""
    path = os.path.join(root, "caid.yaml")
    with open(path, "w") as f:
        f.write("min_free_mb: 1\n")
    return path


def test_full_disk():
    if NAMESPACE != "own":
        print(f"     skipped, a file system of its own is not permitted: {NAMESPACE}")
        return
    root = tempfile.mkdtemp(prefix="caid-disk-")
    size = "48m" if options.real else "24m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root], check=True)
    ballast = os.path.join(root, "ballast")
    try:
        run_on(root, lambda caid: fill(ballast), lambda caid: os.unlink(ballast))
    finally:
        subprocess.run(["umount", "-l", root], check=True)
        os.rmdir(root)


def test_limit_on_file_size():
    if options.real and NAMESPACE == "own":
        print("     a full disk was real")
        return

    def take(caid):
        wal = os.path.getsize(os.path.join(caid.state, "caid.db-wal"))
        limit = max(4096, wal // 2)
        resource.prlimit(caid.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def give(caid):
        resource.prlimit(caid.process.pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as root:
        run_on(root, take, give)


main([test_full_disk, test_limit_on_file_size])
