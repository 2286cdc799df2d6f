"""toy.py: the coordinator with toy stages and workers: states, refusals, gates, retries, a
full disk, stopping and restarting. `toy.py PROGRAMS`; PROGRAMS holds caid, cai-worker, ask."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from folder import write_folder  # noqa: E402
from harness import CONSTITUTION, Caid, Refused, main  # noqa: E402

PROGRAMS = sys.argv[1]


def refused(code, f, *a, **k):
    try:
        f(*a, **k)
    except Refused as e:
        assert e.code == code, f"exit {e.code} instead of {code}: {e.text}"
        return e.text
    raise AssertionError("was not refused")


def test_starts_fast_and_stays_small():
    began = time.monotonic()
    with Caid(PROGRAMS, spawn=0) as caid:
        started = time.monotonic() - began
        with open(f"/proc/{caid.process.pid}/status") as f:
            rss = [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0] / 1024
        assert started < 1.0, f"{started:.2f} s to start"
        if "asan" not in os.path.realpath(PROGRAMS):
            assert rss <= 20, f"{rss:.1f} MB"
        print(f"     started in {started:.2f} s, {rss:.1f} MB")


def test_a_dry_run_measures_and_leaves_nothing():
    """The toy's stages have no arithmetic of theirs; what is shown is the rehearsal's course."""
    def estimate(caid, key):
        data = os.path.join(caid.root, "red.jsonl")
        with open(data, "w") as f:
            f.write('{"prompt": "hello"}\n')
        spec = {"job": 1, "name": "toy", "seed": 1, "models": {"start": caid.model()},
                "constitution": "house", "data": {"harmful": data}, "workers": 2, "rounds": 2}
        return caid.ask("estimate", key, spec=spec, canonical=CONSTITUTION)["ticket"]

    def finished(caid, ticket):
        said = caid.ask("estimated", ticket=ticket)
        return None if said["pending"] else said["estimate"]

    with Caid(PROGRAMS) as caid:
        caid.until(lambda: len(caid.workers()) == 2, 10, "workers")
        ticket = estimate(caid, "first")
        assert estimate(caid, "first") == ticket, "the same key is the same dry run"
        said = caid.until(lambda: finished(caid, ticket), 40, "it is measured")
        assert len(said["rows"]) == 5 and said["disk"]["bytes"] > 0, said
        # A worker that is lost in the middle: its task is begun again by another.
        ticket = estimate(caid, "second")
        busy = caid.until(lambda: [w for w in caid.workers() if w["state"] == "busy"], 20, "work")
        os.kill(busy[0]["pid"], signal.SIGKILL)
        caid.until(lambda: finished(caid, ticket), 60, "it is measured")
        assert caid.ask("jobs", all=True)["rows"] == []
        assert os.listdir(os.path.join(caid.state, "estimates")) == []
        refused(6, caid.ask, "estimated", ticket=12345)
        job = caid.submit("key")
        caid.wait_for(job, "COMPLETED")
        phases = caid.ask("phases", id=job)["rows"]
        assert sum(p["tasks"] for p in phases) > 10 and phases[0]["round"] == 1, phases
    with Caid(PROGRAMS, spawn=0) as caid:
        ticket = estimate(caid, "third")
        assert caid.ask("estimated", ticket=ticket)["doing"] == "waiting for a worker"
        caid.kill()
        os.makedirs(os.path.join(caid.state, "estimates", "left"))
        caid.start()
        assert not os.path.exists(os.path.join(caid.state, "estimates")), "a restart forgets it"
        refused(6, caid.ask, "estimated", ticket=ticket)


def test_a_job_ends_and_says_how_it_went():
    with Caid(PROGRAMS) as caid:
        job = caid.submit("key")
        assert caid.submit("key") == job, "the same key is the same job"
        p = caid.wait_for(job, "COMPLETED")
        assert all(s["state"] == "done" for s in p["stages"]) and len(p["stages"]) == 5
        show = caid.ask("show", id=job)
        assert show["numeric_class"] == "toy" and len(show["models"]) == 3
        assert caid.ask("export", id=job, what="model")["rows"][0]["path"].endswith("last-3")
        assert not os.path.exists(os.path.join(show["work_dir"], "last-3.ckpt"))
        assert os.listdir(os.path.join(caid.state, "gangs")) == []
        report = caid.ask("report", id=job)
        assert any(s["name"] == "loss" and len(s["points"]) == 24 for s in report["series"])
        texts = [r["text"] for r in caid.ask("logs", id=job)["rows"]]
        assert texts[-1] == "COMPLETED", texts
        assert caid.ask("jobs")["rows"][0]["id"] == job
        assert caid.stop() == 0


def test_requests_are_checked():
    with Caid(PROGRAMS, spawn=0) as caid:
        refused(9, caid.ask, "conquer")
        refused(2, caid.ask, "progress")
        refused(2, caid.ask, "progress", id="one")
        refused(2, caid.ask, "progress", id=1, more=1)
        refused(6, caid.ask, "progress", id=1)
        refused(6, caid.ask, "constitution.show", ref="nobody")
        refused(3, caid.ask, "submit", "k", spec={"name": "x"}, canonical=CONSTITUTION)
        refused(3, caid.submit, models={"start": "/nonexistent"})
        bad = write_folder(os.path.join(caid.root, "bad"), {"model.safetensors": b"\x02\0\0\0"})
        assert "model.safetensors" in refused(3, caid.submit, models={"start": bad})
        text = refused(3, caid.submit, data={"harmful": "/nonexistent.jsonl"})
        assert "'caictl data add nonexistent.jsonl /nonexistent.jsonl'" in text, text
        assert caid.ask("jobs", all=True)["rows"] == [], "a refused job left something"


def test_a_person_decides():
    with Caid(PROGRAMS) as caid:
        job = caid.submit(name="gated")
        p = caid.wait_for(job, "WAITING_REVIEW")
        assert p["gate"] == "look" and p["reason"] == "a person must look"
        refused(7, caid.ask, "resume", id=job)
        refused(7, caid.ask, "resume", id=job, accept="other")
        caid.stop()
        caid.start()
        assert caid.ask("progress", id=job)["state"] == "WAITING_REVIEW"
        caid.ask("resume", "k", id=job, accept="look")
        caid.wait_for(job, "COMPLETED")
        assert caid.ask("show", id=job)["accepted"] == ["look"]


def test_held_cancelled_requeued():
    with Caid(PROGRAMS) as caid:
        spec_job = caid.submit()
        caid.until(lambda: caid.ask("progress", id=spec_job)["stage"] == "train", 30, "training")
        assert caid.ask("cancel", id=spec_job)["state"] == "CANCELLED"
        caid.until(lambda: all(w["state"] == "idle" for w in caid.workers()), 10, "all idle")
        assert caid.ask("requeue", id=spec_job)["state"] == "PENDING"
        caid.wait_for(spec_job, "COMPLETED")
        refused(7, caid.ask, "requeue", id=spec_job)
        refused(7, caid.ask, "cancel", id=spec_job)


def test_jobs_wait_their_turn():
    with Caid(PROGRAMS) as caid:
        a, b = caid.submit(), caid.submit()
        caid.wait_for(a, "COMPLETED")
        caid.wait_for(b, "COMPLETED")
        first, second = caid.ask("show", id=a), caid.ask("show", id=b)
        assert first["finished_ms"] < second["finished_ms"]
        assert first["ledger"] == second["ledger"], "equal jobs, equal ledgers"


def test_bounded_retries():
    with Caid(PROGRAMS, env={"TOY_FAIL": "-3"}) as caid:
        job = caid.submit()
        p = caid.wait_for(job, ["FAILED", "COMPLETED"], 40)
        assert p["state"] == "FAILED" and "3 times" in p["reason"], p


def test_numbers_that_are_wrong_are_not_tried_again():
    with Caid(PROGRAMS, env={"TOY_FAIL": "-11"}) as caid:
        job = caid.submit()
        p = caid.wait_for(job, ["FAILED", "COMPLETED"], 20)
        assert p["state"] == "FAILED" and "told to fail" in p["reason"], p
        texts = [r["text"] for r in caid.ask("logs", id=job)["rows"]]
        assert not any("attempt" in t for t in texts), texts


def worker_of(caid, name, memory, **env):
    """A worker that nobody spawned."""
    return subprocess.Popen([os.path.join(PROGRAMS, "cai-worker"), "--connect", f"ipc://{caid.runtime}/worker",
                             "--state", caid.state, "--name", name, "--threads", "1", "--device", "cpu"],
                            env=dict(os.environ, TOY_MEMORY=str(memory), **env), stderr=subprocess.DEVNULL)


def test_a_job_must_fit_its_workers():
    with Caid(PROGRAMS, env={"TOY_MEMORY": "2000000"}) as caid:
        caid.until(lambda: len(caid.workers()) == 2, 20, "both workers")
        assert [w["memory"] for w in caid.workers()] == [1000000] * 2, "workers of a host share it"
        said = refused(3, caid.submit)
        assert all(x in said for x in ("ppo takes 1 MB", "KV 133 kB for 64 × 64", "moments",
                                       "the largest has 1 MB", "switch stages.ppo off")), said
        assert caid.ask("jobs", all=True)["rows"] == [], "a refused job left something"
        spec = {"stages": {"ppo": {"enabled": False}, "prefer": {"enabled": False}, "sft": {"enabled": False}}}
        caid.wait_for(caid.submit(**spec), "COMPLETED")


def test_a_job_that_came_first_must_fit_too():
    with Caid(PROGRAMS, spawn=0) as caid:
        job = caid.submit(workers=1)
        small = worker_of(caid, "small", 1000000)
        p = caid.wait_for(job, "FAILED", 20)
        assert "ppo takes 1 MB" in p["reason"] and "0 of 1 workers" in p["reason"], p
        texts = [r["text"] for r in caid.ask("logs", id=job)["rows"]]
        assert not any("numeric class" in t for t in texts), "a task began"
        large = worker_of(caid, "large", 9000000)
        caid.until(lambda: len(caid.workers()) == 2, 20, "both workers")
        assert caid.ask("requeue", id=job)["state"] == "PENDING"
        seen = set()

        def over():
            seen.update(w["name"] for w in caid.workers() if w["state"] == "busy")
            return caid.ask("progress", id=job)["state"] == "COMPLETED"
        caid.until(over, 60, "the job ends")
        assert seen == {"large"}, seen
        for p in (small, large):
            p.terminate()
            p.wait(20)


def test_a_worker_of_another_class_gets_no_lease():
    with Caid(PROGRAMS, spawn=0) as caid:
        mine, other = "cpu/avx512/onednn=avx512_core_amx", "cpu/avx512/onednn=avx2"
        job = caid.submit(workers=1)
        first = worker_of(caid, "first", 9000000, TOY_CLASS=mine)
        caid.until(lambda: caid.ask("show", id=job)["numeric_class"] == mine, 20, "the class is pinned")
        first.kill()
        first.wait(20)
        done = caid.ask("progress", id=job)
        assert done["state"] != "COMPLETED", "too fast for this test"
        wrong = worker_of(caid, "wrong", 9000000, TOY_CLASS=other)
        caid.until(lambda: [w["name"] for w in caid.workers()] == ["wrong"], 30, "only the other is left")
        waits = caid.until(lambda: caid.ask("progress", id=job).get("reason"), 20, "the job waits")
        assert f"no worker of the job's numeric class ({mine})" in waits, waits
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert all(w["state"] == "idle" for w in caid.workers()), "it was given a lease"
            time.sleep(0.05)
        right = worker_of(caid, "right", 9000000, TOY_CLASS=mine)
        seen = set()

        def over():
            seen.update(w["name"] for w in caid.workers() if w["state"] == "busy")
            return caid.ask("progress", id=job)["state"] == "COMPLETED"
        caid.until(over, 60, "the job ends")
        assert seen == {"right"}, seen
        assert caid.ask("show", id=job)["numeric_class"] == mine
        for p in (wrong, right):
            p.terminate()
            p.wait(20)


def test_a_gang_says_how_many_it_needs():
    with Caid(PROGRAMS, spawn=1) as caid:
        job = caid.submit()
        p = caid.until(lambda: (lambda p: p if "needs 2" in p["reason"] else None)(
            caid.ask("progress", id=job)), 20, "the reason is shown")
        assert p["stage"] == "train" and p["state"] == "RUNNING"


def config(folder, text):
    path = os.path.join(folder, "caid.yaml")
    with open(path, "w") as f:
        f.write(text)
    return ["--config", path]


def test_a_late_rank_is_named():
    with tempfile.TemporaryDirectory() as d:
        with Caid(PROGRAMS, env={"TOY_LATE": "1 9 5000", "TOY_MEET_MS": "30000"},
                  arguments=config(d, "late_s: 1\n")) as caid:
            job = caid.submit(rounds=1)
            p = caid.until(lambda: (lambda p: p if "is behind" in p["reason"] else None)(
                caid.ask("progress", id=job)), 20, "the reason is shown")
            assert p["state"] == "RUNNING" and "rank 1 (worker worker-1) is behind" in p["reason"], p
            assert "entered 9 collectives, rank 0 (worker worker-0)" in p["reason"], p
            assert "in number 10" in p["reason"], p
            late, waits = sorted(caid.workers(), key=lambda w: -w["rank"])
            assert late["rank"] == 1 and "is behind" in late["reason"], late
            assert "for rank 1 (worker worker-1)" in waits["reason"], waits
            caid.wait_for(job, "COMPLETED")
            texts = [r["text"] for r in caid.ask("logs", id=job)["rows"] if "rank 1 (worker worker-1) is behind" in r["text"]]
            # One for each attempt at a gang's task. On a busy machine a rank may be lost besides, and
            # where all steps take seconds, five of them are not late.
            assert texts and "train run: rank 1" in texts[0], texts
            assert caid.ask("progress", id=job)["reason"] == ""


def test_a_rank_is_late_by_its_gangs_own_steps():
    """Steps of 10 ms: who is waited for some of them, and what a busy machine takes, is named
    long before late_s (10 s) and the next heartbeat."""
    with Caid(PROGRAMS, env={"TOY_LATE": "1 15 6000", "TOY_MEET_MS": "30000"}) as caid:
        job = caid.submit(rounds=1)
        p = caid.until(lambda: (lambda p: p if "is behind" in p["reason"] else None)(
            caid.ask("progress", id=job)), 20, "the reason is shown")
        waited = float(re.search(r"has waited ([\d.]+) s", p["reason"]).group(1))
        assert "entered 15 collectives" in p["reason"] and 0.4 <= waited < 2, p
        caid.wait_for(job, "COMPLETED")


def test_a_rank_that_never_comes_is_named():
    with Caid(PROGRAMS, env={"TOY_LATE": "1 9 7000"}) as caid:
        job = caid.submit()
        p = caid.wait_for(job, ["FAILED", "COMPLETED"], 60)
        assert p["state"] == "FAILED" and "rank 1 did not come; rank 1 (worker worker-1)" in p["reason"], p


def asked_with(caid, protocol, verb="ping"):
    return subprocess.run([os.path.join(PROGRAMS, "ask"), caid.server, verb, "{}"], capture_output=True, text=True,
                          env=dict(os.environ, ASK_PROTOCOL=str(protocol)))


def test_the_protocol_before_is_served_and_others_are_refused():
    """1 is what peers speak that say no number."""
    with Caid(PROGRAMS, env={"TOY_PROTOCOL": "0", "TOY_VERSION": "0.0.1"}) as caid:
        job = caid.submit(rounds=1)
        caid.wait_for(job, "COMPLETED")
        assert {w["version"] for w in caid.workers()} == {"0.0.1"}, "former workers did it"
        for number in (0, 1, 2):
            assert asked_with(caid, number).returncode == 0, number
        newer = asked_with(caid, 3)
        assert newer.returncode == 9 and "speaks protocol 3, this program 1 to 2: upgrade this side" in newer.stderr, newer
    with Caid(PROGRAMS, spawn=1, env={"TOY_PROTOCOL": "9"}) as caid:
        caid.until(lambda: "is refused: it speaks protocol 9, this program 1 to 2: upgrade this side" in caid.tail(200),
                   20, "it is refused")
        assert caid.workers() == []


def test_ranks_are_of_one_version():
    with Caid(PROGRAMS, spawn=1) as caid:
        old = worker_of(caid, "worker-9", 1 << 30, TOY_VERSION="0.0.1")
        caid.until(lambda: len(caid.workers()) == 2, 20, "both workers")
        job = caid.submit(rounds=1)
        p = caid.until(lambda: (lambda p: p if "of one version" in p["reason"] else None)(
            caid.ask("progress", id=job)), 30, "the reason is shown")
        assert p["stage"] == "train", p
        new = worker_of(caid, "worker-8", 1 << 30)
        caid.wait_for(job, "COMPLETED")
        for p in (old, new):
            p.terminate()
            p.wait(20)


def test_one_caid_per_folder():
    with Caid(PROGRAMS, spawn=0) as caid:
        other = subprocess.run([os.path.join(PROGRAMS, "caid"), "--state", caid.state,
                                "--runtime", caid.runtime + "2"], capture_output=True, text=True)
        assert other.returncode == 1 and "another caid" in other.stderr, other.stderr
        assert caid.answers()


def test_dead_workers_come_back_within_a_second():
    with Caid(PROGRAMS) as caid:
        caid.until(lambda: len(caid.workers()) == 2, 10, "two workers")
        gone = caid.workers()[0]["pid"]
        os.kill(gone, signal.SIGKILL)
        began = time.monotonic()
        caid.until(lambda: gone not in [w["pid"] for w in caid.workers()], 2, "it is noticed")
        assert time.monotonic() - began < 1.0
        caid.until(lambda: len(caid.workers()) == 2, 5, "another one is there")


def test_a_worker_that_hangs_is_replaced():
    with Caid(PROGRAMS) as caid:
        job = caid.submit()
        worker = caid.until(lambda: [w for w in caid.workers() if w["state"] == "busy"], 10, "work")[0]
        os.kill(worker["pid"], signal.SIGSTOP)
        caid.until(lambda: worker["pid"] not in [w["pid"] for w in caid.workers()], 6, "found silent")
        caid.until(lambda: not os.path.exists(f"/proc/{worker['pid']}"), 6, "ended")
        caid.until(lambda: worker["name"] in [w["name"] for w in caid.workers()], 6, "another is there")
        assert f"worker {worker['name']} (pid {worker['pid']}) hangs" in caid.tail(200)
        caid.wait_for(job, "COMPLETED")


def test_a_worker_that_nobody_started_here_is_left_alone():
    with Caid(PROGRAMS, spawn=1) as caid:
        other = worker_of(caid, "worker-9", 1 << 30)
        caid.until(lambda: len(caid.workers()) == 2, 20, "both workers")
        os.kill(other.pid, signal.SIGSTOP)
        caid.until(lambda: "worker worker-9 is gone: silent" in caid.tail(200), 12, "it hangs")
        time.sleep(4)
        assert other.poll() is None and "hangs" not in caid.tail(200)
        os.kill(other.pid, signal.SIGCONT)
        caid.until(lambda: len(caid.workers()) == 2, 10, "it is here again")
        other.terminate()
        other.wait(20)


def test_workers_die_with_caid():
    caid = Caid(PROGRAMS).start()
    try:
        caid.until(lambda: len(caid.workers()) == 2, 10, "two workers")
        pids = [w["pid"] for w in caid.workers()]
        caid.kill()
        caid.until(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), 8, "all gone")
    finally:
        caid.close()


def test_sigterm_saves_the_work():
    with Caid(PROGRAMS) as caid:
        job = caid.submit()
        caid.until(lambda: caid.ask("progress", id=job)["unit"] == "steps", 20, "a gang trains")
        began = time.monotonic()
        assert caid.stop(20) == 0
        assert time.monotonic() - began < 10
        with contextlib.closing(sqlite3.connect(os.path.join(caid.state, "caid.db"))) as db:
            reported = db.execute("SELECT max(step) FROM metrics WHERE name = 'loss'").fetchone()[0]
        caid.start()
        caid.wait_for(job, "COMPLETED")
        texts = [r["text"] for r in caid.ask("logs", id=job)["rows"]]
        begun = [re.search(r"2 ranks, on from .*/step-(\d+)$", t) for t in texts]
        taken_up = [int(m.group(1)) for m in begun if m]
        assert taken_up == [reported] and 0 < reported < 24, (texts, reported)
        print(f"     stopped after step {reported}: none is done twice", flush=True)


def test_configuration():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "caid.yaml")
        with open(path, "w") as f:
            f.write("min_free_mb: 32\n")
        check = [os.path.join(PROGRAMS, "caid"), "--check-config", "--config", path]
        assert subprocess.run(check).returncode == 0
        with Caid(PROGRAMS, spawn=0, arguments=["--config", path]) as caid:
            with open(path, "w") as f:
                f.write("min_free: 32\n")
            out = subprocess.run(check, capture_output=True, text=True)
            assert out.returncode == 78 and "caid.yaml:1:1" in out.stderr, out.stderr
            caid.process.send_signal(signal.SIGHUP)
            caid.until(lambda: "the old configuration stays" in caid.tail(), 5, "it says so")
            assert "jobs need 32 MB" in caid.ask("doctor")["rows"][0]["text"]


def test_readiness_and_watchdog():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "notify")
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(path)
        s.settimeout(5)
        with Caid(PROGRAMS, spawn=0, env={"NOTIFY_SOCKET": path}) as caid:
            seen = b""
            while b"WATCHDOG=1" not in seen or b"READY=1" not in seen:
                seen += s.recv(4096) + b"\n"
            assert seen.index(b"READY=1") >= 0
            caid.stop()
            while b"STOPPING=1" not in seen:
                seen += s.recv(4096) + b"\n"


def notes(s, seconds):
    """What caid tells systemd within some seconds."""
    seen, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        s.settimeout(max(0.01, end - time.monotonic()))
        try:
            seen += s.recv(4096) + b"\n"
        except TimeoutError:
            break
    return seen


def test_watchdog_is_tied_to_progress():
    """One thread is stopped, the one that serves; the process and its other threads live on."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    seize, interrupt, detach = 0x4206, 0x4207, 17
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "notify")
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(path)
        with Caid(PROGRAMS, spawn=0, env={"NOTIFY_SOCKET": path}) as caid:
            assert b"WATCHDOG=1" in notes(s, 3)
            pid = caid.process.pid
            if libc.ptrace(seize, pid, 0, 0) != 0:
                print(f"     not permitted to stop a thread: {os.strerror(ctypes.get_errno())}")
                return
            libc.ptrace(interrupt, pid, 0, 0)
            os.waitpid(pid, 0x40000000)  # __WALL
            notes(s, 0.5)
            assert len(os.listdir(f"/proc/{pid}/task")) > 1
            assert b"WATCHDOG=1" not in notes(s, 3), "fed by a loop that does not turn"
            libc.ptrace(detach, pid, 0, 0)
            assert b"WATCHDOG=1" in notes(s, 3)


main([f for name, f in list(globals().items()) if name.startswith("test_")], at_once=2)
