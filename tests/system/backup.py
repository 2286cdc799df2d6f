"""backup.py TOY TOOLS: a backup while jobs run, restored into another folder, goes on as the
same jobs; damage is found; old ones are removed with what only they named."""
import glob
import os
import subprocess
import sys

from harness import Caid, main

TOY, TOOLS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])


def caictl(*arguments, server="ipc:///nonexistent"):
    return subprocess.run([f"{TOOLS}/caictl", "-s", server, *arguments], capture_output=True,
                          text=True)


def backup(c, *more):
    out = caictl("backup", os.path.join(c.root, "backups"), *more, server=c.server)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()


def restored_state_is_the_same():
    with Caid(TOY) as c:
        job = c.submit()
        early = backup(c)  # while it runs
        c.wait_for(job, "COMPLETED")
        whole, ledger = backup(c), c.ask("show", id=job)["ledger"]
        state = os.path.join(c.root, "restored")
        out = caictl("restore", whole, state)
        assert out.returncode == 0, out.stderr
        assert caictl("restore", whole, state).returncode == 7, "it would have overwritten a database"
        assert caictl("restore", whole, c.state).returncode == 7, "a running caid's folder"
        for name in os.listdir(os.path.join(c.state, "blobs")):
            with open(os.path.join(c.state, "blobs", name), "rb") as a, \
                    open(os.path.join(state, "blobs", name), "rb") as b:
                assert a.read() == b.read()
        c.stop()
        c.state = state
        c.start()
        shown = c.ask("show", id=job)
        assert (shown["state"], shown["ledger"]) == ("COMPLETED", ledger), shown
        c.stop()
        # The early one holds a job that is not finished: it goes on, to the same end.
        c.state = os.path.join(c.root, "earlier")
        assert caictl("restore", early, c.state).returncode == 0
        c.start()
        c.wait_for(job, "COMPLETED")
        assert c.ask("show", id=job)["ledger"] == ledger


def damage_is_found_and_old_ones_go():
    with Caid(TOY) as c:
        c.wait_for(c.submit(), "COMPLETED")
        made = [backup(c, "--keep", "2") for _ in range(3)]
        assert [os.path.exists(m) for m in made] == [False, True, True], made
        blob = sorted(glob.glob(os.path.join(c.root, "backups", "blobs", "*")))[0]
        with open(blob, "r+b") as f:
            byte = f.read(1)
            f.seek(0)
            f.write(bytes([byte[0] ^ 1]))
        out = caictl("restore", made[-1], os.path.join(c.root, "damaged"))
        assert out.returncode == 3 and os.path.basename(blob)[:20] in out.stderr, out.stderr
        assert not os.path.exists(os.path.join(c.root, "damaged", "caid.db"))
        with open(os.path.join(made[-1], "caid.db"), "ab") as f:
            f.write(b"x")
        assert caictl("restore", made[-1], os.path.join(c.root, "more")).returncode == 3


main([restored_state_is_the_same, damage_is_found_and_old_ones_go])
