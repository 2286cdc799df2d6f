"""The times of the fault line, with real ranks that train a preference model on the clerk's pairs:

  dead      a worker's process is killed: until it is noticed; until the gang's next step
  silent    a worker is stopped (SIGSTOP): until it is noticed and replaced
  alone     a worker that caid did not start is killed: until it is noticed
  hung      one rank's computing thread alone is held (ptrace), its heartbeats go on: until the
            rank is named as the one that the others wait for; in --hangs jobs of their own
  saving    share of a run's time that its resumable states take, at Young's interval for the
            time between faults (--fault-every)
  effective share of time that is progress with a fault every --fault-every seconds: what a fault
            costs (noticing, starting, loading, doing again what was not saved) is measured on
            --faults of them, killed and stopped in turn, and scaled from their number to one in
            that time.

`--hour` has the faults come for a whole hour instead (65 minutes in all), after a short job without
any, whose states tell what saving takes. Each fault is kept in WORK/faults/faults.jsonl when it is
over, the table in WORK/faults/result.md; so the command may run in the background:

  setsid nohup tools/bench faults --hour --work DIR > DIR.log 2>&1 &
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
HANG_AT = 80
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

    def __init__(self, caid, job, pause=0.02):
        super().__init__(daemon=True)
        self.caid, self.job, self.seen, self.over = caid, job, [(time.monotonic(), 0)], False
        self.pause = pause

    def run(self):
        while not self.over:
            p = json.loads(self.caid.ask("show", self.job, "-o", "json").stdout)
            if p["unit"] == "steps" and p["done"] != self.seen[-1][1]:
                self.seen.append((time.monotonic(), p["done"]))
            if p["finished_ms"]:
                break
            time.sleep(self.pause)

    def until(self, condition, what, limit=180):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"not within {limit} s: {what}")
            if not self.is_alive():
                raise SystemExit(f"the job ended before {what}; take more --epochs")
            time.sleep(self.pause / 2)
        return time.monotonic()

    def done(self):
        return self.seen[-1][1]

    def steps(self):
        """Seconds of single steps."""
        return [(b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(self.seen[1:], self.seen[2:]) if b[1] > a[1]]


class Caid(world.Daemon):
    def ask(self, *arguments, check=True):
        """On a busy machine an answer may come too late: who only looks, asks again."""
        for _ in range(20 if arguments[0] in ("show", "logs", "workers") else 0):
            answer = super().ask(*arguments, check=False)
            if answer.returncode == 0:
                return answer
            time.sleep(0.5)
        return super().ask(*arguments, check=check)

    def rows(self, job):
        return [json.loads(line) for line in self.ask("logs", job, "-o", "json").stdout.splitlines() if line]

    def logs(self, job):
        return [r["text"] for r in self.rows(job)]

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
    """(seconds until caid wrote the name into its log, the 99th percentile that it tells there)"""
    watch.until(lambda: watch.done() >= at, f"step {at}")
    worker, lines = caid.rank(1), len(caid.rows(job))
    tid = busiest(worker["pid"])
    began = time.time()
    hold(tid)
    try:
        watch.until(lambda: any("is behind" in r["text"] for r in caid.rows(job)[lines:]), "it is named", 60)
    finally:
        libc.ptrace(PTRACE_DETACH, tid, None, None)
    named = next(r for r in caid.rows(job)[lines:] if "is behind" in r["text"])
    print("  ", named["text"], flush=True)
    if not re.match(r".*: rank 1 ", named["text"]):
        raise SystemExit("another rank was named")
    return named["at_ms"] / 1000 - began, float(re.search(r"; a step takes ([\d.]+) s", named["text"])[1])


def hangs(a, caid, path, row):
    """Each in a job of its own: of one attempt a rank is named once. HANG_AT: so many steps tell how
    long steps take."""
    for _ in range(a.hangs if a.ranks > 1 else 0): # alone, nobody waits
        job, watch = start_job(caid, path)
        seconds, p99 = hung(caid, watch, job, HANG_AT)
        row({"what": "hung", "seconds": seconds, "p99": p99})
        watch.over = True
        caid.ask("cancel", job)
        while any(w["state"] == "busy" for w in caid.workers()):
            time.sleep(0.1)


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


def start_job(caid, path, pause=0.02):
    job = caid.ask("submit", path, "--parsable").stdout.strip()
    watch = Watch(caid, job, pause)
    watch.start()
    watch.until(lambda: len(watch.steps()) >= 20, "20 steps")
    return job, watch


def saved(caid, job):
    """Of each stretch that came to its end: (states, seconds, per cent, of seconds)."""
    found = [re.search(r"(\d+) states saved in ([\d.]+) s, ([\d.]+) % of ([\d.]+) s", t) for t in caid.logs(job)]
    return [tuple(map(float, m.groups())) for m in found if m]


def few(a, caid, path, row):
    """A few faults in one job, which then ends by itself."""
    job, watch = start_job(caid, path)
    steps = sorted(watch.steps())
    row({"what": "step", "usual": statistics.median(steps), "p99": steps[min(len(steps) - 1, int(0.99 * len(steps)))]})
    print(f"{a.ranks} ranks, a step takes {statistics.median(steps):.3f} s", flush=True)
    for i in range(a.faults):
        disturb(a, caid, watch, job, i, watch.done() + 8, row)
    caid.ask("wait", job)
    watch.over = True
    row({"what": "saved", "stretches": saved(caid, job)})


def disturb(a, caid, watch, job, i, at, row):
    send = (signal.SIGKILL, signal.SIGSTOP)[i % 2]
    noticed, started, again, back = fault(caid, watch, job, send, a.ranks, at)
    row({"what": "fault", "signal": send.name, "noticed": noticed, "started": started, "again": again, "back": back})


def hour(a, caid, path, long_path, row):
    few(argparse.Namespace(**{**vars(a), "faults": 0}), caid, path, row)
    began = time.monotonic()
    job, watch = start_job(caid, long_path, 0.2)
    count, first = 0, watch.seen[-1]
    while time.monotonic() - began < a.seconds:
        time.sleep(max(0, began + (count + 1) * a.fault_every - time.monotonic()))
        disturb(a, caid, watch, job, count, watch.done() + 1, row)
        count += 1
        row({"what": "so far", "seconds": count * a.fault_every})
    last = watch.seen[-1]
    row({"what": "hour", "seconds": time.monotonic() - began, "steps": last[1] - first[1], "took": last[0] - first[0]})
    watch.over = True
    caid.ask("cancel", job)


def table(a, rows):
    def of(what, **kinds):
        return [r for r in rows if r["what"] == what and all(r[k] == v for k, v in kinds.items())]

    def show(values):
        return f"{statistics.mean(values):.2f} s ({min(values):.2f} – {max(values):.2f})" if values else "–"
    dead, silent, step = of("fault", signal="SIGKILL"), of("fault", signal="SIGSTOP"), of("step")[0]
    lost = [r["back"] - step["usual"] for r in dead + silent]
    yield "| what | measured | bound |\n|---|---|---|"
    yield f"| dead worker noticed, started by caid | {show([r['noticed'] for r in dead])} | 1 s |"
    yield f"| dead worker noticed, another's | {show(of('alone')[0]['seconds'])} | 1 s |"
    yield f"| silent worker noticed | {show([r['noticed'] for r in silent])} | 3 s |"
    for r in of("hung"):
        yield (f"| hung collective named | {r['seconds']:.2f} s, {r['seconds'] / r['p99']:.1f} times the p99 step "
               f"({r['p99']:.3f} s) | 3 times |")
    yield f"| dead: gang again | {show([r['started'] for r in dead])} | |"
    yield f"| dead: next step | {show([r['again'] for r in dead])} | 10 s + loading |"
    yield f"| silent: next step | {show([r['again'] for r in silent])} | 10 s + loading |"
    yield f"| a fault costs, till where it was | {show(lost)} | |"
    share = 0
    for n, seconds, percent, whole in [s for r in of("saved") for s in r["stretches"]]:
        share = percent / 100
        yield f"| states saved in the last stretch | {n:.0f}, {seconds} s of {whole} s: {percent} % | 3 % |"
    for r in of("hour") or of("so far")[-1:]:
        yield (f"| effective time, {len(lost)} faults in {r['seconds']:.0f} s | "
               f"{100 * (1 - sum(lost) / r['seconds']) * (1 - share):.1f} % | 96 % |")
    if lost and not a.hour:
        yield (f"| effective time with a fault every {a.fault_every:.0f} s, scaled from {len(lost)} | "
               f"{100 * (1 - statistics.mean(lost) / a.fault_every) * (1 - share):.1f} % | 96 % |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"))
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--faults", type=int, default=4)
    p.add_argument("--hangs", type=int, default=3)
    p.add_argument("--fault-every", type=float, default=300, help="seconds")
    p.add_argument("--hour", action="store_true")
    p.add_argument("--seconds", type=float, default=3600, help="how long --hour's hour is")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    made, model = world.base(a.work, 1)
    folder = a.work / "faults"
    shutil.rmtree(folder, ignore_errors=True)
    path = write_job(folder / "job", made / "pairs.jsonl", model, a.ranks, a.epochs, a.fault_every)
    long_path = write_job(folder / "long", made / "pairs.jsonl", model, a.ranks, 1000, a.fault_every)
    rows = []

    def row(r):
        rows.append(r)
        with open(folder / "faults.jsonl", "a") as out:
            out.write(json.dumps(r) + "\n")
        if a.hour and any(r["what"] == "saved" for r in rows):
            (folder / "result.md").write_text("\n".join(table(a, rows)) + "\n")
    row({"what": "alone", "seconds": alone(a.work, folder)})
    caid = Caid(folder, a.ranks, 1)
    try:
        while len(caid.workers()) < a.ranks:
            time.sleep(0.1)
        hangs(a, caid, long_path, row)
        if a.hour:
            hour(a, caid, path, long_path, row)
        else:
            few(a, caid, path, row)
    finally:
        caid.close()
    text = "\n".join(table(a, rows))
    (folder / "result.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
