"""The times of the fault line, with real ranks that train a preference model on the clerk's pairs:

  dead      a worker's process is killed: until it is noticed; until the gang's next step
  silent    a worker is stopped (SIGSTOP): until it is noticed and replaced
  alone     a worker that caid did not start is killed: until it is noticed
  hung      one rank's computing thread alone is held (ptrace), its heartbeats go on: until the
            rank is named as the one that the others wait for
  saving    share of a run's time that its resumable states take, at Young's interval for the
            time between faults (--fault-every)
  effective share of time that is progress with a fault every --fault-every seconds: what a fault
            costs (noticing, starting, loading, doing again what was not saved) is measured on
            --faults of them, killed and stopped in turn, and scaled from their number to one in
            that time. `--hour` has them come for a whole hour instead.
"""
import argparse
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time

import world

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def write_job(folder, pairs, model, ranks, epochs, fault_every):
    off = "{enabled: false}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(f"""job: 1
name: faults
models: {{start: {model.resolve()}}}
constitution: {pathlib.Path('constitution/clerk.yaml').resolve()}
data: {{human: {pairs.resolve()}}}
workers: {ranks}
rounds: 1
stages:
  red_team: {off}
  revise: {off}
  sft: {off}
  label: {off}
  evaluate: {off}
  ppo: {off}
  prefer: {{batch: 32, epochs: {epochs}, lr: 1.0e-4, gate_confidence: 0, human: 1}}
keep: {{fault_every: {fault_every}}}
""")
    return folder / "job.yaml"


class Watch(threading.Thread):
    """When each step of a job was done, as `caictl show` has it."""

    def __init__(self, caid, job):
        super().__init__(daemon=True)
        self.caid, self.job, self.seen, self.over = caid, job, [(time.monotonic(), 0)], False

    def run(self):
        while not self.over:
            p = json.loads(self.caid.ask("show", self.job, "-o", "json").stdout)
            if p["unit"] == "steps" and p["done"] != self.seen[-1][1]:
                self.seen.append((time.monotonic(), p["done"]))
            if p["finished_ms"]:
                break
            time.sleep(0.02)

    def until(self, condition, what, limit=180):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"not within {limit} s: {what}")
            if not self.is_alive():
                raise SystemExit(f"the job ended before {what}; take more --epochs")
            time.sleep(0.01)
        return time.monotonic()

    def done(self):
        return self.seen[-1][1]

    def steps(self):
        """Seconds of single steps."""
        return [(b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(self.seen[1:], self.seen[2:]) if b[1] > a[1]]


class Caid(world.Daemon):
    def logs(self, job):
        return [json.loads(line)["text"] for line in self.ask("logs", job, "-o", "json").stdout.splitlines() if line]

    def workers(self):
        return json.loads(self.ask("workers", "-o", "json").stdout)["rows"]

    def rank(self, n):
        return next(w for w in self.workers() if w["state"] == "busy" and w.get("rank") == n)



def fault(caid, watch, job, send, ranks, at):
    """(noticed, next step, again where it was): seconds since the fault."""
    watch.until(lambda: watch.done() >= at, f"step {at}")
    worker = caid.rank(ranks - 1)
    lines, before = len(caid.logs(job)), watch.done()
    began = time.monotonic()
    os.kill(worker["pid"], send)
    noticed = watch.until(lambda: any("is gone" in t for t in caid.logs(job)[lines:]), "it is noticed") - began
    watch.until(lambda: any("on from" in t or re.search(r": \d+ ranks?$", t) for t in caid.logs(job)[lines:]), "the gang begins again")
    started, count = time.monotonic() - began, len(watch.seen)
    again = watch.until(lambda: len(watch.seen) > count, "the next step") - began
    back = watch.until(lambda: watch.done() > before, "it is where it was") - began
    return noticed, started, again, back


def hold(tid):
    if libc.ptrace(PTRACE_SEIZE, tid, None, None) or libc.ptrace(PTRACE_INTERRUPT, tid, None, None):
        raise SystemExit(f"ptrace: {os.strerror(ctypes.get_errno())}")
    libc.waitpid(tid, None, WALL)


def busiest(pid):
    """The thread that computes."""
    def ticks(tid):
        return sum(map(int, open(f"/proc/{pid}/task/{tid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
    return max(map(int, os.listdir(f"/proc/{pid}/task")), key=ticks)


def hung(caid, watch, job, at):
    watch.until(lambda: watch.done() >= at, f"step {at}")
    worker, lines = caid.rank(1), len(caid.logs(job))
    tid = busiest(worker["pid"])
    began = time.monotonic()
    hold(tid)
    try:
        named = watch.until(lambda: any("rank 1 " in t and "is behind" in t for t in caid.logs(job)[lines:]), "it is named", 60)
    finally:
        libc.ptrace(PTRACE_DETACH, tid, None, None)
    print("  ", next(t for t in caid.logs(job)[lines:] if "is behind" in t))
    return named - began


def alone(work, folder):
    """A worker of nobody's: its end is seen by its connection."""
    caid = Caid(folder / "alone", 0, 1)
    times = []
    try:
        for _ in range(3):
            own = subprocess.Popen([world.TOOLS / "cai-worker", "--state", folder / "alone" / "state", "--connect",
                                    f"ipc://{(folder / 'alone').resolve()}/run/worker", "--threads", "1"],
                                   stderr=caid.log)
            while not any(w["pid"] == own.pid for w in caid.workers()):
                time.sleep(0.05)
            time.sleep(0.3)
            began = time.monotonic()
            own.kill()
            own.wait()
            while any(w["pid"] == own.pid for w in caid.workers()):
                time.sleep(0.01)
            times.append(time.monotonic() - began)
    finally:
        caid.close()
    return times


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"))
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--faults", type=int, default=4)
    p.add_argument("--fault-every", type=float, default=300, help="seconds")
    p.add_argument("--hour", action="store_true")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    made, model = world.base(a.work, 1)
    folder = a.work / "faults"
    shutil.rmtree(folder, ignore_errors=True)
    path = write_job(folder / "job", made / "pairs.jsonl", model, a.ranks, a.epochs if not a.hour else 100000, a.fault_every)
    apart = alone(a.work, folder)
    caid = Caid(folder, a.ranks, 1)
    try:
        while len(caid.workers()) < a.ranks:
            time.sleep(0.1)
        began = time.monotonic()
        job = caid.ask("submit", path, "--parsable").stdout.strip()
        watch = Watch(caid, job)
        watch.start()
        watch.until(lambda: len(watch.steps()) >= 20, "20 steps")
        steps = sorted(watch.steps())
        usual, p99 = statistics.median(steps), steps[min(len(steps) - 1, int(0.99 * len(steps)))]
        print(f"{a.ranks} ranks, a step takes {usual:.3f} s (p99 {p99:.3f} s)")
        behind = hung(caid, watch, job, watch.done() + 2)
        found, count, last = {signal.SIGKILL: [], signal.SIGSTOP: []}, 0, time.monotonic()
        while (time.monotonic() - began < 3600) if a.hour else count < a.faults:
            send = (signal.SIGKILL, signal.SIGSTOP)[count % 2]
            if a.hour:
                time.sleep(max(0, a.fault_every - (time.monotonic() - last)))
                last = time.monotonic()
            found[send].append(fault(caid, watch, job, send, a.ranks, watch.done() + (1 if a.hour else 8)))
            count += 1
        reached, took = watch.done(), time.monotonic() - began
        if a.hour:
            caid.ask("cancel", job)
        else:
            caid.ask("wait", job)
        watch.over = True
        saved = [re.search(r"(\d+) states saved in ([\d.]+) s, ([\d.]+) % of ([\d.]+) s", t) for t in caid.logs(job)]
    finally:
        caid.close()
    dead, silent = found[signal.SIGKILL], found[signal.SIGSTOP]

    def show(values):
        return f"{statistics.mean(values):.2f} s ({min(values):.2f} – {max(values):.2f})"
    lost = [back - usual for *_, back in dead + silent]
    print("| what | measured | bound |\n|---|---|---|")
    print(f"| dead worker noticed, started by caid | {show([f[0] for f in dead])} | 1 s |")
    print(f"| dead worker noticed, another's | {show(apart)} | 1 s |")
    print(f"| silent worker noticed | {show([f[0] for f in silent])} | 3 s |")
    print(f"| hung collective named | {behind:.2f} s | 3 × p99 step = {3 * p99:.2f} s, 3 s at least |")
    print(f"| dead: gang again | {show([f[1] for f in dead])} | |")
    print(f"| dead: next step | {show([f[2] for f in dead])} | 10 s + loading |")
    print(f"| silent: next step | {show([f[2] for f in silent])} | 10 s + loading |")
    print(f"| a fault costs, till where it was | {show(lost)} | |")
    share = 0
    for m in filter(None, saved):
        share = float(m[3]) / 100
        print(f"| states saved in the last stretch | {m[1]}, {m[2]} s of {m[4]} s: {m[3]} % | 3 % |")
    if a.hour:
        print(f"| effective time, {count} faults in {took:.0f} s | {100 * reached * usual / took:.1f} % | 96 % |")
    else:
        print(f"| effective time with a fault every {a.fault_every:.0f} s, scaled from {count} | "
              f"{100 * (1 - statistics.mean(lost) / a.fault_every) * (1 - share):.1f} % | 96 % |")


if __name__ == "__main__":
    main()
