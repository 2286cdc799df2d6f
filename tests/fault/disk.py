"""disk.py: a full disk pauses a job with a reason; space again, and it goes on by itself and
ends with the ledger of an undisturbed run. `disk.py PROGRAMS`. The disk is a small tmpfs
when that can be mounted; otherwise a limit on the size of caid's files stands in."""
import os
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import Caid, main  # noqa: E402

PROGRAMS = sys.argv[1]


def expected():
    with Caid(PROGRAMS) as caid:
        job = caid.submit()
        caid.wait_for(job, "COMPLETED")
        return caid.ask("show", id=job)["ledger"]


def mount(size):
    path = tempfile.mkdtemp(prefix="caid-disk-")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
                          capture_output=True)
    if done.returncode == 0:
        return path
    os.rmdir(path)
    return None


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
    caid = Caid(PROGRAMS, root=root, arguments=["--config", config(root)]).start()
    try:
        job = caid.submit()
        caid.until(lambda: caid.ask("progress", id=job)["stage"] == "train", 30, "training")
        take(caid)
        p = caid.wait_for(job, "SUSPENDED", 30)
        assert p["reason"], p
        give(caid)
        caid.wait_for(job, "COMPLETED", 60)
        assert caid.ask("show", id=job)["ledger"] == expected(), "the ledgers differ"
        print(f"     paused with: {p['reason']}")
    finally:
        caid.close()


def config(root):
    """A threshold below which nothing is: the writes themselves must fail."""
    path = os.path.join(root, "caid.yaml")
    with open(path, "w") as f:
        f.write("min_free_mb: 1\n")
    return path


def test_full_disk():
    root = mount("24m")
    if not root:
        print("     no tmpfs here: only the limit on file sizes is tested")
        return
    ballast = os.path.join(root, "ballast")
    try:
        run_on(root, lambda caid: fill(ballast), lambda caid: os.unlink(ballast))
    finally:
        subprocess.run(["umount", "-l", root], check=True)
        os.rmdir(root)


def test_limit_on_file_size():
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
